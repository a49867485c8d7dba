// An index file: an LMDB file of five tables (IndexFormat.swift), which one server writes and any
// number of readers read meanwhile.
//
// What must hold:
// - Its pages are checked before liblmdb walks them, as those of every LMDB file that comes from
//   outside. What is no index, of another version, or damaged is refused, and left as it is.
// - Each commit waits for the disk. It is one state of the filesystem: what it says is settled is
//   as of the time in the head, exactly.
// - A server holds a lock on the file (F_OFD_SETLK) beyond its end, where liblmdb has none: readers
//   ask for it to tell whether somebody keeps the index.

internal import Bytes
package import LMDB
internal import LMDBPages
internal import Synchronization
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

package final class IndexFile: Sendable {
    package let path: String
    package let environment: Environment
    let tables: Tables
    private let lock: FileLock?

    struct Tables: Sendable {
        let blocks, extents, parents, children, head: Table

        static let names = ["blocks", "extents", "parents", "children", "head"]

        /// nil where one of them is missing.
        init?(_ open: (String) throws -> Table?) rethrows {
            var found: [Table] = []
            for name in Tables.names {
                guard let table = try open(name) else { return nil }
                found.append(table)
            }
            (blocks, extents, parents, children, head) = (
                found[0], found[1], found[2], found[3], found[4]
            )
        }
    }

    private static let mapSize = 1 << 42

    private init(_ path: String, _ environment: Environment, _ tables: Tables, _ lock: FileLock?) {
        self.path = path
        self.environment = environment
        self.tables = tables
        self.lock = lock
    }

    // MARK: Opening

    /// Opens the file, or makes it, to be written by this process alone.
    package static func openForServer(_ path: String) throws -> IndexFile {
        let lock = try FileLock(path)
        if try !isEmpty(path) { try checkPages(path) }
        return try calling(path) {
            let environment = try Environment(
                path: place(of: path), options: .init(mapSize: mapSize, maximumTables: 8))
            if let found = try Tables({ try environment.table($0, create: false) }) {
                return IndexFile(path, environment, found, lock)
            }
            // A server that was killed before its first commit leaves no table; what has others is
            // somebody else's.
            guard try isWithoutTables(environment) else {
                throw IndexFileError(path, .noIndex("its tables are others"))
            }
            let made = try environment.write { transaction in
                try Tables { try transaction.table($0, create: true) }
            }
            guard let made else { preconditionFailure("tables that are made are there") }
            return IndexFile(path, environment, made, lock)
        }
    }

    /// Opens the file for reading, beside a server or without one.
    /// - Parameter seconds: for which all pages are looked at; what is left then is looked at as
    ///   far as its branch pages.
    package static func openForReading(_ path: String, seconds: Double = 1) throws -> IndexFile {
        guard try !isEmpty(path) else { throw IndexFileError(path, .noIndex("it is empty")) }
        // What liblmdb reads when it opens a file.
        let metas = try PageCheck.check(path, scope: .metas)
        guard metas.isSound else { throw IndexFileError(path, metas) }
        return try calling(path) {
            let environment = try Environment(
                path: place(of: path),
                options: .init(mapSize: mapSize, maximumTables: 8, isReadOnly: true))
            try checkPages(path, environment, seconds: seconds)
            guard let found = try Tables({ try environment.table($0, create: false) }) else {
                throw IndexFileError(path, .noIndex("it has not the tables of one"))
            }
            return IndexFile(path, environment, found, nil)
        }
    }

    private static func isWithoutTables(_ environment: Environment) throws -> Bool {
        environment.statistics.lastTransaction == 0
    }

    private static func isEmpty(_ path: String) throws -> Bool {
        var status = stat()
        guard unsafe stat(path.hostPath, &status) == 0 else {
            if errno == ENOENT { throw IndexFileError(path, .notFound) }
            throw IndexFileError(path, .failed(systemText(errno)))
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw IndexFileError(path, .noIndex("it is no file"))
        }
        return status.st_size == 0
    }

    /// The file that `path` leads to through symbolic links, whether it is there or not. What is
    /// asked about the place of a file is asked of this one, and liblmdb is to find one lock for
    /// it, which lies beside it.
    static func place(of path: String) throws -> String {
        var path = path
        for _ in 0..<40 {
            if let found = unsafe realpath(path.hostPath, nil) {
                defer { unsafe free(found) }
                return unsafe String(hostPath: found)
            }
            guard errno == ENOENT else { break }
            let slash = path.lastIndex(of: "/")
            let folder = slash.map { String(path[...$0]) } ?? "./"
            if let next = target(of: path) {
                path = next.hasPrefix("/") ? next : folder + next
            } else if let found = unsafe realpath(folder.hostPath, nil) {
                defer { unsafe free(found) }
                let name = slash.map { path[path.index(after: $0)...] } ?? path[...]
                return unsafe String(hostPath: found) + "/" + name
            } else {
                break
            }
        }
        throw IndexFileError(path, .failed(systemText(errno)))
    }

    /// What liblmdb has to say becomes an error about the file.
    static func calling<R: ~Copyable>(_ path: String, _ body: () throws -> R) throws -> R {
        do {
            return try body()
        } catch let error as LMDBError {
            throw IndexFileError(path, error)
        }
    }

    // MARK: Pages

    /// Nobody writes meanwhile.
    private static func checkPages(_ path: String) throws {
        let report = try PageCheck.check(path)
        guard report.isSound else { throw IndexFileError(path, report) }
    }

    /// Checks the pages of the last commit, which a reader holds meanwhile.
    private static func checkPages(
        _ path: String, _ environment: Environment, seconds: Double
    ) throws {
        let end = monotonicNanoseconds() + UInt64(max(0, seconds) * 1e9)
        var scope = PageScope.all
        for _ in 0..<16 {
            let reader = try environment.beginRead()
            let report: PageReport
            do throws(PageCheckError) {
                report = try PageCheck.check(path, commit: reader.commit, scope: scope) {
                    scope == .branches || monotonicNanoseconds() < end
                }
            } catch {
                // Others have committed twice since, and no meta page names the commit any more.
                guard error.errno == EAGAIN else { throw error }
                continue
            }
            guard report.isSound else { throw IndexFileError(path, report) }
            if report.isComplete { return }
            scope = .branches
        }
    }

    // MARK: Reading

    package func snapshot() throws -> IndexSnapshot {
        try IndexFile.calling(path) { try IndexSnapshot(self) }
    }

    /// Whether a process keeps the index now.
    package var isServed: Bool { FileLock.isHeld(path) }
}
