// Durable points: commits that survive a failure of the system although the environment is
// not synced at each commit.
//
// liblmdb's file is a B-tree that is copied on write. Its first two pages, the metas, name
// the root: transaction t writes meta t mod 2. With MDB_NOSYNC the kernel may write pages
// and metas in any order, so after a failure of the system both metas may name trees whose
// pages were never written. (After a failure of the process alone nothing is lost: the
// kernel has all pages.)
//
// A durable point is commit s, such that all pages of its tree are on the disk, and a copy
// of its meta page is stored elsewhere. Two things must hold for as long as it may be needed:
// - None of its pages is written again. A read transaction at s sees to that: liblmdb uses
//   a page again only when no reader sees it.
// - The copy is in a place that a torn write of the next one does not touch.
// After a failure of the system the copy is written over both metas, before liblmdb opens
// the file, and the environment is exactly at commit s.
//
// Source: mdb.c of LMDB 0.9 (data version 1), struct MDB_meta, MDB_db, MDB_page;
// mdb_env_pick_meta, mdb_env_write_meta, mdb_page_alloc, mdb_find_oldest. Integers are in
// the processor's own byte order, as liblmdb writes them.

internal import Bytes
internal import CLMDB
#if canImport(Glibc)
internal import Glibc
#endif

/// A meta page, validated: its header and the fields that liblmdb knows.
public struct MetaPage: Hashable, Sendable {
    /// Page header 16, magic 4, version 4, address 8, map size 8, two trees of 48, last
    /// page 8, transaction 8.
    public static let size = 152
    static let magic: UInt32 = 0xbeef_c0de
    static let version: UInt32 = 1
    static let metaFlag: UInt16 = 0x08

    /// The number of the commit that the meta names.
    public let commit: UInt64
    public let pageSize: Int
    /// Bytes that the file has at the least: up to the last page of the commit.
    public let fileSize: UInt64
    public let bytes: [UInt8]

    /// - Returns: nil where the bytes are no meta page of a version that is known.
    init?(_ bytes: RawSpan) {
        guard bytes.byteCount >= MetaPage.size else { return nil }
        let magic = bytes.native(at: 16, as: UInt32.self)
        let version = bytes.native(at: 20, as: UInt32.self)
        let flags = bytes.native(at: 10, as: UInt16.self)
        let pageSize = Int(bytes.native(at: 40, as: UInt32.self))
        guard magic == MetaPage.magic, version == MetaPage.version, flags & MetaPage.metaFlag != 0,
            pageSize.nonzeroBitCount == 1, (512...65536).contains(pageSize)
        else { return nil }
        self.pageSize = pageSize
        commit = bytes.native(at: 144)
        // Counted up from 1: no file has so many.
        guard commit < 1 << 62 else { return nil }
        let pages = bytes.native(at: 136, as: UInt64.self).addingReportingOverflow(1)
        let (size, isTooLarge) = pages.partialValue.multipliedReportingOverflow(
            by: UInt64(pageSize))
        guard !pages.overflow, !isTooLarge else { return nil }
        fileSize = size
        self.bytes = bytes.extracting(first: MetaPage.size).array
    }

    /// The two metas of the file `path`, valid or not.
    /// - Returns: nil for each that is not one.
    public static func read(
        _ path: String
    ) throws(LMDBError) -> (first: MetaPage?, second: MetaPage?) {
        let file = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw LMDBError(errno, "open", path) }
        defer { close(file) }
        return try read(file, path)
    }

    /// - Parameter path: for errors only: the file may have been renamed since it was opened.
    static func read(
        _ file: Int32, _ path: String
    ) throws(LMDBError) -> (first: MetaPage?, second: MetaPage?) {
        let first = try readMeta(file, at: 0, path)
        // Without a first meta the page size is that of the system.
        let pageSize = first?.pageSize ?? sysconf(Int32(_SC_PAGESIZE))
        return (first, try readMeta(file, at: pageSize, path))
    }

    /// The meta that was kept as `bytes`.
    public init?(bytes: [UInt8]) { self.init(bytes.rawSpan) }

    private static func readMeta(
        _ file: Int32, at offset: Int, _ path: String
    ) throws(LMDBError) -> MetaPage? {
        var failure: Int32 = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: size) { buffer, filled in
            let count = unsafe pread(file, buffer.baseAddress, size, offset)
            if count < 0 { failure = errno }
            filled = max(count, 0)
        }
        if failure != 0 { throw LMDBError(failure, "read", path) }
        return MetaPage(bytes.rawSpan)
    }

    /// Writes the meta over both of the file, which nobody has open, and waits until they
    /// are on the disk.
    public func restore(_ path: String) throws(LMDBError) {
        let file = unsafe open(path.hostPath, O_RDWR | O_CLOEXEC)
        guard file >= 0 else { throw LMDBError(errno, "open", path) }
        defer { close(file) }
        for page in 0..<2 {
            var copy = bytes
            // The page's own number comes first in its header.
            for index in 0..<8 { copy[index] = 0 }
            unsafe copy.withUnsafeMutableBytes {
                unsafe $0.storeBytes(of: UInt64(page), as: UInt64.self)
            }
            let count = unsafe copy.withUnsafeBytes {
                unsafe pwrite(file, $0.baseAddress, $0.count, page * pageSize)
            }
            guard count == copy.count else { throw LMDBError(errno, "write", path) }
        }
        guard fdatasync(file) == 0 else { throw LMDBError(errno, "sync", path) }
    }
}

/// A commit whose pages are not used again as long as this lives.
public final class PinnedCommit: Sendable {
    private let transaction: ReadTransaction
    /// The meta that names the commit.
    public let meta: MetaPage

    /// Pins the last commit. No transaction may commit meanwhile.
    /// - Throws: `corrupted` where the file's meta is not that of the last commit.
    public init(_ environment: Environment) throws(LMDBError) {
        transaction = try environment.beginRead()
        let commit = transaction.commit
        let metas = try MetaPage.read(environment.descriptor, environment.path)
        let meta = commit % 2 == 0 ? metas.first : metas.second
        // Behind a restored meta both are of the same commit, whatever its number.
        guard
            let meta = [meta, metas.first, metas.second].compactMap({ $0 })
                .first(where: { $0.commit == commit })
        else {
            throw LMDBError(
                code: .corrupted, operation: "find commit \(commit) in", object: environment.path)
        }
        self.meta = meta
    }

    public var commit: UInt64 { meta.commit }
}

extension RawSpan {
    /// The integer at `offset` in the processor's own byte order.
    fileprivate func native<T: FixedWidthInteger & BitwiseCopyable>(
        at offset: Int, as: T.Type = T.self
    ) -> T {
        unsafe unsafeLoadUnaligned(fromByteOffset: offset, as: T.self)
    }
}
