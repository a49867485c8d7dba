// The side file in LMDB: an environment of its own beside the owner's.
//
// Table `run.N`: one for each sorted run. Key: the first key of a chunk. Value: the records
// of the chunk, then the CRC32C of key and records. Chunks fill sixteen pages; liblmdb
// stores them outside the tree, in a row, so that a run is written and read sequentially.
// Commits don't wait for the disk.
//
// Beside it lies the checkpoint that a run would go on from (CheckpointFile.swift). It holds
// the meta page of the commit at which it was staged, and the pages of that commit are pinned
// until the next checkpoint has taken its place: whatever the system had written of the side
// file when it came down, putting that meta page back gives the side file of the checkpoint.
//
// A file that is opened comes from outside: its pages are checked before liblmdb walks them, and
// the records of each chunk before anybody follows their lengths. What is not as it was written
// makes the run start again.

package import Bytes
internal import Entries
package import LMDB
internal import LMDBPages
public import Shadow
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

public final class SideFile: SideStore, @unchecked Sendable {
    /// Which run of which owner a side file belongs to.
    public struct Identity: Sendable, Hashable {
        public var owner: (UInt64, UInt64) { (first, second) }
        public let run: UInt64
        package let first, second: UInt64

        public init(owner: (UInt64, UInt64), run: UInt64) {
            (first, second) = owner
            self.run = run
        }
    }

    private struct Checkpoints {
        var staged: (checkpoint: Checkpoint, pin: PinnedCommit)?
        /// The pages of the durable one.
        var pin: PinnedCommit?
    }

    public let path: String
    public let identity: Identity
    private let environment: Environment
    private let tables = Mutex<[UInt32: Table]>([:])
    private let checkpoints = Mutex(Checkpoints())
    /// Held while something is appended, or a commit is pinned.
    private let writing = Mutex(())

    /// Makes a new side file at `path`, in place of one that lies there.
    /// - Parameter limit: bytes that it may grow to.
    public init(
        path: String, identity: Identity = Identity(owner: (0, 0), run: 0), limit: Int = 1 << 38
    ) throws {
        SideFile.delete(path)
        self.path = path
        self.identity = identity
        environment = try SideFile.environment(path, limit)
    }

    /// Opens the side file at `path` as of its checkpoint. What was written later is gone.
    /// - Throws: `SideFileError` where it can't be gone on from.
    public static func open(
        path: String, identity: Identity, limit: Int = 1 << 38
    ) throws -> (file: SideFile, checkpoint: Checkpoint) {
        let kept = try CheckpointFile(sideFile: path).read(identity)
        do {
            // liblmdb maps the file, and a page beyond its end would be the end of the process.
            guard try fileSize(path) >= kept.meta.fileSize else {
                throw SideFileError.damaged(path: path)
            }
            try kept.meta.restore(path)
            guard try PageCheck.check(path).isSound else {
                throw SideFileError.damaged(path: path)
            }
            let file = try SideFile(opening: path, identity, kept, limit)
            return (file, kept.checkpoint)
        } catch let error as PageCheckError {
            throw LMDBError(
                code: .system(error.errno), operation: error.operation, object: error.path)
        } catch let error as LMDBError {
            switch error.code {
            case .system(let number) where number == ENOENT: throw SideFileError.lost(path: path)
            case .invalid, .corrupted, .versionMismatch, .panic, .notFound:
                throw SideFileError.damaged(path: path)
            default: throw error
            }
        }
    }

    private init(
        opening path: String, _ identity: Identity, _ kept: CheckpointFile.Contents, _ limit: Int
    ) throws {
        self.path = path
        self.identity = identity
        environment = try SideFile.environment(path, limit)
        // Its pages are needed until another checkpoint is durable.
        let pin = try PinnedCommit(environment)
        checkpoints.withLock { $0.pin = pin }
        for run in kept.checkpoint.runs.joined() {
            guard let table = try environment.table(SideFile.table(run.number), create: false)
            else { throw SideFileError.damaged(path: path) }
            tables.withLock { $0[run.number] = table }
        }
    }

    private static func fileSize(_ path: String) throws -> UInt64 {
        var status = stat()
        guard unsafe stat(path.hostPath, &status) == 0 else {
            throw LMDBError(code: .system(errno), operation: "look at", object: path)
        }
        return UInt64(status.st_size)
    }

    private static func environment(_ path: String, _ limit: Int) throws -> Environment {
        try Environment(
            path: path,
            options: .init(
                mapSize: limit, maximumTables: Checkpoint.mostRuns, isUnsynced: true))
    }

    private static func table(_ number: UInt32) -> String { "run.\(number)" }

    public func append(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        try writing.withLock { _ in try write(chunks, to: number) }
    }

    private func write(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        try environment.write { transaction in
            var table = tables.withLock { $0[number] }
            if table == nil {
                table = try transaction.table(SideFile.table(number), create: true)
            }
            guard let table else { preconditionFailure("a table that was created is there") }
            for index in 0..<chunks.count {
                let records = chunks.chunk(index)
                let key = chunks.firstKey(index)
                let sum = CRC32C.checksum(key, records)
                try transaction.append(
                    table, key, size: records.byteCount + MemoryLayout<UInt32>.size
                ) { value in
                    value.append(records)
                    value.append(sum)
                }
            }
            tables.withLock { $0[number] = table }
        }
    }

    public func readers(of numbers: [UInt32]) throws -> [any RunReader] {
        // One snapshot for them all: liblmdb bounds the number of readers, not of cursors.
        let transaction = try environment.beginRead()
        var readers: [any RunReader] = []
        for number in numbers {
            guard let table = tables.withLock({ $0[number] }) else {
                preconditionFailure("a run is read after it was written")
            }
            readers.append(SideFileReader(try transaction.cursor(table), number))
        }
        return readers
    }

    public func drop(_ numbers: [UInt32]) throws {
        try writing.withLock { _ in
            try environment.write { transaction in
                for number in numbers {
                    guard let table = tables.withLock({ $0[number] }) else { continue }
                    try transaction.drop(table)
                }
            }
        }
        tables.withLock { tables in for number in numbers { tables[number] = nil } }
    }

    public func stage(_ checkpoint: Checkpoint) throws {
        let pin = try writing.withLock { _ in try PinnedCommit(environment) }
        checkpoints.withLock { $0.staged = (checkpoint, pin) }
    }

    public func makeDurable() throws {
        guard let staged = checkpoints.withLock({ $0.staged.take() }) else { return }
        try environment.sync()
        try CheckpointFile(sideFile: path).write(
            .init(checkpoint: staged.checkpoint, meta: staged.pin.meta), identity)
        checkpoints.withLock { $0.pin = staged.pin }
    }

    public func remove() { SideFile.delete(path) }

    /// Deletes the side file at `path`, and its checkpoint.
    public static func delete(_ path: String) {
        // The checkpoint first: it means nothing without the rest.
        unsafe unlink(CheckpointFile(sideFile: path).path.hostPath)
        unsafe unlink(path.hostPath)
        unsafe unlink((path + "-lock").hostPath)
    }
}

package final class SideFileReader: RunReader {
    private var cursor: Cursor
    private let number: UInt32

    package init(_ cursor: consuming Cursor, _ number: UInt32) {
        self.cursor = cursor
        self.number = number
    }

    package func seek(_ key: KeyBytes, into chunk: inout ByteArena) throws -> Bool {
        var found = key.count > 0 ? try cursor.seek(atOrBefore: key.span) : false
        if !found { found = try cursor.first() }
        return found ? try Self.take(cursor, number, into: &chunk) : false
    }

    package func next(into chunk: inout ByteArena) throws -> Bool {
        try cursor.next() ? try Self.take(cursor, number, into: &chunk) : false
    }

    private static func take(
        _ cursor: borrowing Cursor, _ number: UInt32, into chunk: inout ByteArena
    ) throws -> Bool {
        let value = cursor.value
        guard value.byteCount > MemoryLayout<UInt32>.size else {
            throw SideFileError.damagedChunk(run: number)
        }
        let records = value.extracting(droppingLast: MemoryLayout<UInt32>.size)
        let stored: UInt32 = value.integer(at: records.byteCount)
        guard CRC32C.checksum(cursor.key, records) == stored, Record.fill(records) else {
            throw SideFileError.damagedChunk(run: number)
        }
        chunk.removeAll()
        chunk.append(records)
        return true
    }
}
