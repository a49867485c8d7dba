// What a check of an XFS has found, as a user needs to know it: what is wrong, with which files,
// what will happen when they are touched, what to avoid until then, and what mends it.
//
// Discrepancies are single entries; a finding is one thing that is wrong. A block that the reverse
// map ascribes to another file is a missing entry and a stray one; neighbouring blocks with the
// same mistake are one finding, and so are the parent pointers of one file.

internal import Bytes
internal import LinuxFilesystem
public import Tidemark

/// One thing that is wrong.
public struct MountFinding: Hashable, Sendable {
    /// The index: `rmap`, `parents`, `links`.
    public let index: String
    /// What it is about: `block 72`.
    public let object: String
    /// What is wrong.
    public let problem: String
    /// The inodes involved, in the order in which the problem names them.
    public let inodes: [UInt64]
    /// Their paths, once they are known; an inode that has none is left out.
    public var paths: [UInt64: [String]] = [:]
    /// Of `rmap`: the blocks that it is about.
    public var blocks: Range<UInt64>?
    /// What will happen when the files are touched.
    public let consequence: String
    /// What to avoid until it is mended.
    public let avoid: String
    /// What mends it.
    public let mend: String
}

extension MountFinding {
    /// Findings of `rmap`.
    static func mappings(
        _ discrepancies: [Discrepancy], groupBlocks: UInt64, device: String
    ) -> [MountFinding] {
        var blocks: [UInt64: [MappingClaim]] = [:]
        for discrepancy in discrepancies {
            guard let key = MappingKey(discrepancy.key.rawSpan) else { continue }
            blocks[key.block, default: []].append(MappingClaim(discrepancy, key))
        }
        var findings: [MountFinding] = []
        var run: (first: UInt64, claims: [MappingClaim], count: UInt64)?
        func close() {
            guard let run else { return }
            findings.append(
                mapping(run.first, run.count, run.claims, groupBlocks, device))
        }
        for block in blocks.keys.sorted() {
            let claims = (blocks[block] ?? []).sorted {
                $0.order.lexicographicallyPrecedes($1.order)
            }
            if let last = run, last.first + last.count == block,
                block / groupBlocks == last.first / groupBlocks,
                claims == last.claims.map({ $0.moved(by: last.count) })
            {
                run?.count += 1
            } else {
                close()
                run = (block, claims, 1)
            }
        }
        close()
        return findings
    }

    private static func mapping(
        _ first: UInt64, _ count: UInt64, _ claims: [MappingClaim], _ groupBlocks: UInt64,
        _ device: String
    ) -> MountFinding {
        let place =
            "group \(first / groupBlocks), "
            + (count == 1
                ? "block \(first % groupBlocks)"
                : "blocks \(first % groupBlocks)–\(first % groupBlocks + count - 1)")
        let wanted = claims.filter { $0.kind != .stray },
            served = claims.filter { $0.kind != .missing }
        var parts: [String] = []
        if !wanted.isEmpty {
            parts.append(
                "it belongs to " + wanted.map { $0.text(expected: true) }.joined(separator: " and ")
            )
        } else {
            parts.append("no file has it")
        }
        if !served.isEmpty {
            parts.append(
                "the reverse map says "
                    + served.map { $0.text(expected: false) }.joined(separator: " and "))
        } else {
            parts.append("the reverse map lacks that")
        }
        var inodes: [UInt64] = []
        for claim in wanted + served where !inodes.contains(claim.owner) {
            inodes.append(claim.owner)
        }
        return MountFinding(
            index: "rmap",
            object: count == 1 ? "block \(first)" : "blocks \(first)–\(first + count - 1)",
            problem: "\(place): " + parts.joined(separator: "; "),
            inodes: inodes, blocks: first..<first + count,
            consequence:
                "Freeing these blocks (removing, truncating or punching the file, or moving its "
                + "extents) makes XFS shut the filesystem down.",
            avoid: "Don't remove, truncate, overwrite through reflink or defragment these files. "
                + "Don't run an online repair that believes the reverse map (xfs_scrub).",
            mend: mendText(nil, device))
    }

    /// Findings of `parents`.
    static func parents(_ discrepancies: [Discrepancy], device: String) -> [MountFinding] {
        var children: [UInt64: [Discrepancy]] = [:]
        for discrepancy in discrepancies where ParentKey.isWellFormed(discrepancy.key.rawSpan) {
            children[discrepancy.key.rawSpan.integer(at: 0), default: []].append(discrepancy)
        }
        return children.keys.sorted().map { child in
            var inodes = [child]
            var parts: [String] = []
            for discrepancy in children[child] ?? [] {
                let key = discrepancy.key.rawSpan
                let parent: UInt64 = key.integer(at: 8)
                let name = escapedName(key.extracting(ParentKey.headerSize..<key.byteCount))
                if !inodes.contains(parent) { inodes.append(parent) }
                switch discrepancy.kind {
                case .missing:
                    parts.append(
                        "directory \(parent) has it as '\(name)', no parent pointer says so")
                case .stray:
                    parts.append(
                        "a parent pointer says directory \(parent), '\(name)', which is not there")
                case .wrong:
                    parts.append(
                        "the parent pointer to directory \(parent), '\(name)', is of an older one, "
                            + "or there are several"
                    )
                }
            }
            return MountFinding(
                index: "parents", object: "inode \(child)", problem: parts.joined(separator: "; "),
                inodes: inodes,
                consequence:
                    "Removing, renaming or linking this file makes XFS shut the filesystem down.",
                avoid: "Don't remove, rename or link it. Don't run an online repair that believes "
                    + "parent pointers (xfs_scrub): it renames the file.",
                mend: mendText("parent pointers", device))
        }
    }

    static func links(_ finding: LinkFinding, device: String) -> MountFinding {
        MountFinding(
            index: "links", object: "inode \(finding.inode)",
            problem: "its link count is \(finding.found), and it has "
                + "\(finding.expected) \(finding.expected == 1 ? "name" : "names")"
                + (finding.isDirectory ? " ('.', '..' of its directories among them)" : ""),
            inodes: [finding.inode],
            consequence: finding.found > finding.expected
                ? "Removed under its last name it stays, with its space, and nobody "
                    + "can reach it."
                : "Removing one of its names may free the file under the others; XFS shuts the "
                    + "filesystem down when the count falls below zero.",
            avoid: "Don't remove names of it.", mend: mendText("link counts", device))
    }

    private static func mendText(_ what: String?, _ device: String) -> String {
        let second = what.map { ", and then of the \($0)," } ?? ""
        return "Unmount it and run `xfs_repair \(shellWord(device))`. "
            + "With a kernel that has online repair, a forced rebuild of the reverse "
            + "map\(second) mends it too."
    }
}

/// What files or the reverse map say of a block.
private struct MappingClaim: Equatable {
    let kind: Discrepancy.Kind
    let owner, offset: UInt64
    let fork: UInt8
    let expected, found: [UInt8]?

    init(_ discrepancy: Discrepancy, _ key: MappingKey) {
        kind = discrepancy.kind
        owner = key.owner
        offset = key.offset
        fork = key.fork
        expected = discrepancy.expected
        found = discrepancy.found
    }

    private init(_ other: MappingClaim, offset: UInt64) {
        kind = other.kind
        owner = other.owner
        self.offset = offset
        fork = other.fork
        expected = other.expected
        found = other.found
    }

    var order: [UInt64] { [owner, UInt64(fork), offset] }

    func moved(by blocks: UInt64) -> MappingClaim { MappingClaim(self, offset: offset &+ blocks) }

    func text(expected isExpected: Bool) -> String {
        let isUnwritten = (isExpected ? expected : found) == [1]
        return "inode \(owner), \(fork == 0 ? "" : "attribute fork, ")offset \(offset)"
            + (isUnwritten ? ", unwritten" : "")
            + (!isExpected && found == nil ? ", more than once" : "")
    }
}

extension XFSOwner {
    /// Findings from what a comparison and a look at link counts have found, without what the
    /// kernel does not let anybody derive; with the paths of the files.
    public func findings(
        _ discrepancies: [Discrepancy], _ links: [LinkFinding], device: String
    ) throws -> [MountFinding] {
        let mappings = try discrepancies.filter { discrepancy in
            guard discrepancy.index == rmap, let key = MappingKey(discrepancy.key.rawSpan) else {
                return false
            }
            return try !isUnreadable(key.owner)
        }
        var findings = MountFinding.mappings(
            mappings, groupBlocks: UInt64(xfs.geometry.groupBlocks), device: device)
        findings += MountFinding.parents(
            discrepancies.filter { $0.index == parents }, device: device)
        findings += links.map { MountFinding.links($0, device: device) }
        let paths = try paths(of: Set(findings.flatMap(\.inodes)))
        for place in findings.indices {
            for inode in findings[place].inodes { findings[place].paths[inode] = paths[inode] }
        }
        return findings
    }

    /// By inode, the parent pointers that it should not have, less those that it lacks.
    public func surplusParents(_ discrepancies: [Discrepancy]) -> [UInt64: Int] {
        var surplus: [UInt64: Int] = [:]
        for discrepancy in discrepancies where discrepancy.index == parents {
            guard let child = ParentKey.child(discrepancy.key.rawSpan) else { continue }
            switch discrepancy.kind {
            case .stray: surplus[child, default: 0] += 1
            case .missing: surplus[child, default: 0] -= 1
            case .wrong: break
            }
        }
        return surplus
    }
}
