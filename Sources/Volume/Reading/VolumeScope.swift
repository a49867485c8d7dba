// What a run about a volume can be limited to, and what that comes to at one commit.

internal import Bytes
internal import LMDB
public import Tidemark
public import VolumeFormat
internal import VolumeIndexes

/// A part of a volume, as its user names it.
public enum VolumeScope: Hashable, Sendable {
    /// The records of one inode: its extents; of a directory, its entries.
    case inode(InodeNumber)
    /// The records of a directory and of all that is below it.
    case subtree(String)
    /// The extents that overlap these blocks.
    case blocks(start: UInt64, count: UInt64)

    /// The indexes that a run can be about.
    public var indexes: [IndexSlot] {
        switch self {
        case .inode, .subtree: [VolumeSlots.rmap, VolumeSlots.parents]
        case .blocks: [VolumeSlots.rmap]
        }
    }
}

extension VolumeScope: CustomStringConvertible {
    public var description: String {
        switch self {
        case .inode(let number): "inode \(number)"
        case .subtree(let path): "subtree \(path)"
        case .blocks(let start, let count): "blocks \(start):\(count)"
        }
    }

    /// What `description` has given; nil where it is none.
    public init?(_ text: String) {
        guard let space = text.firstIndex(of: " ") else { return nil }
        let rest = String(text[text.index(after: space)...])
        switch text[..<space] {
        case "inode":
            guard let number = InodeNumber(rest) else { return nil }
            self = .inode(number)
        case "subtree":
            self = .subtree(rest)
        case "blocks":
            guard let blocks = VolumeScope(blocks: rest) else { return nil }
            self = blocks
        default: return nil
        }
    }

    /// `START[:COUNT]`; one block where no count is given.
    public init?(blocks text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count <= 2, let start = UInt64(parts[0]),
            let count = parts.count == 2 ? UInt64(parts[1]) : 1, count > 0,
            !start.addingReportingOverflow(count).overflow
        else { return nil }
        self = .blocks(start: start, count: count)
    }
}

extension VolumeSnapshot {
    /// What `scope` comes to, as of this commit. Of a subtree that is the set of the inodes that
    /// are below it: work, and memory, in proportion to their number.
    public func scope(_ scope: VolumeScope) throws -> Scope {
        switch scope {
        case .inode(let number):
            return Scope(label: scope.description, records: VolumeSnapshot.ranges(of: [number]))
        case .subtree(let path):
            let top = try resolve(path)
            guard try existing(top).type == .directory else {
                throw VolumeError.notDirectory("\(path), inode \(top)")
            }
            let inodes = try inodesBelow(top)
            return Scope(label: scope.description, records: VolumeSnapshot.ranges(of: inodes))
        case .blocks(let start, let count):
            guard start + count <= core.geometry.blocks else {
                throw VolumeError.invalid(
                    "\(scope), of a volume of \(core.geometry.blocks) blocks")
            }
            let reach = UInt64(ExtentRecord.maximumLength) - 1
            return Scope(
                label: scope.description,
                indexRange: Scope.IndexRange(
                    lower: FreeRecord.key(start: start).span.array,
                    upper: FreeRecord.key(start: start + count).span.array,
                    lowest: FreeRecord.key(start: start - min(start, reach)).span.array))
        }
    }

    /// The records of `inodes`, which ascend; neighbours are one range.
    private static func ranges(of inodes: [InodeNumber]) -> RecordRanges {
        var ranges = RecordRanges()
        var first = 0
        for place in inodes.indices {
            let next = inodes[place].addingReportingOverflow(1)
            if place + 1 < inodes.count, inodes[place + 1] == next.partialValue { continue }
            let lower = KeyBytes(InodeRecord.key(inodes[first]).span)
            let upper = KeyBytes(InodeRecord.key(next.partialValue).span)
            ranges.append(KeyRange(lower: lower, upper: next.overflow ? nil : upper))
            first = place + 1
        }
        return ranges
    }

    /// The directory `top` and every inode that a path through it leads to, ascending. An entry
    /// that can't be decoded is left to the run, which comes upon it: its directory is of the
    /// scope.
    private func inodesBelow(_ top: InodeNumber) throws -> [InodeNumber] {
        var inodes = [top], directories = [top]
        var seen: Set<InodeNumber> = [top]
        while let directory = directories.popLast() {
            var cursor = try transaction.cursor(core.tables.dirents)
            var isThere = try cursor.seek(InodeRecord.key(directory).span)
            while isThere, cursor.key.byteCount >= 8,
                cursor.key.integer(at: 0, as: InodeNumber.self) == directory
            {
                if let target = try? DirentTarget(key: cursor.key, value: cursor.value) {
                    inodes.append(target.child)
                    if target.type == .directory, seen.insert(target.child).inserted {
                        directories.append(target.child)
                    }
                }
                isThere = try cursor.next()
            }
        }
        inodes.sort()
        // Hard links lead to an inode more than once.
        var last = 0
        for place in inodes.indices where inodes[place] != inodes[last] {
            last += 1
            inodes[last] = inodes[place]
        }
        inodes.removeLast(inodes.count - last - 1)
        return inodes
    }
}
