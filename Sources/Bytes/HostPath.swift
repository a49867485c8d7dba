// Paths of the host are bytes, and most of them are UTF-8. A path that is none is kept in a String
// all the same: a byte 0xHH that is no part of a character stands there as the private scalar
// U+F7HH. Whoever hands a path to the system gives it the bytes again (`hostPath`), and whoever
// shows one shows such a byte as `\xHH` (`shownPath`), as names of files are shown.
//
// A path that has one of these scalars itself, which nobody assigns a meaning to, goes through the
// same door byte by byte, so that each path of the system has one String and comes back from it.

/// Scalars of single bytes: U+F780 to U+F7FF.
private let firstOfBytes: UInt32 = 0xf700
private let scalarsOfBytes: ClosedRange<UInt32> = 0xf780...0xf7ff

extension Unicode.Scalar {
    /// Whether it stands for a byte that is no part of a character.
    public var standsForByte: Bool { scalarsOfBytes.contains(value) }
}

extension String {
    /// The path that these bytes are.
    public init(hostPath bytes: some Collection<UInt8>) {
        self.init()
        var rest = Array(bytes)[...]
        while !rest.isEmpty {
            var decoder = UTF8(), ahead = rest.makeIterator()
            if case .scalarValue(let scalar) = decoder.decode(&ahead),
                !scalar.standsForByte
            {
                unicodeScalars.append(scalar)
                rest = rest.dropFirst(UTF8.width(scalar))
                continue
            }
            let byte = UInt32(rest.removeFirst())
            unicodeScalars.append(Unicode.Scalar(firstOfBytes + byte) ?? "?")
        }
    }

    /// The path that a call of the system gave, up to its NUL.
    @unsafe
    public init(hostPath text: UnsafePointer<CChar>) {
        let bytes = unsafe UnsafeBufferPointer(start: text, count: String.length(of: text))
        self.init(hostPath: unsafe bytes.map { UInt8(bitPattern: $0) })
    }

    private static func length(of text: UnsafePointer<CChar>) -> Int {
        var count = 0
        while unsafe text[count] != 0 { count += 1 }
        return count
    }

    /// The bytes of the path, with a NUL at their end, as the system takes them.
    public var hostPath: [CChar] {
        hostPathBytes.map { CChar(bitPattern: $0) } + [0]
    }

    /// The bytes of the path.
    public var hostPathBytes: [UInt8] {
        var bytes: [UInt8] = []
        for scalar in unicodeScalars {
            if scalar.standsForByte {
                bytes.append(UInt8(scalar.value - firstOfBytes))
            } else {
                bytes.append(contentsOf: UTF8.encode(scalar) ?? .init())
            }
        }
        return bytes
    }

    /// The text for people, and for JSON: bytes that are no UTF-8 as `\xHH`.
    public var shownPath: String {
        // All of them begin with this byte in UTF-8.
        guard utf8.contains(0xef), unicodeScalars.contains(where: \.standsForByte) else {
            return self
        }
        var text = ""
        for scalar in unicodeScalars {
            if scalar.standsForByte {
                text += "\\x" + String(scalar.value - firstOfBytes, radix: 16)
            } else {
                text.unicodeScalars.append(scalar)
            }
        }
        return text
    }

    /// The bytes that the text stands for in the form in which names of files are shown: `\xHH` is
    /// a byte, anything else is itself.
    public var unescapedBytes: [UInt8] {
        let bytes = hostPathBytes
        var result: [UInt8] = []
        var place = 0
        while place < bytes.count {
            if bytes[place] == UInt8(ascii: "\\"), place + 3 < bytes.count,
                bytes[place + 1] == UInt8(ascii: "x"),
                let byte = UInt8(
                    String(decoding: bytes[(place + 2)...(place + 3)], as: UTF8.self), radix: 16),
                byte != 0
            {
                result.append(byte)
                place += 4
            } else {
                result.append(bytes[place])
                place += 1
            }
        }
        return result
    }
}
