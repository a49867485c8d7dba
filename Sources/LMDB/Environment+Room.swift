// How much a write transaction can still take, before it meets the end of the map or of
// the file system below.

internal import Bytes
internal import CLMDB
#if canImport(Glibc)
internal import Glibc
#endif

extension Environment {
    /// Pages after the last one in use, as far as the map and the file system let it grow.
    package var pagesToGrow: Int {
        let now = statistics
        let inMap = (now.mapSize - now.usedBytes) / now.pageSize
        var status = statvfs()
        guard unsafe statvfs(path, &status) == 0 else { return inMap }
        let onDisk = UInt64(status.f_bavail) * UInt64(status.f_frsize) / UInt64(now.pageSize)
        return min(inMap, Int(clamping: onDisk))
    }

    /// The oldest commit that a reader of this environment holds, in any process.
    package var oldestReader: UInt64? {
        var oldest: UInt64?
        unsafe withUnsafeMutablePointer(to: &oldest) { oldest in
            // A line is "pid thread transaction", the last `-` where there is none.
            _ = unsafe mdb_reader_list(
                handle,
                { line, context in
                    guard let line = unsafe line, let context = unsafe context else { return 0 }
                    let fields = unsafe String(cString: line).split(whereSeparator: \.isWhitespace)
                    guard fields.count == 3, let commit = UInt64(fields[2]) else { return 0 }
                    let oldest = unsafe context.assumingMemoryBound(to: UInt64?.self)
                    unsafe oldest.pointee = unsafe min(oldest.pointee ?? commit, commit)
                    return 0
                }, oldest)
        }
        return oldest
    }
}

extension WriteTransaction {
    /// Pages that the transaction can take: new ones, and freed ones that no snapshot sees.
    /// - Returns: nil where new ones alone are `plenty`.
    package func freePages(plenty: Int) throws(LMDBError) -> Int? {
        let pages = handle.environment.pagesToGrow
        if pages >= plenty { return nil }
        // liblmdb shows its list of freed pages to readers only. The oldest reader is looked
        // for first: this one is none of those that hold pages.
        let environment = handle.environment
        let limit = min(commit - 1, environment.oldestReader ?? .max)
        return try pages + environment.beginRead().handle.reusablePages(before: limit)
    }

    /// Deletes all entries of a table, and keeps the table.
    package mutating func empty(_ table: Table) throws(LMDBError) {
        unsafe try check(mdb_drop(handle.live, table.dbi, 0), "empty", table.name)
    }
}

extension ReadTransaction {
    /// Pages that were free as of the snapshot, whoever may still see them.
    package func freePages() throws(LMDBError) -> Int {
        try handle.environment.pagesToGrow + handle.reusablePages(before: nil)
    }
}

extension TransactionHandle {
    /// Pages in liblmdb's list of freed pages, table 0: key transaction, value a list whose
    /// first word is its length. With `limit` only those that were freed before that commit.
    func reusablePages(before limit: UInt64?) throws(LMDBError) -> Int {
        var pages = 0
        let table = Table(dbi: 0, name: "free pages")
        var cursor = unsafe Cursor(self, try openCursor(table), table)
        while try cursor.next() {
            guard cursor.key.byteCount == 8, cursor.value.byteCount >= 8 else { continue }
            let transaction: UInt64 = unsafe cursor.key.unsafeLoadUnaligned(as: UInt64.self)
            if let limit, transaction >= limit { break }
            pages += Int(clamping: unsafe cursor.value.unsafeLoadUnaligned(as: UInt64.self))
        }
        return pages
    }
}
