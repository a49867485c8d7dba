// What the two stages of a tree have in common, so that a scenario is the same race on both:
// how the store is laid out, and the digest of its contents.

internal import Tidemark
internal import VolumeFormat

enum TreeLayout {
    static let blockSize: UInt32 = 4096
    /// Blocks of the store's own: the least that a volume can do with. They are one extent, of
    /// inode 0, the first record of a scan.
    static let reservedAtStart: UInt32 = 1
    static let reservedAtEnd: UInt32 = 0
    static let reservedExtents = 1
    /// What every symlink leads to.
    static let symlinkTarget = "target"

    // What a stray entry says: it must be one that no record derives.

    /// The inode to which a stray parent pointer of `DIRECTORY:NAME` belongs.
    static let strayChild: InodeNumber = 9999
    static let strayGeneration: UInt32 = 1

    /// The extent that a stray mapping of `PATH@BLOCK` would be derived from.
    static func strayExtent(_ inode: InodeNumber, _ block: UInt64) -> ExtentRecord {
        ExtentRecord(
            inode: inode, fork: .data, offset: block, start: block + 500, length: 1,
            state: .written)
    }

    /// The value of a wrong mapping: the other state.
    static func wrong(_ extent: ExtentRecord) -> ExtentRecord {
        var other = extent
        other.state = extent.state == .written ? .unwritten : .written
        return other
    }

    /// The value of a wrong parent pointer: another generation.
    static func wrong(generation: UInt32) -> UInt32 { generation &+ 1000 }
}

/// The contents of a tree as its users see them: not where blocks lie, nor when something was
/// changed.
struct TreeContents {
    /// One name, or the root.
    struct Item {
        /// Bytes of the path from the root on: `/`, `/a`, `/a/b`.
        var path: [UInt8]
        var type: FileType
        var links: UInt32
        /// In the order of their offsets.
        var extents: [ExtentRecord]

        /// The type.
        var word: String {
            switch type {
            case .regular: "file"
            case .directory: "directory"
            case .symlink: "symlink"
            case .fifo: "fifo"
            case .characterDevice: "character-device"
            case .blockDevice: "block-device"
            case .socket: "socket"
            }
        }
    }

    var items: [Item] = []

    /// The canonical text, a line for each path in the order of the bytes: path, type, links
    /// and `offset+length:state` of the extents, separated by tabs. Extents that lie side by
    /// side in the file, in one state, are one.
    var text: [UInt8] {
        var text: [UInt8] = []
        for item in items.sorted(by: { $0.path.lexicographicallyPrecedes($1.path) }) {
            text += item.path
            text += "\t\(item.word)\t\(item.links)\t\(map(item.extents))\n".utf8
        }
        return text
    }

    /// FNV-1a of the text, 128 bits in hexadecimal.
    var digest: String { TreeContents.digest(of: text) }

    static func digest(of text: [UInt8]) -> String {
        var hash: UInt128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d
        for byte in text {
            hash ^= UInt128(byte)
            hash &*= 0x0000_0000_0100_0000_0000_0000_0000_013b
        }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 32 - digits.count) + digits
    }

    private func map(_ extents: [ExtentRecord]) -> String {
        var parts: [(offset: UInt64, end: UInt64, state: ExtentState)] = []
        for extent in extents {
            if let last = parts.last, last.end == extent.offset, last.state == extent.state {
                parts[parts.count - 1].end = extent.offsetEnd
            } else {
                parts.append((extent.offset, extent.offsetEnd, extent.state))
            }
        }
        return parts.map {
            "\($0.offset)+\($0.end - $0.offset):"
                + ($0.state == .written ? "written" : "unwritten")
        }.joined(separator: ",")
    }
}
