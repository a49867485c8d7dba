import Bytes
import Testing

@Suite struct BytesTests {
    @Test func `the checksum of "123456789" is the published one`() {
        let bytes = Array("123456789".utf8)
        #expect(CRC32C.checksum(bytes.span.bytes) == 0xe306_9283)
        let a = Array("1234".utf8), b = Array("56789".utf8)
        #expect(CRC32C.checksum(a.span.bytes, b.span.bytes) == 0xe306_9283)
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
