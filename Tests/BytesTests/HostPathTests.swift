// Paths are bytes: each comes back from its String, and no two have the same.

import Bytes
import Testing

@Suite struct HostPathTests {
    @Test(arguments: 0..<200 as Range<UInt64>)
    func `every path comes back from its text`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        let pieces: [[UInt8]] = [
            [0xe9], [0x80], [0xff, 0xfe], Array("é".utf8), Array("a/b".utf8), Array("\\x41".utf8),
            // U+F780 itself, U+FFFD, a surrogate, an overlong slash, the half of a character.
            [0xef, 0x9e, 0x80], [0xef, 0xbf, 0xbd], [0xed, 0xa0, 0x80], [0xc0, 0xaf], [0xf0, 0x9f],
        ]
        let path = (0..<Int.random(in: 0...8, using: &random)).flatMap { _ in
            pieces.randomElement(using: &random) ?? []
        }
        let text = String(hostPath: path)
        #expect(text.hostPathBytes == path, "SEED=\(seed)")
        #expect(text.hostPath.map { UInt8(bitPattern: $0) } == path + [0])
        #expect(!text.shownPath.unicodeScalars.contains { $0.standsForByte })
    }

    @Test func `a byte that is no character is shown as its number, and understood so`() {
        let path = Array("caf".utf8) + [0xe9]
        #expect(String(hostPath: path).shownPath == "caf\\xe9")
        #expect("caf\\xe9".unescapedBytes == path)
        #expect("a\\x5cb".unescapedBytes == Array("a\\b".utf8))
        // What is no escape stands for itself, and a path has no NUL.
        for text in ["a\\b", "\\x4", "\\xzz", "\\", "\\x00"] {
            #expect(text.unescapedBytes == Array(text.utf8))
        }
        #expect("plain/ünïcode".shownPath == "plain/ünïcode")
    }
}
