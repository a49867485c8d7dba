// The head of an index file: of which filesystem it is, and as of when.
//
//   magic u64, version u32, kind u8 (1: XFS, 2: ext4), 3 bytes of 0, identity of the filesystem 16
//   bytes, block size u32, major u32, minor u32, 4 bytes of 0, blocks u64, start of the partition
//   u64 (sectors of 512 bytes; 2^64 - 1: not known), root inode u64, epoch u64, boot 36 bytes,
//   4 bytes of 0, mount u64, as of u64, names of device and disk 32 bytes each, CRC32C u32

package import Bytes

/// What an index file says of itself.
package struct IndexHeader: Hashable, Sendable {
    package static let magic: UInt64 = 0x5449_4445_494e_4458  // TIDEINDX
    package static let version: UInt32 = 1
    static let size = 224
    package static let unknownStart = UInt64.max

    package enum Kind: UInt8, Sendable { case xfs = 1, ext4 = 2 }

    package var kind: Kind
    package var identity: [UInt8]
    /// Bytes.
    package var blockSize: UInt32
    package var major, minor: UInt32
    package var blocks: UInt64
    /// Of the partition on its disk, in sectors of 512 bytes.
    package var partitionStart: UInt64
    /// The number of the root directory's inode.
    package var root: UInt64
    /// How often a server has been started on the file.
    package var epoch: UInt64
    /// The kernel's name of the boot in which it was last written.
    package var boot: String
    /// The number of the mount.
    package var mount: UInt64
    /// As of when what is settled stands there, in nanoseconds since 1970; 0: nothing does.
    package var asOf: UInt64
    /// `sda1`, and `sda`.
    package var device, disk: String

    package init(
        kind: Kind, identity: [UInt8], blockSize: UInt32,
        major: UInt32, minor: UInt32, blocks: UInt64,
        partitionStart: UInt64, root: UInt64, epoch: UInt64, boot: String, mount: UInt64,
        asOf: UInt64, device: String, disk: String
    ) {
        self.kind = kind
        self.identity = identity
        self.blockSize = blockSize
        self.major = major
        self.minor = minor
        self.blocks = blocks
        self.partitionStart = partitionStart
        self.root = root
        self.epoch = epoch
        self.boot = boot
        self.mount = mount
        self.asOf = asOf
        self.device = device
        self.disk = disk
    }

    package var bytes: FixedBytes<224> {
        var bytes = FixedBytes<224>()
        bytes.store(IndexHeader.magic, at: 0)
        bytes.store(IndexHeader.version, at: 8)
        bytes.store(kind.rawValue, at: 12)
        bytes.store(text: identity, at: 16, room: 16)
        bytes.store(blockSize, at: 32)
        bytes.store(major, at: 36)
        bytes.store(minor, at: 40)
        bytes.store(blocks, at: 48)
        bytes.store(partitionStart, at: 56)
        bytes.store(root, at: 64)
        bytes.store(epoch, at: 72)
        bytes.store(text: Array(boot.utf8), at: 80, room: 36)
        bytes.store(mount, at: 120)
        bytes.store(asOf, at: 128)
        bytes.store(text: Array(device.utf8), at: 136, room: 32)
        bytes.store(text: Array(disk.utf8), at: 168, room: 32)
        bytes.putChecksum()
        return bytes
    }

    package enum Defect: Hashable, Sendable { case noHeader, version(UInt32), damaged }

    package init(_ bytes: RawSpan) throws(DefectError) {
        guard bytes.byteCount >= 12, bytes.integer(at: 0, as: UInt64.self) == IndexHeader.magic
        else {
            throw DefectError(.noHeader)
        }
        let version: UInt32 = bytes.integer(at: 8)
        guard version == IndexHeader.version else { throw DefectError(.version(version)) }
        guard bytes.byteCount == IndexHeader.size, bytes.unsealed() != nil,
            let kind = Kind(rawValue: bytes.integer(at: 12))
        else { throw DefectError(.damaged) }
        self.kind = kind
        identity = bytes.extracting(16..<32).array
        blockSize = bytes.integer(at: 32)
        major = bytes.integer(at: 36)
        minor = bytes.integer(at: 40)
        blocks = bytes.integer(at: 48)
        partitionStart = bytes.integer(at: 56)
        root = bytes.integer(at: 64)
        epoch = bytes.integer(at: 72)
        boot = text(bytes.extracting(80..<116))
        mount = bytes.integer(at: 120)
        asOf = bytes.integer(at: 128)
        device = text(bytes.extracting(136..<168))
        disk = text(bytes.extracting(168..<200))
        guard blockSize >= 512, blockSize <= 1 << 16, blockSize.nonzeroBitCount == 1, blocks > 0,
            blocks <= .max >> 16
        else { throw DefectError(.damaged) }
    }

    package struct DefectError: Error, Hashable, Sendable {
        package let defect: Defect
        init(_ defect: Defect) { self.defect = defect }
    }

    /// Sectors of 512 bytes in a block.
    package var blockSectors: UInt64 { UInt64(blockSize) / 512 }

    package var identityText: String {
        let digits = identity.map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0" + text : text
        }
        return [0..<4, 4..<6, 6..<8, 8..<10, 10..<16].map { digits[$0].joined() }
            .joined(separator: "-")
    }
}

extension FixedBytes {
    fileprivate mutating func store(text: [UInt8], at offset: Int, room: Int) {
        for (place, byte) in text.prefix(room).enumerated() { store(byte, at: offset + place) }
    }
}

/// Up to the first byte of 0.
private func text(_ bytes: RawSpan) -> String {
    String(decoding: bytes.array.prefix { $0 != 0 }, as: UTF8.self)
}
