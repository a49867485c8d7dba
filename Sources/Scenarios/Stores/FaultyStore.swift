// A side file under the scenario's hand: every append and every read may fail.

internal import Bytes
public import Tidemark

/// A side file whose appends and reads fail where the scenario says so.
public final class FaultyStore: SideStore, @unchecked Sendable {
    private let inner: any SideStore
    private let faults: Faults

    public init(_ inner: any SideStore, _ faults: Faults) {
        self.inner = inner
        self.faults = faults
    }

    public func append(_ chunks: borrowing ChunkList, to number: UInt32) throws {
        try faults.check(.sideFileAppend)
        try inner.append(chunks, to: number)
    }

    public func readers(of numbers: [UInt32]) throws -> [any RunReader] {
        try faults.check(.sideFileRead)
        return try inner.readers(of: numbers).map { FaultyReader($0, faults) }
    }

    public func drop(_ numbers: [UInt32]) throws { try inner.drop(numbers) }
    public func stage(_ checkpoint: Checkpoint) throws { try inner.stage(checkpoint) }

    public func makeDurable() throws {
        try faults.check(.saveCheckpoint)
        try inner.makeDurable()
    }

    public func remove() { inner.remove() }
}

private final class FaultyReader: RunReader {
    private let inner: any RunReader
    private let faults: Faults

    init(_ inner: any RunReader, _ faults: Faults) {
        self.inner = inner
        self.faults = faults
    }

    func seek(_ key: KeyBytes, into chunk: inout ByteArena) throws -> Bool {
        try faults.check(.sideFileRead)
        return try inner.seek(key, into: &chunk)
    }

    func next(into chunk: inout ByteArena) throws -> Bool {
        try faults.check(.sideFileRead)
        return try inner.next(into: &chunk)
    }
}
