// Bytes that nobody wrote, through every decoder: a record comes out that holds what it says, or
// damage that says what is wrong. Neither a trap, nor a record that others trap on.

import Bytes
import Testing
import Tidemark
import VolumeFormat
import VolumeIndexes

@Suite struct RecordLimitsTests {
    /// Keys and values like those of the tables, and others; extreme bytes more often than chance.
    private struct Bytes {
        var random: SplitMix64

        mutating func byte() -> UInt8 {
            switch random.next() % 4 {
            case 0: 0
            case 1: 0xff
            default: UInt8(truncatingIfNeeded: random.next())
            }
        }

        mutating func bytes(_ sizes: [Int]) -> [UInt8] {
            let size =
                random.next() % 4 > 0
                ? sizes[Int(random.next() % UInt64(sizes.count))] : Int(random.next() % 600)
            return (0..<size).map { _ in byte() }
        }

        mutating func sealed(_ key: [UInt8], _ sizes: [Int]) -> [UInt8] {
            sealedValue(key: key.rawSpan, body: bytes(sizes))
        }
    }

    @Test(arguments: 0..<8 as Range<UInt64>)
    func `no decoder traps, and what it gives has sums and products`(_ seed: UInt64) {
        var source = Bytes(random: SplitMix64(seed: seed))
        let geometry = Geometry(
            blockSize: 65536, blocks: 1 << 40, reservedAtStart: 1, reservedAtEnd: 1,
            identity: (1, 2))
        var decoded = 0
        for _ in 0..<20_000 {
            let key = source.bytes([8, 9, 12, 16, 17, 20])
            let value = source.sealed(key, [0, 8, 12, 13, 17, 28, 48, 104])
            if check(key.rawSpan, value.rawSpan, geometry) { decoded += 1 }
        }
        // The test is of something only where some bytes are records.
        #expect(decoded > 50)
    }

    private func check(_ key: RawSpan, _ value: RawSpan, _ geometry: Geometry) -> Bool {
        var isOne = false
        if let extent = try? ExtentRecord(key: key, value: value) {
            isOne = true
            #expect(extent.startEnd <= FormatLimits.blocks && extent.offsetEnd > extent.offset)
            if (try? geometry.check(extent)) != nil {
                #expect(extent.startEnd * 65536 > 0 && extent.offsetEnd * 65536 <= 1 << 63)
            }
        }
        if let run = try? FreeRecord(key: key, value: value) {
            isOne = true
            #expect(run.end <= FormatLimits.blocks && run.length > 0)
        }
        if let run = try? FreeRecord(lengthKey: key, value: value) {
            isOne = true
            #expect(run.end <= FormatLimits.blocks && run.length > 0)
        }
        if let inode = try? InodeRecord(key: key, value: value) {
            isOne = true
            #expect(Int64(exactly: inode.size) != nil && inode.blocks * 128 < 1 << 62)
        }
        if let entry = try? DirentRecord(key: key, value: value) {
            isOne = true
            #expect(!entry.name.contains(0) && !entry.name.contains(47) && entry.name.count < 256)
            #expect(entry.name != [46] && entry.name != [46, 46])
            #expect(entry.directory + 1 > 1 && entry.target.child + 1 > 1)
        }
        if let attribute = try? AttributeRecord(key: key, value: value) {
            isOne = true
            if case .remote(let offset, let length) = attribute.content {
                #expect(offset + UInt64(length) <= FormatLimits.blocks)
            }
        }
        if (try? SymlinkRecord.target(key: key, value: value)) != nil { isOne = true }
        if let record = try? ReclaimRecord(key: key, value: value) {
            isOne = true
            #expect(record.inode + 1 > 1 && record.from <= FormatLimits.blocks)
        }
        if let inode = try? FreeInodeRecord.inode(key: key, value: value) {
            isOne = true
            #expect(inode + 1 > 1)
        }
        _ = try? GenerationRecord(key: key, value: value)
        _ = try? Geometry(value: value)
        _ = try? Counters(value: value)
        checkIndexes(key, value)
        return isOne
    }

    /// Entries of indexes, whatever their length.
    private func checkIndexes(_ key: RawSpan, _ value: RawSpan) {
        for index in VolumeSlots.all {
            _ = index.isWellFormed(key: key, value: value)
            _ = index.fields(key: key, value: value)
            _ = index.primaryKey(of: key, value: value)
        }
        if let extent = ReverseMap.extent(key: key, value: value) {
            #expect(extent.startEnd <= FormatLimits.blocks)
        }
    }

    @Test(arguments: 0..<4 as Range<UInt64>)
    func `a geometry that is none is refused, and every other has a size`(_ seed: UInt64) {
        var source = Bytes(random: SplitMix64(seed: seed))
        let sound = Geometry(
            blockSize: 4096, blocks: 1000, reservedAtStart: 16, reservedAtEnd: 1, identity: (1, 2))
        let fixed = sound.value, key = Geometry.key
        let body = Array(fixed.span.array.dropLast(4))
        for _ in 0..<5000 {
            var lie = body
            for place in 12..<32 where source.random.next() % 8 == 0 { lie[place] = source.byte() }
            let value = sealedValue(key: key.rawSpan, body: lie)
            guard let geometry = try? Geometry(value: value.rawSpan) else { continue }
            #expect(Int64(exactly: geometry.blocks * UInt64(geometry.blockSize)) != nil)
            #expect(geometry.reservedExtents.allSatisfy { $0.startEnd <= geometry.blocks })
        }
    }

    @Test func `names and numbers that are none are said by name`() {
        func damage(_ body: () throws -> Void) -> RecordDamage? {
            do { try body() } catch { return error as? RecordDamage }
            return nil
        }
        let target = DirentTarget(child: 5, generation: 1, type: .regular)
        for name in [".", "..", "a/b", "a\0b", ""] {
            let bytes = Array(name.utf8)
            let key = DirentRecord.key(1, bytes.rawSpan).array
            let fixed = target.value(key: key.rawSpan)
            let value = fixed.span.array
            let found = damage { _ = try DirentRecord(key: key.rawSpan, value: value.rawSpan) }
            #expect(found == (name.isEmpty ? .length : .field("name")), "\(name)")
        }
        for name in ["...", "..a", ".a", "a.."] {
            let bytes = Array(name.utf8)
            let key = DirentRecord.key(1, bytes.rawSpan).array
            let fixed = target.value(key: key.rawSpan)
            let value = fixed.span.array
            #expect(damage { _ = try DirentRecord(key: key.rawSpan, value: value.rawSpan) } == nil)
        }
        let run = FreeRecord(start: FormatLimits.blocks - 1, length: 2)
        let fixedKey = FreeRecord.key(start: run.start), fixedValue = run.value
        let key = fixedKey.span.array, value = fixedValue.span.array
        #expect(
            damage { _ = try FreeRecord(key: key.rawSpan, value: value.rawSpan) } == .field("start")
        )
    }
}
