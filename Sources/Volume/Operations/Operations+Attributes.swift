// Extended attributes.
//
// A short value stands in its record. A long one stands in blocks of the attribute fork,
// which are written here, in the writer's turn, before the commit that makes them
// reachable: at most 64 KiB. Only blocks that nobody uses and that were free at the last
// durable point are taken for it (BlockGuard), so nothing waits and nothing else is
// overwritten; `Volume.setXattr` makes a durable point and tries again where there are none.

internal import Bytes
public import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

public enum XattrMode: Sendable {
    /// Whether or not the attribute exists.
    case set
    /// It must not exist.
    case create
    /// It must exist.
    case replace
}

extension Operations {
    static var xattrNamespaces: [[UInt8]] {
        ["user.", "trusted.", "security.", "system."].map { Array($0.utf8) }
    }

    /// setxattr(2).
    public mutating func setXattr(
        _ n: InodeNumber, _ name: [UInt8], _ value: [UInt8], _ mode: XattrMode = .set
    ) throws {
        try begin(growing: true)
        try Operations.checkXattrName(n, name)
        guard value.count <= AttributeRecord.maximumSize else {
            throw VolumeError.io(
                operation: "set", object: xattrText(n, name), errno: E2BIG)
        }
        var inode = try existing(n)
        let old = try attribute(n, name)
        if mode == .create, old != nil { throw VolumeError.exists(xattrText(n, name)) }
        if mode == .replace, old == nil { throw VolumeError.noAttribute(xattrText(n, name)) }
        var content = AttributeRecord.Content.inline(value)
        if value.count > AttributeRecord.maximumInlineSize {
            content = try storeRemote(n, &inode, value)
        }
        try putAttribute(AttributeRecord(inode: n, name: name, content: content))
        if let old { try dropRemote(n, &inode, old) }
        inode.changed = now
        try put(inode, n)
    }

    /// removexattr(2).
    public mutating func removeXattr(_ n: InodeNumber, _ name: [UInt8]) throws {
        try begin(growing: false)
        try Operations.checkXattrName(n, name)
        var inode = try existing(n)
        guard let old = try attribute(n, name) else {
            throw VolumeError.noAttribute(xattrText(n, name))
        }
        try removeAttribute(n, name)
        try dropRemote(n, &inode, old)
        inode.changed = now
        try put(inode, n)
    }

    static func checkXattrName(_ n: InodeNumber, _ name: [UInt8]) throws(VolumeError) {
        guard name.count <= AttributeRecord.maximumNameLength else {
            throw .rangeTooSmall(xattrText(n, name))
        }
        guard !name.contains(0) else { throw .invalid(xattrText(n, name)) }
        guard xattrNamespaces.contains(where: { name.count > $0.count && name.starts(with: $0) })
        else { throw .notSupported(xattrText(n, name)) }
    }

    /// Blocks of the attribute fork that a value takes.
    private func remoteBlocks(_ content: AttributeRecord.Content) -> Range<UInt64>? {
        guard case .remote(let offset, let length) = content, length > 0 else { return nil }
        let (end, overflow) = offset.addingReportingOverflow(
            (UInt64(length) - 1) / blockSize + 1)
        return overflow ? nil : offset..<end
    }

    private mutating func dropRemote(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ record: AttributeRecord
    ) throws {
        guard let blocks = remoteBlocks(record.content) else { return }
        // Damaged extents keep their blocks, until somebody mends them.
        do { try punch(n, &inode, .attributes, blocks) } catch VolumeError.damaged {}
    }

    /// Writes `value` to new blocks at the end of the attribute fork.
    private mutating func storeRemote(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ value: [UInt8]
    ) throws -> AttributeRecord.Content {
        let last = try lastExtent(n, .attributes)
        let offset = last?.offsetEnd ?? 0
        let wanted = (UInt64(value.count) - 1) / blockSize + 1
        let (end, overflow) = offset.addingReportingOverflow(wanted)
        guard !overflow, end < UInt64.max else { throw noSpace(wanted) }
        guard wanted <= counters.freeBlocks else { throw noSpace(wanted) }
        let taken = try takeIdle(n, offset, wanted, near: last?.startEnd)
        do {
            try writeRemote(value, taken)
        } catch {
            try giveBack(taken)
            throw error
        }
        let before = last.map { [$0] } ?? []
        try remap(before, before + taken)
        inode.blocks += wanted
        return .remote(offset: offset, length: UInt32(value.count))
    }

    private func writeRemote(_ value: [UInt8], _ extents: [ExtentRecord]) throws {
        var position = 0
        for extent in extents {
            let size = Int(extent.length) * Int(blockSize)
            let count = min(size, value.count - position)
            let place = extent.start * blockSize
            try core.data.write(
                value.rawSpan.extracting(position..<(position + count)), at: place)
            try core.data.writeZeroes(at: place + UInt64(count), count: UInt64(size - count))
            position += count
        }
    }

    /// Takes blocks that may be written at once.
    private mutating func takeIdle(
        _ n: InodeNumber, _ offset: UInt64, _ wanted: UInt64, near: UInt64?
    ) throws -> [ExtentRecord] {
        var taken: [ExtentRecord] = []
        var refused: [FreeRecord] = []
        var missing = wanted
        var near = near
        // Each refusal takes a run out of the way. When so many were in vain, the volume is
        // as good as full.
        while missing > 0, refused.count < 64, let run = try takeRun(missing, near: near) {
            let blocks = BlockRange(start: run.start, end: run.end)
            guard core.blockGuard.isIdle([blocks], durable: core.durableCommit) else {
                refused.append(run)
                continue
            }
            taken.append(
                ExtentRecord(
                    inode: n, fork: .attributes, offset: offset + (wanted - missing),
                    start: run.start, length: UInt32(run.length), state: .written))
            missing -= run.length
            near = run.end
        }
        for run in refused { try giveBack(start: run.start, length: run.length) }
        if missing > 0 {
            try giveBack(taken)
            throw noSpace(wanted)
        }
        return taken
    }
}

/// An attribute in words.
func xattrText(_ n: InodeNumber, _ name: [UInt8]) -> String {
    "attribute \"\(escapedName(name))\" of inode \(n)"
}
