// Table `super`: one record each for the geometry, the counters, and every generation of
// every secondary index. Keys are ASCII.

public import Bytes

/// Key `geometry`. Value: magic u64 (`TIDEMARK` in ASCII), format version u32, block size
/// u32 in bytes, blocks u64, reserved blocks at the start u32, reserved at the end u32,
/// identity 16 bytes, checksum u32. Written once, when the volume is made.
public struct Geometry: Hashable, Sendable {
    public static let key = Array("geometry".utf8)
    public static let magic: UInt64 = 0x5449_4445_4d41_524b
    /// The one version that this code writes and reads. Version 1 kept no quota usage.
    public static let currentVersion: UInt32 = 2
    public static let valueSize = 52

    public var version = Geometry.currentVersion
    public var blockSize: UInt32
    public var blocks: UInt64
    public var reservedAtStart: UInt32
    public var reservedAtEnd: UInt32
    /// Random; shown to users as a UUID, and recorded in side files, which belong to one volume.
    public var identity: (UInt64, UInt64)

    public init(
        blockSize: UInt32, blocks: UInt64, reservedAtStart: UInt32, reservedAtEnd: UInt32,
        identity: (UInt64, UInt64)
    ) {
        self.blockSize = blockSize
        self.blocks = blocks
        self.reservedAtStart = reservedAtStart
        self.reservedAtEnd = reservedAtEnd
        self.identity = identity
    }

    public var value: FixedBytes<52> {
        var value = FixedBytes<52>()
        value.store(Geometry.magic, at: 0)
        value.store(version, at: 8)
        value.store(blockSize, at: 12)
        value.store(blocks, at: 16)
        value.store(reservedAtStart, at: 24)
        value.store(reservedAtEnd, at: 28)
        value.store(identity.0, at: 32)
        value.store(identity.1, at: 40)
        value.seal(key: Geometry.key.span.bytes)
        return value
    }

    /// A newer version is decoded as far as magic and version, for the error that names it:
    /// check `version` before anything else.
    public init(value: RawSpan) throws(RecordDamage) {
        guard value.byteCount >= 12 else { throw .length }
        guard value.integer(at: 0, as: UInt64.self) == Geometry.magic else { throw .field("magic") }
        self.init(
            blockSize: 0, blocks: 0, reservedAtStart: 0, reservedAtEnd: 0, identity: (0, 0))
        version = value.integer(at: 8)
        guard version <= Geometry.currentVersion else { return }
        try value.require(Geometry.valueSize)
        let body = try value.verified(key: Geometry.key.span.bytes)
        blockSize = body.integer(at: 12)
        blocks = body.integer(at: 16)
        reservedAtStart = body.integer(at: 24)
        reservedAtEnd = body.integer(at: 28)
        identity = (body.integer(at: 32), body.integer(at: 40))
        guard blockSize.nonzeroBitCount == 1, (512...65536).contains(blockSize)
        else { throw .field("block size") }
        guard blocks <= FormatLimits.bytes / UInt64(blockSize),
            blocks > UInt64(reservedAtStart) + UInt64(reservedAtEnd)
        else { throw .field("blocks") }
        guard reservedAtStart > 0 else { throw .field("reserved at start") }
    }

    public static func == (a: Geometry, b: Geometry) -> Bool {
        a.value.span.array == b.value.span.array
    }

    public func hash(into hasher: inout Hasher) {
        hasher.combine(identity.0)
        hasher.combine(identity.1)
    }

    /// The volume's own areas, as extents of the inode `.volume`.
    public var reservedExtents: [ExtentRecord] {
        [(0 as UInt64, reservedAtStart), (blocks - UInt64(reservedAtEnd), reservedAtEnd)]
            .filter { $0.1 > 0 }
            .map {
                ExtentRecord(
                    inode: .volume, fork: .data, offset: $0.0, start: $0.0, length: $0.1,
                    state: .written)
            }
    }
}

/// Key `counters`. Value: next inode number u64, next generation u32, inodes u64,
/// free blocks u64, checksum u32. Written with every commit that changes it.
public struct Counters: Hashable, Sendable {
    public static let key = Array("counters".utf8)
    public static let valueSize = 32

    /// The lowest inode number never used.
    public var nextInode: InodeNumber
    /// Given to the next inode that is made.
    public var nextGeneration: UInt32
    public var inodes: UInt64
    public var freeBlocks: UInt64

    public init(nextInode: InodeNumber, nextGeneration: UInt32, inodes: UInt64, freeBlocks: UInt64)
    {
        self.nextInode = nextInode
        self.nextGeneration = nextGeneration
        self.inodes = inodes
        self.freeBlocks = freeBlocks
    }

    public var value: FixedBytes<32> {
        var value = FixedBytes<32>()
        value.store(nextInode, at: 0)
        value.store(nextGeneration, at: 8)
        value.store(inodes, at: 12)
        value.store(freeBlocks, at: 20)
        value.seal(key: Counters.key.span.bytes)
        return value
    }

    public init(value: RawSpan) throws(RecordDamage) {
        try value.require(Counters.valueSize)
        let body = try value.verified(key: Counters.key.span.bytes)
        self.init(
            nextInode: body.integer(at: 0), nextGeneration: body.integer(at: 8),
            inodes: body.integer(at: 12), freeBlocks: body.integer(at: 20))
        guard nextInode > .root, nextInode <= FormatLimits.inode else { throw .field("next inode") }
        guard inodes <= FormatLimits.inode else { throw .field("inodes") }
        guard freeBlocks <= FormatLimits.blocks else { throw .field("free blocks") }
    }
}

/// What a generation is for.
public enum GenerationState: UInt8, Sendable {
    /// The one that the volume serves. Exactly one per index.
    case active = 1
    /// Being loaded by a run; not served. Left over by a crash it is reaped.
    case loading = 2
    /// No longer served, or never was; being deleted in steps.
    case reaping = 3
    /// Was active before a rebuild, and is maintained for a rollback. At most one per
    /// index.
    case previous = 4
}

/// Key `generation/` followed by the index name, `/` and the number in decimal. Value:
/// state u8, entries u64, sum u64, checksum u32. `entries` and `sum` are kept by every
/// transaction that changes the generation through the volume; `sum` is the sum modulo
/// 2^64 of `mix(CRC32C(key, value before the checksum))` over the entries, which does not
/// depend on their order. In state `loading` the load cursor is between sum and
/// checksum: flags u8 (1: beyond every key, 2: invalid), and the key.
public struct GenerationRecord: Hashable, Sendable {
    public static let valueSize = 21

    /// How far a generation has been loaded.
    public struct LoadCursor: Hashable, Sendable {
        /// The owner maintains entries below this key.
        public var key: [UInt8]
        /// Whether all are.
        public var isWhole: Bool
        /// Whether the generation can't become active any more.
        public var isInvalid: Bool

        public init(key: [UInt8], isWhole: Bool, isInvalid: Bool) {
            self.key = key
            self.isWhole = isWhole
            self.isInvalid = isInvalid
        }
    }

    public var index: String
    public var number: UInt32
    public var state: GenerationState
    public var entries: UInt64
    public var sum: UInt64
    /// Of a generation that is being loaded.
    public var load: LoadCursor?

    public init(
        index: String, number: UInt32, state: GenerationState, entries: UInt64, sum: UInt64,
        load: LoadCursor? = nil
    ) {
        self.load = load
        self.index = index
        self.number = number
        self.state = state
        self.entries = entries
        self.sum = sum
    }

    public static let keyPrefix = Array("generation/".utf8)

    public var key: [UInt8] {
        var key = GenerationRecord.keyPrefix
        key += index.utf8
        key.append(UInt8(ascii: "/"))
        key += String(number).utf8
        return key
    }

    public var value: [UInt8] { value(for: key) }

    /// - Parameter key: the record's own.
    public func value(for key: [UInt8]) -> [UInt8] {
        var fixed = FixedBytes<17>()
        fixed.store(state.rawValue, at: 0)
        fixed.store(entries, at: 1)
        fixed.store(sum, at: 9)
        var body = fixed.span.array
        if state == .loading, let load {
            body.append((load.isWhole ? 1 : 0) | (load.isInvalid ? 2 : 0))
            body += load.key
        }
        return sealedValue(key: key.span.bytes, body: body)
    }

    public init(key: RawSpan, value: RawSpan) throws(RecordDamage) {
        let parts = String(decoding: key.array, as: UTF8.self).split(separator: "/")
        guard parts.count == 3, let number = UInt32(parts[2]), number < .max else {
            throw .field("key")
        }
        guard value.byteCount >= GenerationRecord.valueSize else { throw .length }
        let body = try value.verified(key: key)
        guard let state = GenerationState(rawValue: body.integer(at: 0)) else {
            throw .field("state")
        }
        self.init(
            index: String(parts[1]), number: number, state: state, entries: body.integer(at: 1),
            sum: body.integer(at: 9))
        // Only one way to write a number, and one prefix.
        guard self.key == key.array else { throw .field("key") }
        guard body.byteCount > 17 else { return }
        guard state == .loading, body.byteCount <= 18 + KeyBytes.capacity else { throw .length }
        let flags: UInt8 = body.integer(at: 17)
        guard flags <= 3 else { throw .field("load cursor") }
        load = LoadCursor(
            key: body.extracting(droppingFirst: 18).array, isWhole: flags & 1 != 0,
            isInvalid: flags & 2 != 0)
    }

    /// What one entry adds to `sum`: the finalizer of SplitMix64 over its checksum.
    public static func mix(_ checksum: UInt32) -> UInt64 {
        var x = UInt64(checksum) &+ 0x9e37_79b9_7f4a_7c15
        x = (x ^ (x >> 30)) &* 0xbf58_476d_1ce4_e5b9
        x = (x ^ (x >> 27)) &* 0x94d0_49bb_1331_11eb
        return x ^ (x >> 31)
    }
}
