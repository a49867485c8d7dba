// The side file holds what a run has learnt: sorted runs of entries. This is the seam
// behind which it lies in LMDB, or in memory where races are explored.
//
// A run is written once, in key order, in chunks of up to 64 KiB, and then only read. A
// chunk is a sequence of records; it is found by the key of its first record. No key
// stands twice in one run.

public import Bytes
package import Entries
public import Feed

/// A run that was written completely.
public struct SortedRun: Sendable, Hashable {
    /// Number within the side file, in the order of writing.
    public let number: UInt32
    public let entries: Int
    /// Bytes of all its records.
    public let bytes: Int

    package init(number: UInt32, entries: Int, bytes: Int) {
        self.number = number
        self.entries = entries
        self.bytes = bytes
    }
}

/// Why a side file can't be used.
public enum SideFileError: PositionError, Hashable {
    /// The checksum of a chunk is wrong: the number of its run.
    case damagedChunk(run: UInt32)
    /// There is no side file, or none with a checkpoint.
    case lost(path: String)
    /// It belongs to another owner, or to another run.
    case foreign(path: String)
    /// It, or its checkpoint, is not what was written.
    case damaged(path: String)
}

extension SideFileError {
    public var description: String {
        switch self {
        case .damagedChunk(let run): "side file: a chunk of run \(run) has a wrong checksum"
        case .lost(let path): "the side file \(path) holds no checkpoint, or is gone"
        case .foreign(let path): "the side file \(path) is of another volume or another run"
        case .damaged(let path): "the side file \(path) or its checkpoint is damaged"
        }
    }
}

public protocol SideStore: AnyObject, Sendable {
    /// Appends chunks to the run `number`, above all that it holds.
    func append(_ chunks: borrowing ChunkList, to number: UInt32) throws

    /// A reader of each of the runs, good until the store is removed. They are used by one
    /// thread, the same for all of them.
    func readers(of numbers: [UInt32]) throws -> [any RunReader]

    /// Deletes complete runs that nobody will open any more. Readers that are open go on, and so
    /// does the checkpoint that knows them.
    func drop(_ numbers: [UInt32]) throws

    /// Notes `checkpoint`, whose runs have all been appended. Called by whoever appends.
    func stage(_ checkpoint: Checkpoint) throws

    /// Waits until what is staged is durable, and makes it the checkpoint to go on from.
    /// Appending goes on meanwhile, staging does not.
    func makeDurable() throws

    /// Deletes the store and all in it.
    func remove()
}

/// Reads one run. Used by one thread at a time.
public protocol RunReader: AnyObject {
    /// Reads the last chunk that begins at or before `key`, or the first chunk, in place
    /// of what `chunk` holds.
    /// - Returns: false where the run is empty.
    func seek(_ key: KeyBytes, into chunk: inout ByteArena) throws -> Bool

    /// Reads the next chunk. Returns false at the end.
    func next(into chunk: inout ByteArena) throws -> Bool
}

extension RunReader {
    /// Appends every record that is left of the run to `batch`.
    package func readRest(
        into batch: EntryBatch, chunkBytes: Int = ChunkList.chunkSize
    ) throws {
        var chunk = ByteArena(capacity: chunkBytes)
        while try next(into: &chunk) {
            var position = 0
            while position < chunk.count {
                let record = unsafe Record(chunk.base(at: position))
                batch.append(record)
                position += record.size
            }
        }
    }
}

/// Chunks on their way to a store.
public struct ChunkList: ~Copyable {
    /// Bytes of a chunk: with LMDB's page header and our checksum, 16 pages of 4 KiB.
    public static let chunkSize = 65536 - 16 - 4

    /// Bytes after which a new chunk begins.
    package let limit: Int
    package var bytes: ByteArena
    package var starts: [Int] = []

    package init(limit: Int = ChunkList.chunkSize) {
        self.limit = limit
        bytes = ByteArena(capacity: min(limit * 16, 1 << 20))
    }

    public var count: Int { starts.count }
    public var byteCount: Int { bytes.count }

    /// Appends a record: to the last chunk, or as the first of a new one.
    package mutating func append(_ record: Record) {
        let size = record.size
        if starts.isEmpty || bytes.count - starts[starts.count - 1] + size > limit {
            starts.append(bytes.count)
        }
        bytes.append(record.bytes)
    }

    /// The records of chunk `index`.
    @_lifetime(borrow self)
    public func chunk(_ index: Int) -> RawSpan {
        let end = index + 1 < starts.count ? starts[index + 1] : bytes.count
        return bytes.bytes(at: starts[index], end - starts[index])
    }

    /// The key of the first record of chunk `index`.
    @_lifetime(borrow self)
    public func firstKey(_ index: Int) -> RawSpan {
        let length = Int(bytes.load(at: starts[index] + 8, as: UInt16.self))
        return bytes.bytes(at: starts[index] + Record.headerSize, length)
    }

    package mutating func removeAll() {
        bytes.removeAll()
        starts.removeAll(keepingCapacity: true)
    }
}
