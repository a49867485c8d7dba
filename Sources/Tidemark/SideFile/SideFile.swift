// The side file in LMDB: an environment of its own beside the owner's.
//
// Table `run.N`: one for each sorted run. Key: the first key of a chunk. Value: the records
// of the chunk, then the CRC32C of key and records. Chunks fill sixteen pages; liblmdb
// stores them outside the tree, in a row, so that a run is written and read sequentially.
// Commits don't wait for the disk.

internal import LMDB
internal import Bytes
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

public final class SideFile: SideStore, @unchecked Sendable {
    public let path: String
    private let environment: Environment
    private let tables = Mutex<[UInt32: Table]>([:])

    /// Makes a new side file at `path`, in place of one that lies there.
    /// - Parameter limit: bytes that it may grow to.
    public init(path: String, limit: Int = 1 << 38) throws {
        SideFile.delete(path)
        self.path = path
        environment = try Environment(
            path: path,
            options: .init(mapSize: limit, maximumTables: 4096, isUnsynced: true))
    }

    public func append(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        try environment.write { transaction in
            var table = tables.withLock { $0[number] }
            if table == nil {
                table = try transaction.table("run.\(number)", create: true)
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

    public func sync() throws { try environment.sync() }

    public func remove() { SideFile.delete(path) }

    private static func delete(_ path: String) {
        unsafe unlink(path)
        unsafe unlink(path + "-lock")
    }
}

final class SideFileReader: RunReader {
    private var cursor: Cursor
    private let number: UInt32

    init(_ cursor: consuming Cursor, _ number: UInt32) {
        self.cursor = cursor
        self.number = number
    }

    func seek(_ key: KeyBytes, into chunk: inout ByteArena) throws -> Bool {
        var found = key.count > 0 ? try cursor.seek(atOrBefore: key.span) : false
        if !found { found = try cursor.first() }
        return found ? try Self.take(cursor, number, into: &chunk) : false
    }

    func next(into chunk: inout ByteArena) throws -> Bool {
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
        guard CRC32C.checksum(cursor.key, records) == stored else {
            throw SideFileError.damagedChunk(run: number)
        }
        chunk.removeAll()
        chunk.append(records)
        return true
    }
}
