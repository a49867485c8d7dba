import LMDB

/// Carries a transaction to where it must not go.
final class TransactionBox: @unchecked Sendable {
    var transaction: WriteTransaction

    init(_ transaction: consuming WriteTransaction) { self.transaction = transaction }
}
