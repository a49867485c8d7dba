// Transactions: what is read in one is the state of one commit; what is written in one
// becomes visible at once, at its commit, or not at all.

internal import Bytes
internal import CLMDB
#if canImport(Glibc)
internal import Glibc
#endif

/// The one owner of a liblmdb transaction. Cursors hold it too, so it ends after them,
/// and it holds the environment, so that one is never closed below it.
@safe final class TransactionHandle {
    let environment: Environment
    /// nil once the transaction is over. Only `finish` and `deinit` write it.
    var raw: OpaquePointer?
    let isWriter: Bool

    init(_ environment: Environment, _ raw: OpaquePointer?, isWriter: Bool) {
        self.environment = environment
        unsafe self.raw = unsafe raw
        self.isWriter = isWriter
    }

    deinit {
        guard let raw = unsafe raw else { return }
        guard isWriter else { return unsafe environment.rest(raw) }
        unsafe mdb_txn_abort(raw)
        environment.transactionEnded(writer: true)
    }

    @inline(__always)
    var live: OpaquePointer {
        guard let raw = unsafe raw else { preconditionFailure("the transaction is over") }
        return unsafe raw
    }

    func get(_ table: Table, _ key: RawSpan) throws(LMDBError) -> MDB_val? {
        try unsafe withValue(key) { key throws(LMDBError) in
            var key = unsafe key
            var value = unsafe MDB_val()
            let code = unsafe mdb_get(live, table.dbi, &key, &value)
            if code == MDB_NOTFOUND { return nil }
            try check(code, "get", table.name)
            return unsafe value
        }
    }

    func statistics(_ table: Table) throws(LMDBError) -> TableStatistics {
        var stat = MDB_stat()
        unsafe try check(mdb_stat(live, table.dbi, &stat), "stat", table.name)
        return TableStatistics(
            // A record of a table that was not checked may say anything.
            entries: Int(clamping: min(stat.ms_entries, 1 << 48)), depth: Int(stat.ms_depth),
            branchPages: stat.ms_branch_pages,
            leafPages: stat.ms_leaf_pages, overflowPages: stat.ms_overflow_pages)
    }

    func openCursor(_ table: Table) throws(LMDBError) -> OpaquePointer {
        var cursor: OpaquePointer?
        unsafe try check(mdb_cursor_open(live, table.dbi, &cursor), "open cursor", table.name)
        return unsafe cursor!
    }
}

/// A snapshot of one commit.
public struct ReadTransaction: ~Copyable, @unchecked Sendable {
    let handle: TransactionHandle

    init(_ handle: TransactionHandle) { self.handle = handle }

    /// The number of the commit that is seen.
    public var commit: UInt64 { UInt64(unsafe mdb_txn_id(handle.live)) }

    /// The value of `key`, valid while the transaction lives; nil where there is none.
    @_lifetime(borrow self)
    public func get(_ table: Table, _ key: RawSpan) throws(LMDBError) -> RawSpan? {
        guard let value = unsafe try handle.get(table, key) else { return nil }
        return unsafe _overrideLifetime(span(value), borrowing: self)
    }

    /// A cursor, before the first entry. It keeps the snapshot alive.
    public func cursor(_ table: Table) throws(LMDBError) -> Cursor {
        unsafe Cursor(handle, try handle.openCursor(table), table)
    }

    public func statistics(_ table: Table) throws(LMDBError) -> TableStatistics {
        try handle.statistics(table)
    }
}

/// The one transaction that writes. It is handed to the closure of `Environment.write`.
public struct WriteTransaction: ~Copyable {
    let handle: TransactionHandle
    /// Where changes are noted.
    var redoLog: RedoLog?

    init(_ handle: TransactionHandle) { self.handle = handle }

    /// The number that this commit will have.
    public var commit: UInt64 { UInt64(unsafe mdb_txn_id(handle.live)) }

    /// The value of `key`, valid until the next change; nil where there is none.
    @_lifetime(borrow self)
    public func get(_ table: Table, _ key: RawSpan) throws(LMDBError) -> RawSpan? {
        guard let value = unsafe try handle.get(table, key) else { return nil }
        return unsafe _overrideLifetime(span(value), borrowing: self)
    }

    /// Stores `value` for `key`, in place of what was there.
    public mutating func put(
        _ table: Table, _ key: RawSpan, _ value: RawSpan
    ) throws(LMDBError) {
        try handle.environment.failures?.check(.put, table.name)
        try check(put(table, key, value, flags: 0), "put", table.name)
        redoLog?.notePut(table, key, value)
    }

    /// Stores `value` for `key` where there is none yet.
    /// - Returns: false, and nothing changes, where `key` exists.
    public mutating func insert(
        _ table: Table, _ key: RawSpan, _ value: RawSpan
    ) throws(LMDBError) -> Bool {
        let code = put(table, key, value, flags: UInt32(MDB_NOOVERWRITE))
        if code == MDB_KEYEXIST { return false }
        try check(code, "insert", table.name)
        redoLog?.notePut(table, key, value)
        return true
    }

    private mutating func put(
        _ table: Table, _ key: RawSpan, _ value: RawSpan, flags: UInt32
    ) -> Int32 {
        unsafe withValue(key) { key in
            unsafe withValue(value) { value in
                var key = unsafe key, value = unsafe value
                return unsafe mdb_put(handle.live, table.dbi, &key, &value, flags)
            }
        }
    }

    /// Appends an entry after all others, with a value of `size` bytes that `fill` writes
    /// in place: large values without a copy.
    public mutating func append(
        _ table: Table, _ key: RawSpan, size: Int, fill: (inout ValueWriter) -> Void
    ) throws(LMDBError) {
        checkNotNoted()
        try handle.environment.failures?.check(.put, table.name)
        var value = unsafe MDB_val(mv_size: size, mv_data: nil)
        let code = unsafe withValue(key) { key in
            var key = unsafe key
            return unsafe mdb_put(
                handle.live, table.dbi, &key, &value, UInt32(MDB_APPEND | MDB_RESERVE))
        }
        try check(code, "append", table.name)
        var writer = unsafe ValueWriter(value.mv_data, size)
        fill(&writer)
        precondition(writer.count == size, "a value is filled to its size")
    }

    /// - Returns: false where there was nothing to delete.
    public mutating func delete(_ table: Table, _ key: RawSpan) throws(LMDBError) -> Bool {
        try handle.environment.failures?.check(.delete, table.name)
        let code = unsafe withValue(key) { key in
            var key = unsafe key
            return unsafe mdb_del(handle.live, table.dbi, &key, nil)
        }
        if code == MDB_NOTFOUND { return false }
        try check(code, "delete", table.name)
        redoLog?.noteDelete(table, key)
        return true
    }

    /// Runs `body` with a cursor that may also change what it stands on.
    public mutating func withCursor<R>(
        _ table: Table, _ body: (inout WriteCursor) throws -> R
    ) throws -> R {
        checkNotNoted()
        var cursor = unsafe WriteCursor(Cursor(handle, try handle.openCursor(table), table))
        return try body(&cursor)
    }

    /// Opens the table `name`, or creates it where `create` says so.
    public mutating func table(_ name: String, create: Bool) throws(LMDBError) -> Table? {
        checkNotNoted()
        var dbi = MDB_dbi()
        let code = unsafe mdb_dbi_open(
            handle.live, name, create ? UInt32(MDB_CREATE) : 0, &dbi)
        if code == MDB_NOTFOUND { return nil }
        try check(code, create ? "create table" : "open table", name)
        return Table(dbi: dbi, name: name)
    }

    /// Deletes the table and all in it: work in proportion to its pages. The handle must
    /// not be used again.
    public mutating func drop(_ table: Table) throws(LMDBError) {
        checkNotNoted()
        unsafe try check(mdb_drop(handle.live, table.dbi, 1), "drop", table.name)
    }

    public func statistics(_ table: Table) throws(LMDBError) -> TableStatistics {
        try handle.statistics(table)
    }

    mutating func finish(commit: Bool, thread: Int32) throws(LMDBError) {
        precondition(
            lmdb_shim_thread() == thread, "a write transaction ends on the thread that began it")
        guard let raw = unsafe handle.raw else { return }
        unsafe handle.raw = nil
        defer { handle.environment.transactionEnded(writer: true) }
        if commit {
            do throws(LMDBError) {
                try handle.environment.failures?.check(.commit, handle.environment.path)
            } catch {
                unsafe mdb_txn_abort(raw)
                throw error
            }
            let code = unsafe handle.environment.judge(mdb_txn_commit(raw))
            try check(code, "commit", handle.environment.path)
        } else {
            unsafe mdb_txn_abort(raw)
        }
    }
}

/// Fills the place of a value, from its start to its end.
@safe
public struct ValueWriter: ~Copyable {
    private let base: UnsafeMutableRawPointer
    private let size: Int
    public private(set) var count = 0

    init(_ base: UnsafeMutableRawPointer, _ size: Int) {
        unsafe self.base = unsafe base
        self.size = size
    }

    public mutating func append(_ bytes: RawSpan) {
        precondition(count + bytes.byteCount <= size, "a value is filled to its size")
        unsafe bytes.withUnsafeBytes {
            if let source = $0.baseAddress {
                unsafe (base + count).copyMemory(from: source, byteCount: $0.count)
            }
        }
        count += bytes.byteCount
    }

    /// Appends `value` big-endian.
    public mutating func append(_ value: UInt32) {
        precondition(count + 4 <= size, "a value is filled to its size")
        unsafe base.storeBytes(of: value.bigEndian, toByteOffset: count, as: UInt32.self)
        count += 4
    }
}

/// `bytes` as liblmdb takes them, for the length of the call. liblmdb only reads them.
@inline(__always)
func withValue<R: ~Copyable, E: Error>(
    _ bytes: RawSpan, _ body: (MDB_val) throws(E) -> R
) throws(E) -> R {
    try unsafe bytes.withUnsafeBytes { (bytes) throws(E) -> R in
        unsafe try body(
            MDB_val(
                mv_size: bytes.count, mv_data: UnsafeMutableRawPointer(mutating: bytes.baseAddress))
        )
    }
}

/// The bytes that liblmdb points to. The caller ties them to what keeps them alive.
@inline(__always)
@_lifetime(immortal)
func span(_ value: MDB_val) -> RawSpan {
    let buffer = unsafe UnsafeRawBufferPointer(start: value.mv_data, count: value.mv_size)
    return unsafe _overrideLifetime(RawSpan(_unsafeBytes: buffer), copying: ())
}
