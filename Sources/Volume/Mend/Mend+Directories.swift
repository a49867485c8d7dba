// Directories: one name each, in the directory that they take for their parent, and a way to the
// root.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeVerify

extension Operations {
    mutating func mendDirectory(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News,
        _ preferences: Preferences
    ) throws -> Mend? {
        let n = finding.number("inode") ?? 0
        switch kind {
        case .directoryNames: return try mendNames(of: n, preferences[kind])
        case .directoryParent: return try mendParent(of: n)
        case .directorySize: return try mendSize(of: n, finding.difference ?? 0, news)
        case .directoryLoop: return try mendLoop(through: n)
        default: return nil
        }
    }

    /// The names of a directory: those that parent pointers know, and those in what it takes for
    /// its parent, of which they may know nothing.
    func names(
        ofDirectory n: InodeNumber, _ inode: InodeRecord
    ) throws -> [ParentPointer] {
        var names = try names(of: n)
        guard !names.contains(where: { $0.parent == inode.parent }) else { return names }
        var cursor = try transaction.readCursor(core.tables.dirents)
        var isThere = try cursor.seek(InodeRecord.key(inode.parent).span)
        var looked = 0
        while isThere, looked < Operations.counted, cursor.key.byteCount > 8,
            cursor.key.integer(at: 0, as: UInt64.self) == inode.parent
        {
            if let entry = try? DirentRecord(key: cursor.key, value: cursor.value),
                entry.target.child == n
            {
                names.append(
                    ParentPointer(
                        parent: inode.parent, name: entry.name,
                        generation: entry.target.generation))
            }
            looked += 1
            isThere = try cursor.next()
        }
        return names
    }

    private mutating func mendNames(of n: InodeNumber, _ preference: String?) throws -> Mend {
        guard let inode = try inode(n), inode.type == .directory else { return .gone }
        let names = try names(ofDirectory: n, inode)
        let allowed = n == .root ? 0 : 1
        guard names.count > allowed else {
            return .waiting("the parent pointers do not know all of its names yet")
        }
        var keep: ParentPointer?
        if n != .root {
            let inParent = names.filter { $0.parent == inode.parent }
            keep = inParent.count == 1 ? inParent[0] : preference == "first" ? names[0] : nil
            guard keep != nil else {
                return .undecided(
                    "its parent field decides for none of \(names.count) names, the first of "
                        + "them \(entryText(names[0].parent, names[0].name))",
                    [.init("first", loses: "the other names")])
            }
        }
        for name in names where name.parent != keep?.parent || name.name != keep?.name {
            guard let target = try dirent(name.parent, name.name) else { continue }
            try takeName(name.parent, name.name, target)
        }
        let kept = keep.map { "\(entryText($0.parent, $0.name)) was kept" } ?? "none was kept"
        return .mended(
            "of \(names.count) names \(kept): "
                + (n == .root ? "the root has none" : "it is in the directory's own parent"),
            loses: "the other names")
    }

    private mutating func mendParent(of n: InodeNumber) throws -> Mend {
        guard var inode = try inode(n), inode.type == .directory else { return .gone }
        var right = InodeNumber.root
        if n != .root {
            let names = try names(ofDirectory: n, inode)
            guard names.count == 1 else {
                return names.isEmpty
                    ? .waiting("the parent pointers do not know its name yet")
                    : .waiting("it has several names: that comes first")
            }
            right = names[0].parent
        }
        guard inode.parent != right else { return .gone }
        inode.parent = right
        try put(inode, n, usage: .none)
        isMending(n)
        return .mended("its parent was set to \(right): entry and parent pointer agree against it")
    }

    /// Counts up to so many records in a mend; where there are more the survey's difference counts.
    private static var counted: Int { 4096 }

    private mutating func mendSize(
        of n: InodeNumber, _ difference: UInt64, _ news: News
    ) throws -> Mend {
        guard var inode = try inode(n), inode.type == .directory else { return .gone }
        let entries = try count(core.tables.dirents, n)
        let right = entries ?? inode.size &+ difference
        guard right != inode.size, right <= FormatLimits.bytes else { return .gone }
        guard entries != nil || maySettle(.size(n), of: news.commit) else {
            return .changed("somebody else has settled it")
        }
        inode.size = right
        try put(inode, n, usage: .none)
        isMending(n)
        return .mended("its size was set to \(right) entries, as many as there are")
    }

    /// Records of the table that begin with the number; nil: too many to be counted at once.
    private func count(_ table: Table, _ n: InodeNumber) throws -> UInt64? {
        var cursor = try transaction.readCursor(table)
        var isThere = try cursor.seek(InodeRecord.key(n).span)
        var count = 0
        while isThere, cursor.key.byteCount >= 8, cursor.key.integer(at: 0, as: UInt64.self) == n {
            count += 1
            if count > Operations.counted { return nil }
            isThere = try cursor.next()
        }
        return UInt64(count)
    }

    /// A directory inside itself. What is in the circle stays together: one of its directories is
    /// put back where it was, or into lost+found.
    private mutating func mendLoop(through n: InodeNumber) throws -> Mend {
        var members: [InodeNumber] = []
        var place = n
        repeat {
            guard place != .root, members.count < 4096, let inode = try readable(place),
                inode.type == .directory
            else { return .gone }
            members.append(place)
            let names = try names(ofDirectory: place, inode)
            guard names.count == 1, names[0].parent == inode.parent else {
                return .waiting("the names of directory \(place) are in doubt: that comes first")
            }
            place = inode.parent
        } while place != n && !members.contains(place)
        guard place == n else { return .gone }
        for member in members {
            guard let inode = try readable(member) else { continue }
            for pointer in try pointers(to: member)
            where pointer.generation == inode.generation && !members.contains(pointer.parent) {
                let key = DirentRecord.key(pointer.parent, pointer.name.rawSpan)
                guard try takesNames(pointer.parent), try isOutside(member, pointer.parent),
                    try !isThere(core.tables.dirents, key.span)
                else { continue }
                try detach(member, inode)
                try putName(
                    member, inode, pointer.parent, pointer.name, countsInParent: false)
                return .mended(
                    "directory \(member) was put back as "
                        + "\(entryText(pointer.parent, pointer.name)): the parent pointer knows it")
            }
        }
        guard let inode = try readable(n) else { return .gone }
        let name = try names(ofDirectory: n, inode).first?.name
        try detach(n, inode)
        return try putIntoLostAndFound(n, inode, name)
    }

    /// Takes away the one name of a directory.
    private mutating func detach(_ n: InodeNumber, _ inode: InodeRecord) throws {
        for name in try names(ofDirectory: n, inode) {
            guard let target = try dirent(name.parent, name.name) else { continue }
            try takeName(name.parent, name.name, target)
        }
    }
}
