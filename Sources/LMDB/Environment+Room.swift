// How much a write transaction can still take, before it meets the end of the map or of
// the file system below.

internal import Bytes
internal import CLMDB
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

extension statvfs {
    /// What whoever is not privileged may use. A full file system may say that it has fewer blocks
    /// than none, as a number near 2^64: XFS does for moments (seen with Linux 6.18).
    package var availableBytes: UInt64 {
        guard f_bavail <= f_blocks else { return 0 }
        let (bytes, overflow) = UInt64(f_bavail).multipliedReportingOverflow(by: UInt64(f_frsize))
        return overflow ? .max : bytes
    }
}

extension Environment {
    /// Pages after the last one in use, as far as the map and the file system let it grow.
    package var pagesToGrow: Int {
        let now = statistics
        let inMap = (now.mapSize - now.usedBytes) / now.pageSize
        guard let onDisk = bytesOnDisk else { return inMap }
        return min(inMap, Int(clamping: onDisk / UInt64(now.pageSize)))
    }

    /// What the file system has room for; nil where it doesn't say. Where there is much, what was
    /// said a moment ago is good enough: each group asks.
    private var bytesOnDisk: UInt64? {
        var time = timespec()
        unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
        let now = Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
        if let seen = state.withLock({ $0.room }), now - seen.time < Environment.roomSeconds {
            return seen.bytes
        }
        var status = statvfs()
        guard unsafe fstatvfs(descriptor, &status) == 0 else { return nil }
        let bytes = status.availableBytes
        let isMuch = bytes >= Environment.muchRoom
        state.withLock { $0.room = isMuch ? (now, bytes) : nil }
        return bytes
    }

    /// Bytes that no writer fills in that many seconds.
    private static let muchRoom: UInt64 = 4 << 30
    private static let roomSeconds = 0.1

    /// liblmdb says EIO where a page was written in part, which is what a file system does that
    /// has no room for the rest.
    func judge(_ code: Int32) -> Int32 {
        guard code == EIO else { return code }
        var status = statvfs()
        guard unsafe fstatvfs(descriptor, &status) == 0, status.availableBytes == 0 else {
            return code
        }
        return ENOSPC
    }

    /// liblmdb's own, of the data file: it stays good where the file is renamed. Not to be closed.
    var descriptor: Int32 {
        var file: mdb_filehandle_t = -1
        _ = unsafe mdb_env_get_fd(handle, &file)
        return file
    }

    /// Lets go of the snapshots of processes that have died with them.
    package func clearDeadReaders() {
        var dead: Int32 = 0
        _ = unsafe mdb_reader_check(handle, &dead)
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

/// Pages that the next write transaction can take.
package struct FreePages: Sendable {
    /// New pages, and freed ones that no snapshot sees; nil where new ones alone are plenty.
    package var available: Int?
    /// The new ones among them: these lie one behind the other.
    package var new: Int
    /// Pages that the last commit replaced by new versions, or deleted.
    package var freedByLast: Int
}

extension Environment {
    /// To be called while no transaction writes.
    package func freePages(plenty: Int) throws(LMDBError) -> FreePages {
        let transaction = try beginRead()
        let last = transaction.commit
        let freed = try transaction.handle.pagesFreed(by: last)
        let new = pagesToGrow
        if new >= plenty { return FreePages(available: nil, new: new, freedByLast: freed) }
        let reusable = try transaction.handle.reusablePages(before: last)
        return FreePages(available: new + reusable, new: new, freedByLast: freed)
    }
}

extension ReadTransaction {
    /// Pages that were free as of the snapshot, whoever may still see them.
    package func freePages() throws(LMDBError) -> Int {
        try handle.environment.pagesToGrow + handle.reusablePages(before: nil)
    }
}

extension WriteTransaction {
    /// Deletes all entries of a table, and keeps the table.
    package mutating func empty(_ table: Table) throws(LMDBError) {
        checkNotNoted()
        unsafe try check(mdb_drop(handle.live, table.dbi, 0), "empty", table.name)
    }
}

/// liblmdb keeps the freed pages in its table 0: key transaction, value a list whose first
/// word is its length, in the processor's own byte order. Only readers may read it.
extension TransactionHandle {
    private var freeList: Table { Table(dbi: 0, name: "free pages") }

    /// Pages in the list. With `before` only those that a writer may use now: freed before
    /// that commit and before the oldest reader's.
    func reusablePages(before: UInt64?) throws(LMDBError) -> Int {
        let limit = before.map { min($0, environment.oldestReader ?? $0) }
        var pages = 0
        var cursor = unsafe Cursor(self, try openCursor(freeList), freeList)
        while try cursor.next() {
            guard cursor.key.byteCount == 8, cursor.value.byteCount >= 8 else { continue }
            let transaction: UInt64 = unsafe cursor.key.unsafeLoadUnaligned(as: UInt64.self)
            if let limit, transaction >= limit { break }
            pages += Int(clamping: unsafe cursor.value.unsafeLoadUnaligned(as: UInt64.self))
        }
        return pages
    }

    func pagesFreed(by commit: UInt64) throws(LMDBError) -> Int {
        var key = FixedBytes<8>()
        // Stored big-endian, what is given here comes out in the processor's own order.
        key.store(UInt64(bigEndian: commit), at: 0)
        var cursor = unsafe Cursor(self, try openCursor(freeList), freeList)
        guard try cursor.find(key.span), cursor.value.byteCount >= 8 else { return 0 }
        return unsafe Int(clamping: cursor.value.unsafeLoadUnaligned(as: UInt64.self))
    }
}
