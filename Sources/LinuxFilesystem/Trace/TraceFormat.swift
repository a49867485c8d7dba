// The `format` files of tracefs: where the fields of an event lie. Offsets differ between kernels
// and are never assumed.

#if canImport(Glibc)
internal import Glibc
#endif

/// A format file that does not say what is needed.
public struct TraceFormatError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The file: `xfs_rmap_map_done/format`.
    public let file: String
    public let reason: String

    public var description: String {
        "\(file): \(reason); this kernel's trace events have another layout than is known here"
    }
}

/// A field of a record. Offset and size are in bytes from the start of the record.
struct TraceField: Hashable, Sendable {
    let offset: Int
    let size: Int

    /// The value, extended with zeroes. The caller has checked that the record is long enough.
    @inline(__always)
    func value(_ record: RawSpan) -> UInt64 {
        switch size {
        case 1: UInt64(record.native(at: offset, as: UInt8.self))
        case 2: UInt64(record.native(at: offset, as: UInt16.self))
        case 4: UInt64(record.native(at: offset, as: UInt32.self))
        default: record.native(at: offset, as: UInt64.self)
        }
    }
}

/// A format file, as far as it is a list of fields.
struct TraceFormat: Sendable {
    let file: String
    let id: UInt16?
    private let fields: [String: TraceField]

    /// Parses the text of `file`. Lines look like
    /// `field:xfs_agnumber_t agno;	offset:16;	size:4;	signed:0;`.
    init(_ text: String, file: String) {
        self.file = file
        var id: UInt16?
        var fields: [String: TraceField] = [:]
        for line in text.split(separator: "\n") {
            if line.hasPrefix("ID: ") { id = UInt16(line.dropFirst(4)) }
            guard let field = TraceFormat.field(line) else { continue }
            fields[field.name] = field.place
        }
        self.id = id
        self.fields = fields
    }

    private static func field(_ line: Substring) -> (name: String, place: TraceField)? {
        var name: String?
        var offset: Int?
        var size: Int?
        for part in line.split(separator: ";") {
            let words = part.trimmed.split(separator: ":", maxSplits: 1)
            guard words.count == 2 else { continue }
            switch words[0] {
            case "field":
                guard let last = words[1].split(separator: " ").last else { return nil }
                name = String(last.prefix { $0 != "[" })
            case "offset": offset = Int(words[1])
            case "size": size = Int(words[1])
            default: break
            }
        }
        guard let name, let offset, let size, offset >= 0, offset < 1 << 16, size >= 0 else {
            return nil
        }
        return (name, TraceField(offset: offset, size: size))
    }

    /// An integer; under the first of `names` that is there.
    func integer(_ names: String...) throws(TraceFormatError) -> TraceField {
        for name in names {
            guard let field = fields[name] else { continue }
            guard [1, 2, 4, 8].contains(field.size) else {
                throw TraceFormatError(file: file, reason: "\(name) has \(field.size) bytes")
            }
            return field
        }
        throw TraceFormatError(file: file, reason: "there is no field \(names[0])")
    }

    /// Where something of any size begins.
    func start(of name: String) throws(TraceFormatError) -> Int {
        guard let field = fields[name] else {
            throw TraceFormatError(file: file, reason: "there is no field \(name)")
        }
        return field.offset
    }

    func number() throws(TraceFormatError) -> UInt16 {
        guard let id else { throw TraceFormatError(file: file, reason: "there is no ID") }
        return id
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        drop { $0 == " " || $0 == "\t" }
    }
}
