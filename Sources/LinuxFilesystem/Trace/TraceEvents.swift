// What trace events say, decoded. Field names are the kernel's; Docs/linux.md says what each
// event means for an index.

/// A reverse mapping that XFS adds, removes or converts (`xfs_rmap_{map,unmap,convert}_done`).
public struct MappingChange: Hashable, Sendable {
    public enum Kind: Sendable { case map, unmap, convert }

    public let kind: Kind
    /// Allocation group, block in it, and blocks.
    public let group: UInt32
    public let block: UInt32
    public let length: UInt32
    /// An inode number; as a signed number below zero: metadata.
    public let owner: UInt64
    /// Position in the fork, in blocks.
    public let offset: UInt64
    /// 1: attribute fork; 2: extent map block; 4: unwritten. Of a conversion: as it was *before*.
    public let flags: UInt64

    public init(
        kind: Kind, group: UInt32, block: UInt32, length: UInt32, owner: UInt64, offset: UInt64,
        flags: UInt64
    ) {
        self.kind = kind
        self.group = group
        self.block = block
        self.length = length
        self.owner = owner
        self.offset = offset
        self.flags = flags
    }

    public var isMetadata: Bool { Int64(bitPattern: owner) < 0 }
    public var isAttributeFork: Bool { flags & 1 != 0 }
    public var isExtentMap: Bool { flags & 2 != 0 }
    public var isUnwritten: Bool { flags & 4 != 0 }
}

/// An entry of a directory that XFS adds, removes or points elsewhere
/// (`xfs_dir2_*_{addname,removename,replace}`).
public struct NameChange: ~Escapable {
    public enum Kind: Sendable { case add, remove, replace }

    public let kind: Kind
    public let directory: UInt64
    /// The inode that the name leads to: after the change, and of a removal before it.
    public let inode: UInt64
    public let name: RawSpan

    @_lifetime(copy name)
    init(kind: Kind, directory: UInt64, inode: UInt64, name: RawSpan) {
        self.kind = kind
        self.directory = directory
        self.inode = inode
        self.name = name
    }
}

/// Blocks that ext4 allocates to an inode or frees (`ext4_{allocate,free}_blocks`).
public struct BlockChange: Hashable, Sendable {
    public enum Kind: Sendable { case allocate, free }

    public let kind: Kind
    public let inode: UInt64
    public let block: UInt64
    public let count: UInt64
    /// Position in the file, in blocks; 0 where blocks are freed.
    public let logical: UInt64
}

/// Receives the events of a buffer in their order. `stamp` is CLOCK_MONOTONIC in nanoseconds.
public protocol TraceReceiver: ~Copyable {
    mutating func mapping(_ change: MappingChange, stamp: UInt64)
    mutating func name(_ change: borrowing NameChange, stamp: UInt64)
    mutating func blocks(_ change: BlockChange, stamp: UInt64)
    /// Something of an inode has changed, or is about to; the event does not say what.
    mutating func changed(inode: UInt64, stamp: UInt64)
    /// What was written to `trace_marker`.
    mutating func marker(_ text: RawSpan, stamp: UInt64)
}

extension TraceReceiver where Self: ~Copyable {
    public mutating func changed(inode: UInt64, stamp: UInt64) {}
}

/// The events that a decoder knows.
public enum TraceEventSet: Sendable {
    /// What changes in reverse map and directories of an XFS, entry by entry.
    case xfs
    /// Which inodes of an XFS change in their extents or names: also where there is no reverse map.
    case xfsInodes
    /// Which blocks of an ext4 are given out and given back.
    case ext4
    /// Which inodes of an ext4 change, whatever of them.
    case ext4Inodes

    /// System and name, as under `events/`.
    public var names: [(system: String, name: String)] {
        switch self {
        case .xfs:
            ["map", "unmap", "convert"].map { ("xfs", "xfs_rmap_\($0)_done") }
                + TraceEventSet.namesOfXFS
        case .xfsInodes:
            ["xfs_iext_insert", "xfs_iext_remove", "xfs_bmap_post_update", "xfs_swap_extent_after"]
                .map { ("xfs", $0) } + TraceEventSet.namesOfXFS
        case .ext4: [("ext4", "ext4_allocate_blocks"), ("ext4", "ext4_free_blocks")]
        case .ext4Inodes:
            [
                "ext4_mark_inode_dirty", "ext4_allocate_inode", "ext4_free_inode",
                "ext4_allocate_blocks", "ext4_free_blocks", "ext4_ext_map_blocks_exit",
                "ext4_es_remove_extent",
            ].map { ("ext4", $0) }
        }
    }

    private static let namesOfXFS = ["sf", "block", "leaf", "node"].flatMap { form in
        ["addname", "removename", "replace"].map { ("xfs", "xfs_dir2_\(form)_\($0)") }
    }

    /// What the kernel is to report of an event beside that it is of the device
    /// (Documentation/trace/events.rst, "Event filtering"); nil: all.
    static func filter(_ name: String) -> String? {
        switch name {
        // EXT4_GET_BLOCKS_CREATE: others look an extent up.
        case "ext4_ext_map_blocks_exit": "flags & 1"
        // Whole files that leave the cache.
        case "ext4_es_remove_extent": "len != 4294967295"
        default: nil
        }
    }
}

/// How the record of one event is read.
struct TraceEventReader: Sendable {
    enum Kind: Sendable {
        case mapping(MappingChange.Kind, MappingFields)
        case name(NameChange.Kind, NameFields)
        case blocks(BlockChange.Kind, BlockFields)
        case inode(TraceField)
        case marker(Int)
    }

    struct MappingFields: Sendable {
        let group, block, length, owner, offset, flags: TraceField
        /// Which kind of group; nil on kernels that know one.
        let type: TraceField?
    }

    struct NameFields: Sendable { let directory, inode, name, length, options: TraceField }

    struct BlockFields: Sendable {
        let inode, block, count: TraceField
        let logical: TraceField?
    }

    let id: UInt16
    let kind: Kind
    /// A record with fewer bytes is malformed.
    let size: Int

    init(_ name: String, _ format: TraceFormat) throws(TraceFormatError) {
        id = try format.number()
        var end = 0
        func place(_ names: String...) throws(TraceFormatError) -> TraceField {
            var found: TraceField?
            for name in names {
                found = try? format.integer(name)
                if found != nil { break }
            }
            let field = if let found { found } else { try format.integer(names[0]) }
            end = max(end, field.offset + field.size)
            return field
        }
        if name == "print" {
            kind = .marker(try format.start(of: "buf"))
            size = try format.start(of: "buf")
            return
        }
        if name == "ext4_allocate_blocks" || name == "ext4_free_blocks" {
            let isFree = name == "ext4_free_blocks"
            kind = .blocks(
                isFree ? .free : .allocate,
                BlockFields(
                    inode: try place("ino"), block: try place("block"),
                    count: try place(isFree ? "count" : "len"),
                    logical: isFree ? nil : try place("logical")))
        } else if name.hasPrefix("xfs_rmap_") {
            let kind: MappingChange.Kind =
                name.contains("_unmap_") ? .unmap : name.contains("_map_") ? .map : .convert
            self.kind = .mapping(
                kind,
                MappingFields(
                    group: try place("agno"), block: try place("gbno", "agbno"),
                    length: try place("len"), owner: try place("owner"),
                    offset: try place("offset"), flags: try place("flags"),
                    type: try? format.integer("type")))
        } else if !name.hasPrefix("xfs_dir2_") {
            self.kind = .inode(try place("ino"))
        } else {
            let kind: NameChange.Kind =
                name.hasSuffix("addname") ? .add : name.hasSuffix("removename") ? .remove : .replace
            self.kind = .name(
                kind,
                NameFields(
                    directory: try place("ino"), inode: try place("inumber"),
                    name: try place("name"), length: try place("namelen"),
                    options: try place("op_flags")))
        }
        size = end
    }
}

extension TraceEventReader {
    /// Hands what `record` says to `receiver`.
    /// - Returns: false where the record is malformed.
    @inline(__always)
    func deliver<R: TraceReceiver & ~Copyable>(
        _ record: RawSpan, stamp: UInt64, to receiver: inout R
    ) -> Bool {
        guard record.byteCount >= size else { return false }
        switch kind {
        case .mapping(let kind, let fields):
            // Groups of the realtime device have numbers of their own.
            if let type = fields.type, type.value(record) != 0 { return true }
            receiver.mapping(
                MappingChange(
                    kind: kind, group: UInt32(truncatingIfNeeded: fields.group.value(record)),
                    block: UInt32(truncatingIfNeeded: fields.block.value(record)),
                    length: UInt32(truncatingIfNeeded: fields.length.value(record)),
                    owner: fields.owner.value(record), offset: fields.offset.value(record),
                    flags: fields.flags.value(record)),
                stamp: stamp)
        case .name(let kind, let fields):
            // XFS_DA_OP_JUSTCHECK: only whether it would fit.
            if fields.options.value(record) & 1 != 0 { return true }
            // `__data_loc`: offset in the record u16, length u16.
            let place = UInt32(truncatingIfNeeded: fields.name.value(record))
            let start = Int(place & 0xffff)
            let length = Int(truncatingIfNeeded: fields.length.value(record) & 0xffff_ffff)
            guard length > 0, length <= 255, length <= Int(place >> 16),
                start + length <= record.byteCount
            else { return false }
            receiver.name(
                NameChange(
                    kind: kind, directory: fields.directory.value(record),
                    inode: fields.inode.value(record),
                    name: record.extracting(start..<start + length)),
                stamp: stamp)
        case .blocks(let kind, let fields):
            receiver.blocks(
                BlockChange(
                    kind: kind, inode: fields.inode.value(record),
                    block: fields.block.value(record), count: fields.count.value(record),
                    logical: fields.logical?.value(record) ?? 0),
                stamp: stamp)
        case .inode(let inode): receiver.changed(inode: inode.value(record), stamp: stamp)
        case .marker(let start):
            receiver.marker(record.extracting(start..<record.byteCount), stamp: stamp)
        }
        return true
    }
}
