// A side file in memory: the same seam without the disk, for exploring races and for
// owners whose indexes are small.

package import Bytes
internal import Synchronization

public final class MemoryStore: SideStore {
    package struct Chunk {
        package let firstKey: KeyBytes
        package let records: [UInt8]
    }

    private let runs = Mutex<[UInt32: [Chunk]]>([:])
    /// A checkpoint, with what the store held then.
    package struct Saved: Sendable {
        package let checkpoint: Checkpoint
        package let runs: [UInt32: [Chunk]]
    }

    private let staged = Mutex<Saved?>(nil)
    private let saved = Mutex<Saved?>(nil)

    public init() {}

    package var durable: Saved? { saved.withLock { $0 } }
    package var onItsWay: Saved? { staged.withLock { $0 } }

    /// What is left after a failure of the system: the durable checkpoint, and its runs. This
    /// store is not used any more.
    public func survivor() -> (store: MemoryStore, checkpoint: Checkpoint)? {
        guard let image = saved.withLock({ $0 }) else { return nil }
        let store = MemoryStore()
        store.runs.withLock { $0 = image.runs }
        store.saved.withLock { $0 = image }
        return (store, image.checkpoint)
    }

    public func append(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        runs.withLock { runs in
            for index in 0..<chunks.count {
                let chunk = Chunk(
                    firstKey: KeyBytes(cut: chunks.firstKey(index)),
                    records: chunks.chunk(index).array)
                if let last = runs[number]?.last {
                    precondition(!(chunk.firstKey < last.firstKey), "a run is written in key order")
                }
                runs[number, default: []].append(chunk)
            }
        }
    }

    public func readers(of numbers: [UInt32]) throws -> [any RunReader] {
        runs.withLock { runs in numbers.map { MemoryReader(runs[$0] ?? []) } }
    }

    public func drop(_ numbers: [UInt32]) throws {
        runs.withLock { runs in for number in numbers { runs[number] = nil } }
    }

    public func stage(_ checkpoint: Checkpoint) throws {
        let numbers = Set(checkpoint.runs.joined().map(\.number))
        let image = Saved(
            checkpoint: checkpoint,
            runs: runs.withLock { $0.filter { numbers.contains($0.key) } })
        staged.withLock { $0 = image }
    }

    public func makeDurable() throws {
        let image = staged.withLock { $0.take() }
        if let image { saved.withLock { $0 = image } }
    }

    public func remove() {
        runs.withLock { $0 = [:] }
        staged.withLock { $0 = nil }
        saved.withLock { $0 = nil }
    }
}

package final class MemoryReader: RunReader {
    private let chunks: [MemoryStore.Chunk]
    private var index = -1

    package init(_ chunks: [MemoryStore.Chunk]) { self.chunks = chunks }

    package func seek(_ key: KeyBytes, into chunk: inout ByteArena) throws -> Bool {
        index = max(0, (chunks.firstIndex { key < $0.firstKey } ?? chunks.count) - 1)
        return take(into: &chunk)
    }

    package func next(into chunk: inout ByteArena) throws -> Bool {
        index += 1
        return take(into: &chunk)
    }

    private func take(into chunk: inout ByteArena) -> Bool {
        guard index < chunks.count else { return false }
        chunk.removeAll()
        let records = chunks[index].records
        unsafe chunk.append(records.span.bytes)
        return true
    }
}
