// What stands in an index file. Integers are big-endian, so that the order of the bytes is the
// order of the numbers.
//
//   blocks     chunk u64, inode u64, fork u8, line u64 -> stretches
//   extents    inode u64, fork u8, line u64, chunk u64 -> nothing
//   parents    child u64, directory u64, name          -> nothing
//   children   directory u64, child u64                -> nothing
//   head       `head` -> IndexHeader, `unsettled` -> ranges (IndexRanges.swift)
//
// A *chunk* is 256 blocks of the device that begin at a multiple of 256: no stretch reaches beyond
// it, so the owners of a block stand behind one place of the table, however long extents are. A
// *line* is what all blocks of a chunk have in common that follow each other in the device and in
// the file alike: offset in the fork + 255 - block within the chunk, which is never below zero.
//
// Stretches: first u8, last u8 (blocks within the chunk), state u8 (1 written, 2 unwritten), each
// behind the one before. `extents` and `children` lead from what is read to what it derives: where
// an inode or a directory is read again they say which entries it had.

package import Bytes
internal import LinuxOwner

/// Blocks of a chunk.
let chunkBlocks: UInt64 = 256

/// A fork of a file, along one line, in one chunk.
package struct BlockKey: Hashable, Sendable, Comparable {
    package var chunk, inode, line: UInt64
    package var fork: UInt8

    package init(chunk: UInt64, inode: UInt64, fork: UInt8, line: UInt64) {
        self.chunk = chunk
        self.inode = inode
        self.fork = fork
        self.line = line
    }

    /// Of the block at `offset` in the fork.
    package init(block: UInt64, inode: UInt64, fork: UInt8, offset: UInt64) {
        self.init(
            chunk: block / chunkBlocks, inode: inode, fork: fork,
            line: offset &+ (chunkBlocks - 1 - block % chunkBlocks))
    }

    /// nil where the bytes are no such key: it is coded as that of a mapping is, with the chunk in
    /// place of the block and the line in place of the offset.
    package init?(_ key: RawSpan) {
        guard let code = MappingKey(key) else { return nil }
        self.init(chunk: code.block, inode: code.owner, fork: code.fork, line: code.offset)
        guard chunk < 1 << 55, line < 1 << 55 else { return nil }
    }

    /// The same, of a key of `extents`.
    init?(extents key: RawSpan) {
        guard key.byteCount == MappingKey.size else { return nil }
        inode = key.integer(at: 0)
        fork = key.integer(at: 8)
        line = key.integer(at: 9)
        chunk = key.integer(at: 17)
        guard fork <= 1, chunk < 1 << 55, line < 1 << 55 else { return nil }
    }

    package var bytes: FixedBytes<25> {
        MappingKey(block: chunk, owner: inode, fork: fork, offset: line).bytes
    }

    var extentsBytes: FixedBytes<25> {
        var key = FixedBytes<25>()
        key.store(inode, at: 0)
        key.store(fork, at: 8)
        key.store(line, at: 9)
        key.store(chunk, at: 17)
        return key
    }

    /// The offset in the fork of block `place` of the chunk; nil where none can be there.
    package func offset(at place: UInt8) -> UInt64? {
        let (offset, isBefore) = (line &+ UInt64(place)).subtractingReportingOverflow(
            chunkBlocks - 1)
        return isBefore ? nil : offset
    }

    package static func < (a: BlockKey, b: BlockKey) -> Bool {
        (a.chunk, a.inode, a.fork, a.line) < (b.chunk, b.inode, b.fork, b.line)
    }

    static func extentsPrecedes(_ a: BlockKey, _ b: BlockKey) -> Bool {
        (a.inode, a.fork, a.line, a.chunk) < (b.inode, b.fork, b.line, b.chunk)
    }
}

/// What a block is to a fork.
package enum BlockState: UInt8, Sendable {
    case none = 0, written = 1, unwritten = 2
}

/// The blocks of one key: a state for each block of the chunk.
package struct ChunkCells {
    private var cells = [UInt8](repeating: 0, count: Int(chunkBlocks))

    package init() {}

    package subscript(_ place: UInt8) -> BlockState {
        BlockState(rawValue: cells[Int(place)]) ?? .none
    }

    package mutating func clear() {
        for place in cells.indices { cells[place] = 0 }
    }

    package mutating func fill(_ first: UInt8, _ last: UInt8, _ state: BlockState) {
        guard first <= last else { return }
        for place in Int(first)...Int(last) { cells[place] = state.rawValue }
    }

    /// Takes over what `encode` gave.
    /// - Returns: false where the bytes are no stretches.
    package mutating func decode(_ value: RawSpan) -> Bool {
        clear()
        return forEachStretch(value) { first, last, state in fill(first, last, state) }
    }

    /// Appends the stretches to `bytes`; nothing where there is none.
    package func encode(into bytes: inout [UInt8]) {
        var place = 0
        while place < cells.count {
            let state = cells[place]
            guard state != 0 else {
                place += 1
                continue
            }
            var end = place + 1
            while end < cells.count, cells[end] == state { end += 1 }
            bytes.append(UInt8(place))
            bytes.append(UInt8(end - 1))
            bytes.append(state)
            place = end
        }
    }
}

/// Calls `body` with first and last block and state of each stretch of `value`.
/// - Returns: false where the bytes are no stretches; `body` has then been called for those before.
package func forEachStretch(
    _ value: RawSpan, _ body: (UInt8, UInt8, BlockState) -> Void
) -> Bool {
    guard value.byteCount > 0, value.byteCount % 3 == 0 else { return false }
    var least = 0
    for position in stride(from: 0, to: value.byteCount, by: 3) {
        let first: UInt8 = value.integer(at: position),
            last: UInt8 = value.integer(at: position + 1)
        guard Int(first) >= least, first <= last,
            let state = BlockState(rawValue: value.integer(at: position + 2)), state != .none
        else { return false }
        least = Int(last) + 1
        body(first, last, state)
    }
    return true
}

/// A pair of inodes: the key of `children`, and what the keys of names begin with.
package enum InodePair {
    static func key(_ first: UInt64, _ second: UInt64) -> FixedBytes<16> {
        var key = FixedBytes<16>()
        key.store(first, at: 0)
        key.store(second, at: 8)
        return key
    }
}
