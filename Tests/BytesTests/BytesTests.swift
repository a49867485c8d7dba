import Bytes
import Testing

@Suite struct BytesTests {
    @Test func `the checksum of "123456789" is the published one`() {
        let bytes = Array("123456789".utf8)
        #expect(CRC32C.checksum(bytes.span.bytes) == 0xe306_9283)
        let a = Array("1234".utf8), b = Array("56789".utf8)
        #expect(CRC32C.checksum(a.span.bytes, b.span.bytes) == 0xe306_9283)
    }

    @Test(arguments: [0, 1, 3, 4, 7, 8, 9, 15, 31, 100, 159, 160, 161, 163, 255, 1000])
    func `short and long byte strings have the checksum that its polynomial says`(count: Int) {
        var random = SplitMix64(seed: UInt64(count))
        let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        // Bit by bit, as RFC 3720 defines it.
        var state = UInt32.max
        for byte in bytes {
            state ^= UInt32(byte)
            for _ in 0..<8 { state = state >> 1 ^ (state & 1 == 1 ? 0x82f6_3b78 : 0) }
        }
        #expect(CRC32C.checksum(bytes.span.bytes) == ~state)
        for cut in [0, count / 3, count] {
            let a = Array(bytes[..<cut]), b = Array(bytes[cut...])
            #expect(CRC32C.checksum(a.span.bytes, b.span.bytes) == ~state)
        }
    }

    @Test func `the order of stored integers is the order of their bytes`() {
        var small = FixedBytes<8>(), large = FixedBytes<8>()
        small.store(UInt64(255), at: 0)
        large.store(UInt64(256), at: 0)
        #expect(compareBytes(small.span, large.span) < 0)
        #expect(large.span.integer(at: 0, as: UInt64.self) == 256)
    }

    @Test func `a key grows by integers and names and keeps their order`() {
        var a = KeyBytes(), b = KeyBytes()
        a.append(UInt64(7)); a.append(Array("a".utf8).span.bytes)
        b.append(UInt64(7)); b.append(Array("ab".utf8).span.bytes)
        #expect(a < b)
        #expect(a.array.count == 9)
    }
}
