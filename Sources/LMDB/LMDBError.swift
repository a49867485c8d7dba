// Every way in which liblmdb or the system below it can fail, as one typed error that
// says which operation failed, on what, and why. "Not found" and "exists already" are
// answers, not errors: they are optionals and Booleans in the API.

internal import CLMDB
#if canImport(Glibc)
internal import Glibc
#endif

public struct LMDBError: Error, Hashable, Sendable {
    /// What liblmdb said. Sources: lmdb.h ("Return Codes"), errno(3).
    public enum Code: Hashable, Sendable {
        case pageNotFound, corrupted, panic, versionMismatch, invalid
        case mapFull, tablesFull, readersFull, threadLocalKeysFull, transactionFull
        case cursorFull, pageFull, mapResized, incompatible, badReaderSlot
        case badTransaction, badValueSize, badTable
        case notFound, keyExists
        /// An error number of the operating system: `ENOSPC`, `EIO`, `EACCES`, `ENOENT`…
        case system(Int32)
    }

    public let code: Code
    /// The call that failed: `put`, `commit`, `open environment`…
    public let operation: String
    /// What it was done to: a table's name or a file's path.
    public let object: String

    public init(code: Code, operation: String, object: String) {
        self.code = code
        self.operation = operation
        self.object = object
    }

    /// Whether storage ran out: in the map, on the file system below, or by quota.
    public var isNoSpace: Bool {
        switch code {
        case .mapFull, .system(ENOSPC), .system(EDQUOT): true
        default: false
        }
    }
}

extension LMDBError: CustomStringConvertible {
    public var description: String { "\(operation) \(object): \(reason)" }

    /// liblmdb's or the system's own words for the code.
    public var reason: String { unsafe String(cString: mdb_strerror(rawCode)) }

    private var rawCode: Int32 {
        if case .system(let number) = code { return number }
        return LMDBError.codes.first { $0.value == code }?.key ?? MDB_PANIC
    }
}

extension LMDBError {
    private static let codes: [Int32: Code] = [
        MDB_PAGE_NOTFOUND: .pageNotFound, MDB_CORRUPTED: .corrupted, MDB_PANIC: .panic,
        MDB_VERSION_MISMATCH: .versionMismatch, MDB_INVALID: .invalid, MDB_MAP_FULL: .mapFull,
        MDB_DBS_FULL: .tablesFull, MDB_READERS_FULL: .readersFull,
        MDB_TLS_FULL: .threadLocalKeysFull, MDB_TXN_FULL: .transactionFull,
        MDB_CURSOR_FULL: .cursorFull, MDB_PAGE_FULL: .pageFull, MDB_MAP_RESIZED: .mapResized,
        MDB_INCOMPATIBLE: .incompatible, MDB_BAD_RSLOT: .badReaderSlot,
        MDB_BAD_TXN: .badTransaction, MDB_BAD_VALSIZE: .badValueSize, MDB_BAD_DBI: .badTable,
        MDB_NOTFOUND: .notFound, MDB_KEYEXIST: .keyExists,
    ]

    init(_ raw: Int32, _ operation: String, _ object: String) {
        self.init(
            code: LMDBError.codes[raw] ?? .system(raw), operation: operation, object: object)
    }
}

/// Throws unless `raw` is success.
@inline(__always)
func check(
    _ raw: Int32, _ operation: @autoclosure () -> String, _ object: @autoclosure () -> String
) throws(LMDBError) {
    if raw != MDB_SUCCESS { throw LMDBError(raw, operation(), object()) }
}
