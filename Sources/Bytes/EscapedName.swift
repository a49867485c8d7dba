// Names are bytes; people and JSON want text.

/// The name as text: UTF-8 where it is, with control characters, backslashes, bytes that are no
/// UTF-8, and characters that stand for such bytes in a path (`String.hostPath`) written as `\xHH`,
/// so that different names never look the same.
public func escapedName(_ name: RawSpan) -> String {
    escapedName(name.array)
}

public func escapedName(_ name: [UInt8]) -> String {
    var result = ""
    var decoder = UTF8()
    var index = 0
    while index < name.count {
        var ahead = name[index...].makeIterator()
        let start = index
        switch decoder.decode(&ahead) {
        case .scalarValue(let scalar)
        where scalar.value >= 0x20 && scalar.value != 0x7f && scalar != "\\"
            && !scalar.standsForByte:
            result.unicodeScalars.append(scalar)
            index += UTF8.width(scalar)
        default:
            let digits = String(name[start], radix: 16)
            result += digits.count < 2 ? "\\x0\(digits)" : "\\x\(digits)"
            index += 1
        }
        decoder = UTF8()
    }
    return result
}
