// Folds names into link counts, inode by inode, and judges the names on the way.
//
// Three feeds in the order of inode numbers meet here: parent pointers, contributions of the
// link counts' own, and inode records. The rules:
//
// - A file has as many links as names. A directory has 2, its own name and its `.`, and one for
//   each child directory; so has the root.
// - No link and no name: unlinked, waiting to be reclaimed. That is right.
// - Links and no name: orphaned. That is a defect of the records and never corrected to 0, which
//   would free what may be the only copy of somebody's data.
// - A name that leads to no inode, or to one of another generation or type, is a defect too. It
//   counts as a name all the same.

internal import Bytes
internal import Tidemark
internal import VolumeFormat

final class LinkFold: SummaryFold {
    private struct Group {
        let inode: InodeNumber
        var presence = Presence.absent
        var names: UInt64 = 0
        var subdirectories: UInt64 = 0
        /// Whether a name is in the directory that the inode has as its parent.
        var isParentNamed = false
    }

    private enum Presence {
        case absent, damaged
        case readable(StoredLinks)
    }

    private let part: any SummaryPart
    private var feeds: Feeds?
    private var group: Group?

    private struct Feeds {
        let parents, own, live: EntryFeed
    }

    init(_ part: any SummaryPart) { self.part = part }

    func step(_ limit: Int) throws -> Bool {
        let feeds = try feeds ?? begin()
        for _ in 0..<limit {
            if group == nil {
                guard let inode = try lowest(feeds) else { return false }
                group = try beginGroup(inode, feeds)
            }
            if try takeName(feeds) { continue }
            if try takeChild(feeds) { continue }
            if let group { try judge(group) }
            group = nil
        }
        return true
    }

    private func begin() throws -> Feeds {
        let feeds = Feeds(
            parents: try part.contributions(0), own: try part.contributions(1),
            live: part.liveEntries())
        self.feeds = feeds
        return feeds
    }

    /// The inode that comes next.
    private func lowest(_ feeds: Feeds) throws -> InodeNumber? {
        let parents = try inodeNumber(feeds.parents)
        let own = try inodeNumber(feeds.own)
        let live = try inodeNumber(feeds.live)
        if parents == nil, own == nil, live == nil { return nil }
        return min(parents ?? .max, own ?? .max, live ?? .max)
    }

    private func inodeNumber(_ feed: EntryFeed) throws -> InodeNumber? {
        guard try feed.isThere() else { return nil }
        guard feed.key.byteCount >= 8 else { throw damagedShadow }
        return feed.key.integer(at: 0)
    }

    private var damagedShadow: AbortReason {
        AbortReason("the shadow of names holds what can't be: a damaged side file; start again")
    }

    private func beginGroup(_ inode: InodeNumber, _ feeds: Feeds) throws -> Group {
        var group = Group(inode: inode)
        guard try inodeNumber(feeds.live) == inode else { return group }
        group.presence = .damaged
        if !feeds.live.isDamaged, let stored = StoredLinks(feeds.live.value) {
            group.presence = .readable(stored)
            part.expect(keySize: InodeRecord.keySize, valueSize: StoredLinks.size)
        }
        feeds.live.advance()
        return group
    }

    // MARK: Names

    /// Takes the next parent pointer of the group. Returns false where there is none.
    private func takeName(_ feeds: Feeds) throws -> Bool {
        guard let inode = group?.inode, try inodeNumber(feeds.parents) == inode else {
            return false
        }
        let key = feeds.parents.key, value = feeds.parents.value
        guard key.byteCount > ParentPointers.keyPrefixSize,
            value.byteCount == ParentPointers.valueSize
        else { throw damagedShadow }
        let type = try type(of: key, feeds.own)
        let parent: InodeNumber = key.integer(at: 8)
        group?.names += 1
        switch group?.presence {
        case .readable(let stored):
            if stored.parent == parent { group?.isParentNamed = true }
            judge(key, value.integer(at: 0), type, stored)
        case .absent: report(.danglingEntry, key, "leads to an inode that does not exist")
        case .damaged, nil: break
        }
        feeds.parents.advance()
        return true
    }

    /// The type that the entry gives: a contribution stands for each that is not regular.
    private func type(of key: RawSpan, _ own: EntryFeed) throws -> FileType {
        guard try own.isThere(), own.key.byteCount > LinkIndex.keyPrefixSize,
            own.key.integer(at: 0, as: UInt64.self) == key.integer(at: 0, as: UInt64.self),
            own.key.integer(at: 8, as: UInt8.self) == LinkIndex.typeKind
        else { return .regular }
        let order = compareBytes(
            own.key.extracting(droppingFirst: LinkIndex.keyPrefixSize),
            key.extracting(droppingFirst: 8))
        if order > 0 { return .regular }
        guard order == 0, own.value.byteCount == 1,
            let type = FileType(rawValue: own.value.integer(at: 0))
        else { throw damagedShadow }
        own.advance()
        return type
    }

    private func judge(
        _ key: RawSpan, _ generation: UInt32, _ type: FileType, _ stored: StoredLinks
    ) {
        if generation != stored.generation {
            report(
                .entryGeneration, key,
                "gives generation \(generation), the inode has generation \(stored.generation)")
        }
        if type != stored.type {
            report(.entryType, key, "gives type \(type), the inode has type \(stored.type)")
        }
    }

    /// Takes the next child directory of the group. Returns false where there is none.
    private func takeChild(_ feeds: Feeds) throws -> Bool {
        guard let inode = group?.inode, try inodeNumber(feeds.own) == inode else { return false }
        guard feeds.own.key.byteCount > LinkIndex.keyPrefixSize,
            feeds.own.key.integer(at: 8, as: UInt8.self) == LinkIndex.childKind
        else { throw damagedShadow }
        group?.subdirectories += 1
        feeds.own.advance()
        return true
    }

    // MARK: Inodes

    private func judge(_ group: Group) throws {
        switch group.presence {
        case .absent: break
        case .damaged: report(.damagedRecord, group.inode, "can't be decoded")
        case .readable(let stored):
            let links = judgeNames(group, stored)
            try compare(group.inode, stored, links)
        }
    }

    /// - Returns: the links that the inode should have.
    private func judgeNames(_ group: Group, _ stored: StoredLinks) -> UInt64 {
        let isRoot = group.inode == .root
        if group.names == 0, stored.links > 0, !isRoot {
            report(
                .orphanInode, group.inode,
                "is a \(stored.type) with \(stored.links) links, but no name leads to it")
        }
        guard stored.type == .directory else {
            return group.names > 0 ? group.names : UInt64(stored.links)
        }
        let allowed: UInt64 = isRoot ? 0 : 1
        if group.names > allowed {
            report(.directoryNames, group.inode, "is a directory with \(group.names) names")
        }
        if isRoot {
            if stored.links > 0, stored.parent != .root { reportParent(group.inode, stored) }
        } else if group.names > 0, !group.isParentNamed {
            reportParent(group.inode, stored)
        }
        let isUnlinked = stored.links == 0 && group.names == 0 && !isRoot
        return isUnlinked ? 0 : 2 + group.subdirectories
    }

    private func compare(_ inode: InodeNumber, _ stored: StoredLinks, _ links: UInt64) throws {
        let key = InodeRecord.key(inode)
        guard UInt64(stored.links) != links else { return try part.agree(key.span) }
        var right = stored
        right.links = UInt32(truncatingIfNeeded: links)
        let correction = LinkCorrection(
            links: right.links &- stored.links, generation: stored.generation)
        let found = stored.bytes, expected = right.bytes, bytes = correction.bytes
        try part.differ(
            .wrong, key: key.span, found: found.span, expected: expected.span,
            correction: bytes.span)
    }

    // MARK: Defects

    private enum Defect: String {
        case damagedRecord, danglingEntry, entryGeneration, entryType, orphanInode
        case directoryNames, directoryParent

        var blocks: String {
            switch self {
            case .damagedRecord: "every use of the inode, and its link count"
            case .danglingEntry: "looking the name up, and removing it"
            case .entryGeneration: "looking the name up; it may belong to an inode that is gone"
            case .entryType: "looking the name up"
            case .orphanInode: "reaching the inode by name; its space is not given back"
            case .directoryNames: "telling which directory is its parent"
            case .directoryParent: "the way from the directory up to the root"
            }
        }
    }

    private func report(_ kind: Defect, _ key: RawSpan, _ problem: String) {
        let name = escapedName(key.extracting(droppingFirst: ParentPointers.keyPrefixSize))
        let directory: InodeNumber = key.integer(at: 8), child: InodeNumber = key.integer(at: 0)
        part.defect(
            PrimaryDefect(
                kind: kind.rawValue, object: "name \"\(name)\" in directory \(directory)",
                problem: "\(problem) (inode \(child))", blocks: kind.blocks))
    }

    private func report(_ kind: Defect, _ inode: InodeNumber, _ problem: String) {
        part.defect(
            PrimaryDefect(
                kind: kind.rawValue, object: "inode \(inode)", problem: problem,
                blocks: kind.blocks))
    }

    private func reportParent(_ inode: InodeNumber, _ stored: StoredLinks) {
        report(
            .directoryParent, inode,
            "takes directory \(stored.parent) for its parent, which does not name it")
    }
}
