import Foundation
import LMDB

/// Runs `body` on a thread of its own and waits for it.
func onAnotherThread(_ body: @escaping @Sendable () -> Void) {
    onThreads(1) { _ in body() }
}

/// Runs `body` on `count` threads at the same time and waits for all.
func onThreads(_ count: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let group = DispatchGroup()
    for number in 0..<count {
        group.enter()
        Thread.detachNewThread {
            body(number)
            group.leave()
        }
    }
    group.wait()
}

/// Carries a transaction to where it must not go.
final class TransactionBox: @unchecked Sendable {
    var transaction: WriteTransaction

    init(_ transaction: consuming WriteTransaction) { self.transaction = transaction }
}
