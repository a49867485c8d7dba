// From a path to an inode, by the directories; and from an inode to its paths, by the live
// parent pointers.

internal import Bytes
internal import LMDB
public import VolumeFormat
internal import VolumeIndexes
#if canImport(Glibc)
internal import Glibc
#endif

// MARK: Path to inode

extension VolumeSnapshot {
    /// Symlinks followed at the most, as Linux does.
    static var maximumSymlinks: Int { 40 }

    /// The inode that a path leads to, from the root or from `directory`. Symlinks on the way
    /// are followed, the last component only where `follow` says so.
    public func resolve(
        _ path: [UInt8], from directory: InodeNumber = .root, follow: Bool = false
    ) throws -> InodeNumber {
        let slash = UInt8(ascii: "/")
        var current = path.first == slash ? InodeNumber.root : directory
        // What is still to be walked, the next component last.
        var rest = Array(path.split(separator: slash).map(Array.init).reversed())
        var symlinks = 0
        while let name = rest.popLast() {
            if name == [UInt8(ascii: ".")] { continue }
            let inode = try existing(current)
            guard inode.type == .directory else {
                throw VolumeError.notDirectory("inode \(current)")
            }
            if name == [UInt8(ascii: "."), UInt8(ascii: ".")] {
                current = inode.parent
                continue
            }
            guard let target = try lookup(current, name) else {
                throw VolumeError.noEntry(entryText(current, name))
            }
            guard target.type == .symlink, follow || !rest.isEmpty || path.last == slash else {
                current = target.child
                continue
            }
            symlinks += 1
            guard symlinks <= VolumeSnapshot.maximumSymlinks else {
                throw VolumeError.io(
                    operation: "resolve", object: "\"\(escapedName(path))\"", errno: ELOOP)
            }
            let link = try readlink(target.child)
            if link.first == slash { current = .root }
            rest += link.split(separator: slash).map(Array.init).reversed()
        }
        if path.last == slash, try existing(current).type != .directory {
            throw VolumeError.notDirectory("inode \(current)")
        }
        return current
    }

    /// The inode that a path leads to. A path that exists as it is typed is meant so; where it does
    /// not, `\xHH` stands for a byte, as it does where names are printed.
    public func resolve(_ path: String, follow: Bool = false) throws -> InodeNumber {
        let literal = path.hostPathBytes, unescaped = path.unescapedBytes
        do {
            return try resolve(literal, follow: follow)
        } catch VolumeError.noEntry where unescaped != literal {
            return try resolve(unescaped, follow: follow)
        }
    }
}

// MARK: Inode to paths

/// What is wrong with the parent pointers on the way from an inode to the root.
public enum PathProblem: Hashable, Sendable {
    /// The inode has `links` names, and `found` parent pointers.
    case missing(inode: InodeNumber, links: UInt32, found: Int)
    /// A parent pointer that can't be decoded, in words.
    case damaged(inode: InodeNumber, entry: String)
    /// No directory entry says what this parent pointer says.
    case stray(inode: InodeNumber, parent: InodeNumber, name: [UInt8])
    /// The parent pointers of this directory lead back to itself.
    case loop(inode: InodeNumber)
    /// The inode's record is missing or damaged.
    case inode(InodeNumber)
}

extension PathProblem: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing(let n, let links, let found):
            "inode \(n) has \(links) names, and \(found) parent pointers lead to it"
        case .damaged(let n, let entry): "parent pointer of inode \(n) is damaged: \(entry)"
        case .stray(let n, let parent, let name):
            "parent pointer of inode \(n): \(entryText(parent, name)) leads elsewhere"
        case .loop(let n): "parent pointers of directory \(n) lead back to it"
        case .inode(let n): "inode \(n) is missing or damaged"
        }
    }
}

public struct PathReport: Hashable, Sendable {
    /// From the root, each beginning with a slash.
    public internal(set) var paths: [[UInt8]] = []
    public internal(set) var problems: [PathProblem] = []
    /// Whether there may be more paths than were asked for.
    public internal(set) var isCut = false
}

extension VolumeSnapshot {
    /// The paths that lead to an inode, `limit` at the most, by the live parent pointers.
    /// Each pointer is checked against the directory entry that it mirrors; what is
    /// wrong is reported, and paths through it are not given.
    public func paths(of n: InodeNumber, limit: Int = 1000) throws -> PathReport {
        var report = PathReport()
        let limit = min(max(limit, 0), VolumeSnapshot.mostPaths)
        _ = try existing(n)
        // A directory has one name, so a way up is not much longer than it is deep. This
        // bounds what damaged pointers, which fork, can cost.
        var remaining = 1 << 20
        var steps = [Step(inode: n, name: [], below: nil)]
        var pending = [0]
        while let index = pending.popLast() {
            let step = steps[index]
            if step.inode == .root {
                guard report.paths.count < limit else {
                    report.isCut = true
                    break
                }
                report.paths.append(path(steps, index))
                continue
            }
            guard remaining > 0 else {
                report.isCut = true
                break
            }
            if isLoop(steps, index) {
                report.problems.append(.loop(inode: step.inode))
                continue
            }
            // Only what can still be shown is read: an inode may have any number of names.
            let wanted = limit - report.paths.count
            for parent in try parents(of: step.inode, moreThan: wanted, &report).reversed() {
                remaining -= 1
                steps.append(Step(inode: parent.directory, name: parent.name, below: index))
                pending.append(steps.count - 1)
            }
        }
        return report
    }

    /// Paths that are given at the most, whatever is asked for: they are collected in memory.
    public static let mostPaths = 1 << 20

    /// A place on the way up: `name` in `inode` leads to the place `below`.
    private struct Step {
        let inode: InodeNumber
        let name: [UInt8]
        let below: Int?
    }

    private func path(_ steps: [Step], _ index: Int) -> [UInt8] {
        var path: [UInt8] = []
        var current = steps[index]
        while let below = current.below {
            path.append(UInt8(ascii: "/"))
            path += current.name
            current = steps[below]
        }
        return path.isEmpty ? [UInt8(ascii: "/")] : path
    }

    private func isLoop(_ steps: [Step], _ index: Int) -> Bool {
        var below = steps[index].below
        while let place = below {
            if steps[place].inode == steps[index].inode { return true }
            below = steps[place].below
        }
        return false
    }

    /// The names of an inode by its parent pointers; what is wrong with them goes into the
    /// report.
    private func parents(
        of n: InodeNumber, moreThan limit: Int, _ report: inout PathReport
    ) throws -> [(directory: InodeNumber, name: [UInt8])] {
        guard let inode = try? inode(n) else {
            report.problems.append(.inode(n))
            return []
        }
        var good: [(directory: InodeNumber, name: [UInt8])] = []
        var found = 0
        var cursor = try transaction.cursor(try activeTable(of: VolumeSnapshot.parentsSlot))
        var isThere = try cursor.seek(InodeRecord.key(n).span)
        while isThere, good.count <= limit, cursor.key.byteCount >= 8,
            cursor.key.integer(at: 0, as: UInt64.self) == n
        {
            if let entry = parentEntry(cursor.key, cursor.value) {
                let target = try? self.entry(entry.directory, entry.name.rawSpan)
                if target?.child == n, target?.generation == entry.generation {
                    good.append((entry.directory, entry.name))
                } else {
                    report.problems.append(
                        .stray(inode: n, parent: entry.directory, name: entry.name))
                }
                found += 1
            } else {
                let text = ParentPointers().fields(key: cursor.key, value: RawSpan())
                report.problems.append(
                    .damaged(inode: n, entry: text.map(\.value).joined(separator: " ")))
            }
            isThere = try cursor.next()
        }
        // A directory's links count its children too: it has one name.
        let names = inode.type == .directory ? min(inode.links, 1) : inode.links
        if good.count <= limit, found < Int(names) {
            report.problems.append(.missing(inode: n, links: names, found: found))
        }
        return good
    }

    private func parentEntry(
        _ key: RawSpan, _ value: RawSpan
    ) -> (directory: InodeNumber, name: [UInt8], generation: UInt32)? {
        guard let payload = try? value.verified(key: key),
            ParentPointers().isWellFormed(key: key, value: payload)
        else { return nil }
        let name = key.extracting(droppingFirst: ParentPointers.keyPrefixSize).array
        return (key.integer(at: 8), name, payload.integer(at: 0))
    }
}
