// The entries of a directory: in its blocks, or within the inode where they are few.

internal import Bytes

extension Ext4Volume {
    /// Tells inode and name of every entry of `directory`, `.` and `..` among them.
    /// - Throws: `Ext4Damage` where its blocks can't be those of a directory.
    public func forEachName(
        in directory: Ext4Inode, _ body: (UInt32, RawSpan) throws -> Void
    ) throws {
        if directory.isInline { return try inlineNames(directory, body) }
        let size = UInt64(superblock.blockSize)
        let end = directory.size / size + (directory.size % size == 0 ? 0 : 1)
        var runs: [Ext4PackedClaim] = []
        try forEachClaim(of: directory) { claim in
            if claim.kind == .data, claim.logical < end { runs.append(Ext4PackedClaim(claim)) }
        }
        let buffer = blocks[6]
        for run in runs.lazy.map(\.claim) {
            for place in 0..<min(run.count, end - run.logical) {
                try read(buffer, block: run.block + place)
                try entries(buffer.bytes(superblock.blockSize), body)
            }
        }
    }

    private func entries(_ block: RawSpan, _ body: (UInt32, RawSpan) throws -> Void) throws {
        var place = 0
        while place + 8 <= block.byteCount {
            let inode: UInt32 = block.little(at: place)
            var length = Int(block.little(at: place + 4, as: UInt16.self))
            // Blocks of 64 KiB: the length does not fit.
            if block.byteCount == 65536, length == 65535 || length == 0 { length = 65536 }
            // Names have at most 255 bytes. Without `filetype` the next byte is the upper half of
            // the length: zero, and 0xde in the entry that holds the checksum of the block.
            let size = Int(block.little(at: place + 6, as: UInt8.self))
            guard length >= 8, length % 4 == 0, place + length <= block.byteCount,
                size + 8 <= length
            else { throw Ext4Damage("a block of the directory has an impossible entry") }
            if inode != 0, size > 0 {
                try body(inode, block.extracting(place + 8..<place + 8 + size))
            }
            place += length
        }
    }

    private func inlineNames(
        _ directory: Ext4Inode, _ body: (UInt32, RawSpan) throws -> Void
    ) throws {
        let raw = directory.raw.rawSpan
        let dots: [UInt8] = [UInt8(ascii: "."), UInt8(ascii: ".")]
        try body(directory.number, dots.rawSpan.extracting(first: 1))
        try body(raw.little(at: 0x28), dots.rawSpan)
        try entries(raw.extracting(0x28 + 4..<0x28 + 60), body)
        // The rest is the attribute `system.data` behind the inode.
        let start = 128 + directory.extraSize
        guard start + 4 <= raw.byteCount, raw.little(at: start, as: UInt32.self) == 0xea02_0000
        else { return }
        let base = start + 4
        var place = base
        while place + 16 <= raw.byteCount, raw.little(at: place, as: UInt32.self) != 0 {
            let nameLength = Int(raw.little(at: place, as: UInt8.self))
            let index: UInt8 = raw.little(at: place + 1)
            let offset = Int(raw.little(at: place + 2, as: UInt16.self))
            let size = Int(raw.little(at: place + 8, as: UInt32.self))
            guard place + 16 + nameLength <= raw.byteCount else { break }
            let name = raw.extracting(place + 16..<place + 16 + nameLength).array
            if index == 7, name == Array("data".utf8) {
                guard base + offset + size <= raw.byteCount else {
                    throw Ext4Damage("its inline entries reach beyond the inode")
                }
                if size > 0 {
                    try entries(raw.extracting(base + offset..<base + offset + size), body)
                }
                return
            }
            place += (16 + nameLength + 3) & ~3
        }
    }
}
