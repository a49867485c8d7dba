// Extents: of whom the blocks are, and whether they can be at all.
//
// Blocks with two owners are told apart by giving one of the two a copy of what both read: nothing
// is lost, whoever wrote it. The one with the reverse mapping keeps the blocks.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeIndexes
internal import VolumeVerify

extension Operations {
    mutating func mendExtent(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News,
        _ preferences: Preferences
    ) throws -> Mend? {
        switch kind {
        case .reservedArea: return try mendReserved()
        case .inodeBlocks:
            return try mendBlocks(
                of: finding.number("inode") ?? 0, finding.difference ?? 0, news)
        case .extentOverFree, .extentOverlap, .extentBeyondVolume, .extentOffsetOverlap,
            .extentWithoutInode, .extentOfWrongType:
            break
        default: return nil
        }
        guard let extent = try extent(finding.key) else { return .gone }
        switch kind {
        case .extentOverFree:
            let taken = try takeOutOfFree(extent.start, extent.startEnd)
            return taken == 0
                ? .gone : .mended("\(taken) blocks are no longer free: the extent has them")
        case .extentOverlap:
            guard let other = try self.extent(finding.other) else { return .gone }
            return try mendOverlap(extent, other, preferences[kind])
        case .extentBeyondVolume: return try mendBeyond(extent)
        case .extentOffsetOverlap:
            guard let other = try self.extent(finding.other) else { return .gone }
            return try mendOffsets(other, extent, preferences[kind])
        case .extentWithoutInode: return try mendOwnerless(extent)
        default: return try mendWrongType(extent)
        }
    }

    /// The extent that the fields of a key name; nil where there is none, or none that can be
    /// decoded.
    private func extent(_ fields: [Finding.Field]) throws -> ExtentRecord? {
        func number(_ name: String) -> UInt64? { fields.first { $0.name == name }?.number }
        guard let inode = number("inode"), let offset = number("offset"),
            let fork = number("fork").flatMap({ UInt8(exactly: $0) }).flatMap(Fork.init(rawValue:))
        else { return nil }
        let key = ExtentRecord.key(inode, fork, offset)
        guard let value = try transaction.get(core.tables.extents, key.span) else { return nil }
        return try? ExtentRecord(key: key.span, value: value)
    }

    /// Takes an extent away. Its blocks are left to the next survey: they may be another's.
    private mutating func drop(_ extent: ExtentRecord) throws {
        try quarantine(TableName.extents, extent.key.span.array, extent.value.span.array)
        try removeExtent(extent)
        if var inode = try readable(extent.inode) {
            inode.blocks -= min(inode.blocks, UInt64(extent.length))
            try put(inode, extent.inode)
        }
        isMending(extent.inode)
    }

    private func isMapped(_ extent: ExtentRecord) throws -> Bool {
        try isThere(state.rmap.active.table, ReverseMap.key(extent).span)
    }

    /// What the geometry says is reserved is, and nothing else.
    private mutating func mendReserved() throws -> Mend {
        let wanted = core.geometry.reservedExtents
        var there: [ExtentRecord] = []
        do {
            var cursor = try transaction.readCursor(core.tables.extents)
            var isThere = try cursor.first()
            while isThere, there.count < 4096, cursor.key.byteCount >= 8,
                cursor.key.integer(at: 0, as: UInt64.self) == .volume
            {
                if let extent = try? ExtentRecord(key: cursor.key, value: cursor.value) {
                    there.append(extent)
                }
                isThere = try cursor.next()
            }
        }
        var changed = 0
        for extent in there where !wanted.contains(extent) {
            try quarantine(TableName.extents, extent.key.span.array, extent.value.span.array)
            try removeExtent(extent)
            changed += 1
        }
        for extent in wanted where !there.contains(extent) {
            try putExtent(extent, replacing: nil)
            _ = try takeOutOfFree(extent.start, extent.startEnd)
            changed += 1
        }
        return changed == 0
            ? .gone : .mended("the reserved areas were made what the geometry says")
    }

    private mutating func mendBlocks(
        of n: InodeNumber, _ difference: UInt64, _ news: News
    ) throws -> Mend {
        guard var inode = try inode(n) else { return .gone }
        var right = inode.blocks &+ difference
        var sum: UInt64 = 0, count = 0
        do {
            var cursor = try transaction.readCursor(core.tables.extents)
            var isThere = try cursor.seek(InodeRecord.key(n).span)
            while isThere, count <= Operations.mapPiece, cursor.key.byteCount >= 8,
                cursor.key.integer(at: 0, as: UInt64.self) == n
            {
                let extent = try? ExtentRecord(key: cursor.key, value: cursor.value)
                sum += UInt64(extent?.length ?? 0)
                count += 1
                isThere = try cursor.next()
            }
        }
        if count <= Operations.mapPiece { right = sum }
        guard right != inode.blocks, right <= FormatLimits.blocks else { return .gone }
        guard count <= Operations.mapPiece || maySettle(.blocks(n), of: news.commit) else {
            return .changed("somebody else has settled it")
        }
        inode.blocks = right
        try put(inode, n)
        isMending(n)
        return .mended("its blocks were set to \(right), as many as its extents have")
    }

    // MARK: Two owners

    /// Blocks that one mend copies at the most: the commit boundary waits for it.
    private static var copied: UInt64 { 256 }

    private mutating func mendOverlap(
        _ one: ExtentRecord, _ other: ExtentRecord, _ preference: String?
    ) throws -> Mend {
        let start = max(one.start, other.start), end = min(one.startEnd, other.startEnd)
        guard start < end else { return .gone }
        guard end <= core.geometry.blocks else {
            return .waiting("they reach beyond the end of the volume: that comes first")
        }
        // The reserved areas keep theirs; else who has the reverse mapping; else the lower inode.
        let isOneProven = try isMapped(one), isOtherProven = try isMapped(other)
        var loser = one
        if one.inode == .volume || (other.inode != .volume && isOneProven && !isOtherProven) {
            loser = other
        }
        let keeper = loser == one ? other : one
        guard keeper.inode != .volume || loser.inode != .volume else {
            return .waiting("reserved areas overlap: those come first")
        }
        let proof =
            isOneProven != isOtherProven
            ? "has the reverse mapping" : keeper.inode == .volume ? "is reserved" : "came first"
        guard var inode = try inode(loser.inode) else {
            return .waiting("inode \(loser.inode) is lost: that comes first")
        }
        let length = min(end - start, Operations.copied)
        let old = BlockRange(start: start, end: start + length)
        let offset = loser.offset + (start - loser.start)
        if preference == "hole" {
            let around = try extents(loser.inode, loser.fork, from: offset, to: offset + length)
            guard around.contains(loser) else { return .waiting("its extents overlap each other") }
            try remap(around, FileMap.outside(around, offset..<offset + length))
            inode.blocks -= min(inode.blocks, length)
            try put(inode, loser.inode)
            isMending(loser.inode)
            return .mended(
                "inode \(keeper.inode) keeps \(length) blocks: it \(proof); inode \(loser.inode) "
                    + "has a hole there, as preferred",
                loses: "what inode \(loser.inode) has read at offset \(offset)")
        }
        guard freePages >= GroupLimits.reservedPages,
            let run = try takeFree(length, near: nil)
        else { return .waiting("there is no room for a copy") }
        let new = BlockRange(start: run.start, end: run.end)
        guard core.blockGuard.isIdle([new], durable: core.durableCommit),
            let lock = core.blockGuard.lockIfFree([old, new], exclusive: true)
        else {
            try giveBack(start: run.start, length: run.length)
            askForPoint()
            return .changed("the blocks are in use just now")
        }
        mendLock = lock
        if loser.state == .written {
            let count = Int(run.length * blockSize)
            let bytes = try core.data.read(count, at: start * blockSize)
            try core.data.write(bytes.rawSpan, at: run.start * blockSize)
        }
        try give(run, to: loser, at: offset)
        try put(inode, loser.inode)
        isMending(loser.inode)
        return .mended(
            "inode \(keeper.inode) keeps \(run.length) blocks: it \(proof); inode "
                + "\(loser.inode) has a copy")
    }

    /// Makes `run` the place of as many blocks of the file from `offset` on, which `extent` has.
    private mutating func give(
        _ run: FreeRecord, to extent: ExtentRecord, at offset: UInt64
    ) throws {
        var part = extent
        part.offset = offset
        part.start = run.start
        part.length = UInt32(truncatingIfNeeded: run.length)
        try removeExtent(extent)
        if let before = extent.clipped(to: extent.offset..<offset) {
            try putExtent(before, replacing: nil)
        }
        try putExtent(part, replacing: nil)
        if let after = extent.clipped(to: part.offsetEnd..<extent.offsetEnd) {
            try putExtent(after, replacing: nil)
        }
    }

    // MARK: Extents that can't be

    private mutating func mendBeyond(_ extent: ExtentRecord) throws -> Mend {
        let blocks = core.geometry.blocks
        guard extent.startEnd > blocks else { return .gone }
        try drop(extent)
        if extent.start < blocks, var inode = try readable(extent.inode) {
            var kept = extent
            kept.length = UInt32(truncatingIfNeeded: blocks - extent.start)
            try putExtent(kept, replacing: nil)
            inode.blocks += UInt64(kept.length)
            try put(inode, extent.inode)
        }
        return .mended(
            "the extent was cut at the end of the volume, and its record is in quarantine",
            loses: "nothing that could be read: it was beyond the end")
    }

    private mutating func mendOffsets(
        _ first: ExtentRecord, _ second: ExtentRecord, _ preference: String?
    ) throws -> Mend {
        guard first.offset < second.offset, first.offsetEnd > second.offset else { return .gone }
        let isFirst = try isMapped(first), isSecond = try isMapped(second)
        let decision = isFirst != isSecond ? (isFirst ? "first" : "second") : preference
        switch decision {
        case "first":
            try drop(second)
            try keep(second, besides: first)
        case "second":
            try drop(first)
            try keep(first, besides: second)
        default:
            return .undecided(
                "both extents have a reverse mapping, or none has",
                [
                    .init("first", loses: "what the second has at offset \(second.offset)"),
                    .init("second", loses: "what the first has from offset \(second.offset) on"),
                ])
        }
        return .mended(
            "of two extents for the same offsets the \(decision ?? "") was kept: "
                + (isFirst != isSecond ? "only it has a reverse mapping" : "as preferred"),
            loses: "what the other has there; its record is in quarantine")
    }

    /// Puts back what of `dropped` lies at other offsets than `other`: nobody contests that.
    private mutating func keep(
        _ dropped: ExtentRecord, besides other: ExtentRecord
    ) throws {
        guard var inode = try readable(dropped.inode) else { return }
        for range in [0..<other.offset, other.offsetEnd..<UInt64.max] {
            guard let part = dropped.clipped(to: range) else { continue }
            try putExtent(part, replacing: nil)
            inode.blocks += UInt64(part.length)
        }
        try put(inode, dropped.inode)
    }

    private mutating func mendOwnerless(_ extent: ExtentRecord) throws -> Mend {
        guard try !hasInode(extent.inode) else { return .gone }
        return try mendRemains(of: extent.inode) { operations in
            try operations.drop(extent)
        }
    }

    /// What is left of an inode whose record is not there: of a number that is free it is removed,
    /// else the inode is made again, and goes to lost+found as long as no name leads to it.
    mutating func mendRemains(
        of n: InodeNumber, _ remove: (inout Operations) throws -> Void
    ) throws -> Mend {
        for name in try names(of: n) {
            guard let target = try dirent(name.parent, name.name) else { continue }
            if try isFreeNumber(n) { return .waiting("a name leads to it: that comes first") }
            try resurrect(n, target.type, generation: target.generation, in: name.parent)
            return .mended(
                "inode \(n) was made again: an entry and what is stored of it agree",
                loses: "its owner, permissions and times")
        }
        if try isFreeNumber(n) {
            try remove(&self)
            return .mended(
                "the record was moved to quarantine: its inode's number is free, and has no name",
                loses: "what the record stored")
        }
        let generation = try pointers(to: n).first?.generation ?? counters.nextGeneration
        counters.nextGeneration &+= 1
        try resurrect(n, try typeOfContents(n) ?? .regular, generation: generation, in: .root)
        return .mended(
            "inode \(n) was made again: its number is not free, and something of it is stored",
            loses: "its owner, permissions and times")
    }

    private mutating func mendWrongType(_ extent: ExtentRecord) throws -> Mend {
        guard extent.fork == .data, let inode = try inode(extent.inode), inode.type != .regular
        else { return .gone }
        for name in try names(of: extent.inode)
        where try dirent(name.parent, name.name)?.type == .regular {
            return .waiting("whether it is a \(inode.type) is in doubt: that comes first")
        }
        try drop(extent)
        return .mended(
            "the extent's record was moved to quarantine: entry and inode say that it is a "
                + "\(inode.type)", loses: "the blocks that it had")
    }
}
