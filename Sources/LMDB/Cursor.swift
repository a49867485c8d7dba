// Cursors: a place in a table's key order. Keys and values are spans into the map; they
// are tied to the cursor and gone, by the compiler's word, as soon as it moves.

internal import Bytes
internal import CLMDB
#if canImport(Glibc)
internal import Glibc
#endif

@safe public struct Cursor: ~Copyable, @unchecked Sendable {
    let transaction: TransactionHandle
    let raw: OpaquePointer
    let table: Table
    var currentKey: MDB_val
    var currentValue: MDB_val

    init(_ transaction: TransactionHandle, _ raw: OpaquePointer, _ table: Table) {
        self.transaction = transaction
        unsafe self.raw = unsafe raw
        self.table = table
        unsafe currentKey = unsafe MDB_val()
        unsafe currentValue = unsafe MDB_val()
    }

    deinit {
        // liblmdb frees a writer's cursors itself when the transaction ends.
        if unsafe !transaction.isWriter || transaction.raw != nil { unsafe mdb_cursor_close(raw) }
    }

    /// The key at the cursor. Empty before the first successful move.
    public var key: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(span(currentKey), borrowing: self) }
    }

    /// The value at the cursor.
    public var value: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(span(currentValue), borrowing: self) }
    }

    /// To the first entry. Every move returns false where there is no such entry.
    public mutating func first() throws(LMDBError) -> Bool { try move(MDB_FIRST) }
    public mutating func last() throws(LMDBError) -> Bool { try move(MDB_LAST) }
    public mutating func next() throws(LMDBError) -> Bool { try move(MDB_NEXT) }
    public mutating func previous() throws(LMDBError) -> Bool { try move(MDB_PREV) }

    /// To the first entry whose key is at or after `key`.
    public mutating func seek(_ key: RawSpan) throws(LMDBError) -> Bool {
        try seek(key, MDB_SET_RANGE)
    }

    /// To the entry with exactly this key.
    public mutating func find(_ key: RawSpan) throws(LMDBError) -> Bool {
        try seek(key, MDB_SET_KEY)
    }

    /// To the last entry whose key is at or before `key`.
    public mutating func seek(atOrBefore key: RawSpan) throws(LMDBError) -> Bool {
        guard try seek(key) else { return try last() }
        return try compareBytes(self.key, key) == 0 ? true : previous()
    }

    @inline(__always)
    private mutating func move(_ operation: MDB_cursor_op) throws(LMDBError) -> Bool {
        #if TIDEMARK_MUTANTS
        let fails = operation == MDB_NEXT && transaction.environment.failures?.fails(.next) == true
        let code =
            fails ? EIO : unsafe mdb_cursor_get(raw, &currentKey, &currentValue, operation)
        #else
        let code = unsafe mdb_cursor_get(raw, &currentKey, &currentValue, operation)
        #endif
        if code == MDB_SUCCESS { return true }
        if code == MDB_NOTFOUND { return false }
        throw LMDBError(code, "read", table.name)
    }

    private mutating func seek(
        _ key: RawSpan, _ operation: MDB_cursor_op
    ) throws(LMDBError) -> Bool {
        let code = unsafe withValue(key) { key in
            unsafe currentKey = unsafe key
            return unsafe mdb_cursor_get(raw, &currentKey, &currentValue, operation)
        }
        if code == MDB_SUCCESS { return true }
        // Not to be left pointing at the caller's key.
        forget()
        if code == MDB_NOTFOUND { return false }
        throw LMDBError(code, "seek", table.name)
    }
}

extension Cursor {
    /// Lets go of what `key` and `value` point to.
    @inline(__always)
    mutating func forget() {
        unsafe currentKey = unsafe MDB_val()
        unsafe currentValue = unsafe MDB_val()
    }
}

/// A cursor inside a write transaction. Changes are made at the cursor, or by key.
///
/// A change moves records within their pages, and pages within memory: `key` and `value`
/// are empty after it, until the next move.
public struct WriteCursor: ~Copyable {
    @usableFromInline var cursor: Cursor

    init(_ cursor: consuming Cursor) { self.cursor = cursor }

    public var key: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(span(cursor.currentKey), borrowing: self) }
    }

    public var value: RawSpan {
        @_lifetime(borrow self)
        get { unsafe _overrideLifetime(span(cursor.currentValue), borrowing: self) }
    }

    public mutating func first() throws(LMDBError) -> Bool { try cursor.first() }
    public mutating func last() throws(LMDBError) -> Bool { try cursor.last() }
    public mutating func next() throws(LMDBError) -> Bool { try cursor.next() }
    public mutating func previous() throws(LMDBError) -> Bool { try cursor.previous() }
    public mutating func seek(_ key: RawSpan) throws(LMDBError) -> Bool { try cursor.seek(key) }
    public mutating func find(_ key: RawSpan) throws(LMDBError) -> Bool { try cursor.find(key) }
    public mutating func seek(atOrBefore key: RawSpan) throws(LMDBError) -> Bool {
        try cursor.seek(atOrBefore: key)
    }

    @inline(__always)
    private var failures: CallFailures? { cursor.transaction.environment.failures }

    /// Stores `value` for `key`; the cursor is then there.
    public mutating func put(_ key: RawSpan, _ value: RawSpan) throws(LMDBError) {
        try failures?.check(.put, cursor.table.name)
        try check(put(key, value, flags: 0), "put", cursor.table.name)
    }

    /// Stores an entry after all others. The cheapest way to fill a table: sequential
    /// and with full pages.
    /// - Throws: `keyExists` where `key` is not above the last key.
    public mutating func append(_ key: RawSpan, _ value: RawSpan) throws(LMDBError) {
        try failures?.check(.put, cursor.table.name)
        try check(put(key, value, flags: UInt32(MDB_APPEND)), "append", cursor.table.name)
    }

    /// Deletes the entry at the cursor; `next` then moves to the one after it.
    public mutating func delete() throws(LMDBError) {
        try failures?.check(.delete, cursor.table.name)
        cursor.forget()
        unsafe try check(mdb_cursor_del(cursor.raw, 0), "delete", cursor.table.name)
    }

    @inline(__always)
    private mutating func put(_ key: RawSpan, _ value: RawSpan, flags: UInt32) -> Int32 {
        cursor.forget()
        return unsafe withValue(key) { key in
            unsafe withValue(value) { value in
                var key = unsafe key, value = unsafe value
                return unsafe mdb_cursor_put(cursor.raw, &key, &value, flags)
            }
        }
    }
}
