// The bytes of an index file, damaged ones among them.

import Bytes
import Testing
import Tidemark

@testable import LinuxIndex

@Suite struct IndexFormatTests {
    static let header = IndexHeader(
        kind: .ext4, identity: Array(1...16), blockSize: 4096, major: 8, minor: 17, blocks: 1 << 20,
        partitionStart: 2048, root: 128, epoch: 3, boot: "0b3f5c1e-boot", mount: 42,
        asOf: 1_764_400_000_000_000_000, device: "sda1", disk: "sda")

    @Test func `a head is read as it was written`() throws {
        let bytes = Self.header.bytes.span.array
        #expect(try IndexHeader(bytes.rawSpan) == Self.header)
        #expect(Self.header.identityText == "01020304-0506-0708-090a-0b0c0d0e0f10")
    }

    @Test func `a head with any one bit flipped is refused`() {
        let bytes = Self.header.bytes.span.array
        for bit in 0..<bytes.count * 8 {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(throws: IndexHeader.DefectError.self, "bit \(bit)") {
                try IndexHeader(flipped.rawSpan)
            }
        }
        for count in 0..<bytes.count {
            #expect(throws: IndexHeader.DefectError.self) {
                try IndexHeader(Array(bytes.prefix(count)).rawSpan)
            }
        }
    }

    @Test func `another version is told as that`() throws {
        var bytes = Self.header.bytes.span.array
        bytes[11] = 9
        let error = #expect(throws: IndexHeader.DefectError.self) {
            try IndexHeader(bytes.rawSpan)
        }
        #expect(error?.defect == .version(9))
    }

    private func key(_ number: UInt64) -> KeyBytes {
        var key = KeyBytes()
        key.append(number)
        return key
    }

    @Test func `ranges keep the time as of which they were last true`() throws {
        let all = UnsettledRanges.all
        #expect(all.asOf(key(5).span) == UnsettledRanges.never)
        // All but 10 to 20 was read, and is as of 100.
        let part = KeyRange(lower: key(10), upper: key(20))
        let first = all.next([part], settledUntil: 0)
        #expect(first.asOf(key(9).span) == nil)
        #expect(first.asOf(key(10).span) == UnsettledRanges.never)
        // Then events of 15 and everything behind were lost.
        let second = first.next(
            [part, KeyRange(lower: key(15), upper: nil)], settledUntil: 100)
        #expect(second.asOf(key(12).span) == UnsettledRanges.never)
        #expect(second.asOf(key(15).span) == UnsettledRanges.never)
        #expect(second.asOf(key(20).span) == 100)
        #expect(second.asOf(key(9).span) == nil)
        #expect(UnsettledRanges(second.bytes.rawSpan) == second)
        // A server that starts anew believes nothing.
        let third = second.next([.all], settledUntil: 200)
        #expect(third.asOf(key(9).span) == 200)
        #expect(third.asOf(key(20).span) == 100)
        #expect(third.next([], settledUntil: 300).isEmpty)
    }

    @Test func `ranges with any one bit flipped, and any part of them, are refused`() {
        let ranges = UnsettledRanges.all.next(
            [KeyRange(lower: key(1), upper: key(2)), KeyRange(lower: key(7), upper: nil)],
            settledUntil: 50)
        let bytes = ranges.bytes
        for bit in 0..<bytes.count * 8 {
            var flipped = bytes
            flipped[bit / 8] ^= 1 << UInt8(bit % 8)
            #expect(UnsettledRanges(flipped.rawSpan) == nil, "bit \(bit)")
        }
        for count in 0..<bytes.count {
            #expect(UnsettledRanges(Array(bytes.prefix(count)).rawSpan) == nil)
        }
    }

    @Test func `very many ranges become one, of the oldest time`() {
        let many = (0..<UInt64(5000)).map { number in
            KeyRange(lower: key(number * 2), upper: key(number * 2 + 1))
        }
        let ranges = UnsettledRanges().next(many, settledUntil: 70)
        #expect(ranges.count == 1)
        #expect(ranges.asOf(key(1).span) == 70)
    }

    @Test func `stretches are read as they were written`() {
        var cells = ChunkCells()
        cells.fill(0, 0, .written)
        cells.fill(3, 200, .unwritten)
        cells.fill(100, 100, .none)
        cells.fill(201, 255, .written)
        var bytes: [UInt8] = []
        cells.encode(into: &bytes)
        #expect(bytes == [0, 0, 1, 3, 99, 2, 101, 200, 2, 201, 255, 1])
        var read = ChunkCells()
        let isRead = read.decode(bytes.rawSpan)
        #expect(isRead)
        #expect((0...255).allSatisfy { read[UInt8($0)] == cells[UInt8($0)] })
    }

    @Test(
        arguments: [
            [], [1], [1, 2], [1, 2, 1, 9], [2, 1, 1], [0, 0, 0], [0, 0, 3], [5, 6, 1, 6, 7, 1],
            [5, 6, 1, 4, 4, 1],
        ] as [[UInt8]])
    func `what are no stretches is refused`(bytes: [UInt8]) {
        var cells = ChunkCells()
        let isRead = cells.decode(bytes.rawSpan)
        #expect(!isRead)
    }

    @Test(arguments: [(0, 0), (255, 0), (256, 1), (1000, 0), (513, 1 << 50)])
    func `a key leads from a block to its offset and back`(block: UInt64, offset: UInt64) throws {
        let key = BlockKey(block: block, inode: 7, fork: 1, offset: offset)
        #expect(key.offset(at: UInt8(block % 256)) == offset)
        let bytes = key.bytes.span.array, extents = key.extentsBytes.span.array
        #expect(BlockKey(bytes.rawSpan) == key)
        #expect(BlockKey(extents: extents.rawSpan) == key)
        // Blocks before the first one of the file are in no line.
        if offset == 0, block % 256 > 0 { #expect(key.offset(at: UInt8(block % 256) - 1) == nil) }
    }
}
