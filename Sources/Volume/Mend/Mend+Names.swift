// Names that lead nowhere or to something else, and inodes without a name.
//
// The witnesses of a name: the entry, the parent pointer, the inode with its generation and its
// links, and the tables of free numbers. (The parent pointers are derived from entries, but of
// yesterday: as long as the index was not rebuilt it remembers what an entry was.)

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeIndexes
internal import VolumeVerify

/// A parent pointer of the live index.
struct ParentPointer {
    let parent: InodeNumber
    let name: [UInt8]
    let generation: UInt32
}

extension Operations {
    mutating func mendName(
        _ kind: VolumeVerify.PrimaryDefect, _ finding: Finding, _ news: News,
        _ preferences: Preferences
    ) throws -> Mend? {
        let inode = finding.number("inode") ?? 0
        let dir = finding.number("directory") ?? 0
        let name = finding.key.first { $0.name == "name" }?.bytes ?? []
        switch kind {
        case .danglingEntry: return try mendDangling(dir, name, preferences[kind])
        case .entryGeneration: return try mendGeneration(dir, name)
        case .entryType: return try mendType(dir, name, preferences[kind])
        case .entryWithoutDirectory: return try mendStrayEntry(dir, name)
        case .orphanInode: return try mendOrphan(inode, news)
        case .linkCount: return try mendLostNames(inode)
        default: return nil
        }
    }

    // MARK: What the names of an inode are

    /// The parent pointers of an inode, in their order.
    func pointers(to n: InodeNumber, limit: Int = 4096) throws -> [ParentPointer] {
        var result: [ParentPointer] = []
        var cursor = try transaction.readCursor(state.parents.active.table)
        var isThere = try cursor.seek(InodeRecord.key(n).span)
        while isThere, result.count < limit, cursor.key.byteCount >= 8,
            cursor.key.integer(at: 0, as: UInt64.self) == n
        {
            if cursor.key.byteCount > ParentPointers.keyPrefixSize,
                cursor.key.byteCount
                    <= ParentPointers.keyPrefixSize + DirentRecord.maximumNameLength,
                let payload = try? cursor.value.verified(key: cursor.key),
                payload.byteCount == ParentPointers.valueSize
            {
                result.append(
                    ParentPointer(
                        parent: cursor.key.integer(at: 8),
                        name: cursor.key.extracting(
                            droppingFirst: ParentPointers.keyPrefixSize
                        ).array,
                        generation: payload.integer(at: 0)))
            }
            isThere = try cursor.next()
        }
        return result
    }

    /// The pointers that an entry agrees with: names that are there. More of them may be there
    /// than the index knows.
    func names(of n: InodeNumber) throws -> [ParentPointer] {
        try pointers(to: n).filter { try leads($0.parent, $0.name, to: n) }
    }

    /// Whether an entry is there, can be decoded, and leads to the inode.
    func leads(_ dir: InodeNumber, _ name: [UInt8], to n: InodeNumber) throws -> Bool {
        do {
            return try dirent(dir, name)?.child == n
        } catch VolumeError.damaged {
            return false
        }
    }

    /// Whether names can be put into the directory.
    func takesNames(_ dir: InodeNumber) throws -> Bool {
        guard let inode = try readable(dir) else { return false }
        return inode.type == .directory && inode.links > 0
    }

    /// Whether the inode is not there, and may be made again: its number is not free.
    private func isLost(_ n: InodeNumber) throws -> Bool {
        try readable(n) == nil && !isFreeNumber(n)
    }

    /// What the way up from a directory says, by the parent fields of the directories on it.
    enum Way {
        /// It ends at the root, without passing the inode.
        case outside
        /// It passes the inode: a name there would make a circle.
        case inside
        /// A parent field on it contradicts a name, or leads to what is no directory: that comes
        /// first.
        case uncertain
        /// It is longer than what one mend looks up.
        case tooLong
    }

    /// The way up from `dir`: does it pass `n`?
    private func way(from dir: InodeNumber, avoiding n: InodeNumber) throws -> Way {
        var place = dir
        // For circles: the last place looked at whose number on the way was a power of two.
        var mark = dir, next = 1
        for step in 1...4096 {
            if place == .root { return .outside }
            if place == n { return try isProven(from: dir, to: n) ? .inside : .uncertain }
            guard let inode = try readable(place), inode.type == .directory else {
                return .uncertain
            }
            place = inode.parent
            if place == mark { return .uncertain }
            if step == next { (mark, next) = (place, next * 2) }
        }
        return .tooLong
    }

    /// Whether each directory on the way up to `n` has a name in the directory that it takes for
    /// its parent.
    private func isProven(from dir: InodeNumber, to n: InodeNumber) throws -> Bool {
        var place = dir
        while place != n {
            guard let inode = try readable(place), inode.type == .directory,
                try names(ofDirectory: place, inode).contains(where: { $0.parent == inode.parent })
            else { return false }
            place = inode.parent
        }
        return true
    }

    /// Whether the way up from `dir` ends at the root without passing `n`.
    func isOutside(_ n: InodeNumber, _ dir: InodeNumber) throws -> Bool {
        if case .outside = try way(from: dir, avoiding: n) { true } else { false }
    }

    // MARK: Making and taking away a name

    /// A name for an inode that has lost one. Its link count, which counts it already, stays.
    mutating func putName(
        _ n: InodeNumber, _ inode: InodeRecord, _ dir: InodeNumber, _ name: [UInt8],
        countsInParent: Bool
    ) throws {
        var parent = try growingDirectory(dir)
        var inode = inode
        let isNew = try dirent(dir, name) == nil
        if isNew { parent.size += 1 }
        if inode.type == .directory {
            if countsInParent { parent.links &+= 1 }
            inode.parent = dir
            try put(inode, n, usage: .none)
        }
        parent.touch(now)
        try putDirent(
            dir, name, DirentTarget(child: n, generation: inode.generation, type: inode.type))
        try put(parent, dir, usage: .none)
        isMending(n)
        isMending(dir, name)
    }

    /// Takes away an entry that was looked up; what it leads to stays as it is.
    mutating func takeName(
        _ dir: InodeNumber, _ name: [UInt8], _ target: DirentTarget
    ) throws {
        try removeDirent(dir, name, target)
        if var parent = try readable(dir), parent.type == .directory {
            parent.size.countDown()
            if target.type == .directory, parent.links > 2 { parent.links -= 1 }
            parent.touch(now)
            try put(parent, dir, usage: .none)
        }
        isMending(dir, name)
        isMending(target.child)
    }

    /// The directory for what has lost its name, made where there is none.
    mutating func lostAndFound() throws -> InodeNumber {
        for attempt in 0..<64 {
            let name = Array((attempt == 0 ? "lost+found" : "lost+found.\(attempt)").utf8)
            guard try isThere(core.tables.dirents, DirentRecord.key(.root, name.rawSpan).span)
            else {
                let made = try makeDirectory(.root, name, NewInode(permissions: 0o700)).number
                isMending(.root, name)
                return made
            }
            if let target = try? dirent(.root, name), target.type == .directory,
                try takesNames(target.child),
                try readable(target.child)?.generation == target.generation
            {
                return target.child
            }
        }
        throw VolumeError.exists("lost+found in the root, and it is no directory")
    }

    /// Puts the inode into lost+found, under its last name where that is known and free there.
    mutating func putIntoLostAndFound(
        _ n: InodeNumber, _ inode: InodeRecord, _ known: [UInt8]?
    ) throws -> Mend {
        let home = try lostAndFound()
        let number = Array("#\(n)".utf8)
        var names = [number] + (1..<16).map { number + Array(".\($0)".utf8) }
        if let known { names.insert(known, at: 0) }
        for name in names
        where try !isThere(core.tables.dirents, DirentRecord.key(home, name.rawSpan).span) {
            try putName(n, inode, home, name, countsInParent: true)
            return .mended(
                "put into lost+found as \"\(escapedName(name))\"",
                loses: known == nil ? "its name" : "the directory that it was in")
        }
        throw VolumeError.exists("\"#\(n)\" in lost+found")
    }

    // MARK: Inodes without a name

    private mutating func mendOrphan(_ n: InodeNumber, _ news: News) throws -> Mend {
        guard !news.concernsNames(of: n) else { return .changed("its names have changed") }
        guard n != .root, let inode = try inode(n), inode.links > 0 else { return .gone }
        var known: [UInt8]?
        for pointer in try pointers(to: n) where pointer.generation == inode.generation {
            if try leads(pointer.parent, pointer.name, to: n) { return .gone }
            switch try place(for: n, inode, pointer) {
            case .free:
                try putName(n, inode, pointer.parent, pointer.name, countsInParent: false)
                return .mended(
                    "its name \(entryText(pointer.parent, pointer.name)) was put back: inode and "
                        + "parent pointer agree against the missing entry")
            case .uncertain: return .waiting("its name leads to something that is in doubt itself")
            case .taken: known = known ?? pointer.name
            }
        }
        return try putIntoLostAndFound(n, inode, known)
    }

    private enum Place { case free, uncertain, taken }

    /// Whether a name that an inode had is free for it: no entry is there, or one that leads
    /// nowhere.
    private func place(
        for n: InodeNumber, _ inode: InodeRecord, _ pointer: ParentPointer
    ) throws -> Place {
        guard try takesNames(pointer.parent) else {
            return try isLost(pointer.parent) ? .uncertain : .taken
        }
        if inode.type == .directory {
            switch try way(from: pointer.parent, avoiding: n) {
            case .outside: break
            case .inside, .tooLong: return .taken
            case .uncertain: return .uncertain
            }
        }
        let key = DirentRecord.key(pointer.parent, pointer.name.rawSpan)
        guard try isThere(core.tables.dirents, key.span) else { return .free }
        // A damaged entry goes to quarantine first.
        guard let target = try? dirent(pointer.parent, pointer.name) else { return .uncertain }
        guard let other = try readable(target.child) else {
            return try hasInode(target.child) ? .uncertain : .free
        }
        return other.generation == target.generation ? .taken : .uncertain
    }

    /// A file with fewer names than links, of which a parent pointer knows another.
    private mutating func mendLostNames(_ n: InodeNumber) throws -> Mend {
        guard let inode = try inode(n), inode.type != .directory, inode.links > 0 else {
            return .waiting("the run of links counts it")
        }
        var names = 0
        var lost: ParentPointer?
        for pointer in try pointers(to: n) where pointer.generation == inode.generation {
            if try leads(pointer.parent, pointer.name, to: n) {
                names += 1
            } else if lost == nil, case .free = try place(for: n, inode, pointer) {
                lost = pointer
            }
        }
        guard names > 0, UInt64(inode.links) > UInt64(names), let lost else {
            return .waiting("the run of links counts it")
        }
        try putName(n, inode, lost.parent, lost.name, countsInParent: false)
        return .mended(
            "its name \(entryText(lost.parent, lost.name)) was put back: link count and parent "
                + "pointer agree against the missing entry")
    }

    // MARK: Entries

    private mutating func mendDangling(
        _ dir: InodeNumber, _ name: [UInt8], _ preference: String?
    ) throws -> Mend {
        guard let target = try dirent(dir, name), try !hasInode(target.child) else { return .gone }
        let isFree = try isFreeNumber(target.child)
        let remains = try hasRemains(target.child)
        var decision = preference
        if isFree, !remains { decision = "remove" }
        if !isFree { decision = "recreate" }
        switch decision {
        case "remove":
            try takeName(dir, name, target)
            return .mended(
                "the name was removed: "
                    + (isFree && !remains
                        ? "its inode does not exist, and its number is free" : "as preferred"),
                loses: "the name")
        case "recreate":
            try resurrect(target.child, target.type, generation: target.generation, in: dir)
            return .mended(
                "the inode was made again: the entry leads to it, and its number is "
                    + (isFree ? "kept, as preferred" : "not free"),
                loses: "its owner, permissions and times")
        default:
            return .undecided(
                "the number is free, and something of the inode is there all the same",
                [
                    .init("remove", loses: "the name, and what is left of the inode"),
                    .init("recreate", loses: "the inode's owner, permissions and times"),
                ])
        }
    }

    /// Whether any table has something that belongs to the inode.
    func hasRemains(_ n: InodeNumber) throws -> Bool {
        for table in [
            core.tables.extents, core.tables.xattrs, core.tables.symlinks, core.tables.dirents,
        ] where try hasAny(table, n) { return true }
        return false
    }

    /// Makes an inode again whose record is lost, from what is left of it. Its size as a directory,
    /// its blocks and its links are counted by the next survey.
    mutating func resurrect(
        _ n: InodeNumber, _ type: FileType, generation: UInt32, in dir: InodeNumber
    ) throws {
        var inode = InodeRecord(type: type, now: now)
        inode.generation = generation
        inode.permissions = type == .directory ? 0o700 : 0o600
        inode.links = type == .directory ? 2 : 1
        if type == .directory { inode.parent = dir }
        if type == .regular, let last = try? lastExtent(n, .data) {
            inode.size = min(last.offsetEnd, FormatLimits.bytes / blockSize) * blockSize
        }
        if type == .symlink, let target = try? symlink(n) { inode.size = UInt64(target.count) }
        try put(inode, n, usage: .new)
        counters.inodes &+= 1
        if counters.nextInode <= n { counters.nextInode = n + 1 }
        _ = try transaction.delete(core.tables.freeInodes, InodeRecord.key(n).span)
        isMending(n)
    }

    private mutating func mendGeneration(_ dir: InodeNumber, _ name: [UInt8]) throws -> Mend {
        guard let target = try dirent(dir, name), var inode = try inode(target.child),
            inode.generation != target.generation
        else { return .gone }
        let pointers = try pointers(to: target.child)
        let pointer = pointers.first { $0.parent == dir && $0.name == name }
        let others = try names(of: target.child).filter { other in
            guard other.parent != dir || other.name != name else { return false }
            return try dirent(other.parent, other.name)?.generation == inode.generation
        }
        let mustBe = inode.type == .directory ? 1 : UInt64(inode.links)
        if UInt64(others.count) >= mustBe, pointer?.generation != inode.generation {
            try takeName(dir, name, target)
            return .mended(
                "the name was removed: the inode has as many other names of its generation as "
                    + "links", loses: "the name")
        }
        if let pointer, pointer.generation == target.generation, others.isEmpty {
            inode.generation = target.generation
            try put(inode, target.child, usage: .none)
            isMending(target.child)
            return .mended(
                "the inode's generation was set to \(target.generation): entry and parent pointer "
                    + "agree against it")
        }
        var right = target
        right.generation = inode.generation
        try putDirent(dir, name, right)
        isMending(dir, name)
        return .mended(
            "the entry's generation was set to \(inode.generation): "
                + (pointer?.generation == inode.generation
                    ? "inode and parent pointer agree against it"
                    : "the inode's link count counts the name"))
    }

    private mutating func mendType(
        _ dir: InodeNumber, _ name: [UInt8], _ preference: String?
    ) throws -> Mend {
        guard let target = try dirent(dir, name), var inode = try inode(target.child),
            inode.type != target.type
        else { return .gone }
        let n = target.child
        let others = try names(of: n).filter { $0.parent != dir || $0.name != name }
        var forEntry = 1, forInode = 1
        for other in others {
            guard let type = try dirent(other.parent, other.name)?.type else { continue }
            if type == target.type { forEntry += 1 }
            if type == inode.type { forInode += 1 }
        }
        if let contents = try typeOfContents(n) {
            if contents == target.type { forEntry += 1 }
            if contents == inode.type { forInode += 1 }
        }
        let decision =
            forEntry > forInode ? "entry" : forInode > forEntry ? "inode" : preference
        switch decision {
        case "inode":
            var right = target
            right.type = inode.type
            try putDirent(dir, name, right)
            isMending(dir, name)
            return .mended("the entry's type was set to \(inode.type), by \(forInode) witnesses")
        case "entry":
            inode.type = target.type
            inode.parent = target.type == .directory ? dir : 0
            if target.type != .characterDevice, target.type != .blockDevice { inode.device = 0 }
            try put(inode, n, usage: .none)
            isMending(n)
            return .mended("the inode's type was set to \(target.type), by \(forEntry) witnesses")
        default:
            return .undecided(
                "entry and inode disagree, and the inode has no contents",
                [
                    .init("entry", loses: "that it was a \(inode.type)"),
                    .init("inode", loses: "that it was a \(target.type)"),
                ])
        }
    }

    /// What an inode is by what is stored of it; nil where that is nothing, or of two types.
    func typeOfContents(_ n: InodeNumber) throws -> FileType? {
        var types: [FileType] = []
        if try hasAny(core.tables.dirents, n) { types.append(.directory) }
        if try hasAny(core.tables.symlinks, n) { types.append(.symlink) }
        if try !extents(n, .data, from: 0, to: .max, limit: 1).isEmpty { types.append(.regular) }
        return types.count == 1 ? types[0] : nil
    }

    /// An entry below what is no directory.
    private mutating func mendStrayEntry(_ dir: InodeNumber, _ name: [UInt8]) throws -> Mend {
        guard let target = try dirent(dir, name) else { return .gone }
        if let inode = try inode(dir) {
            if inode.type == .directory, inode.links > 0 { return .gone }
            if inode.type == .directory { return .waiting("its link count is 0: that comes first") }
            for other in try names(of: dir)
            where try dirent(other.parent, other.name)?.type == .directory {
                return .waiting("whether it is a directory is in doubt")
            }
            try takeName(dir, name, target)
            return .mended(
                "the entry was removed: what it is below is a \(inode.type)",
                loses: "the name; what it led to goes to lost+found")
        }
        // The inode is lost. Where a name leads to it, that says of which generation it was.
        for other in try names(of: dir) {
            guard let own = try dirent(other.parent, other.name), own.type == .directory else {
                continue
            }
            try resurrect(dir, .directory, generation: own.generation, in: other.parent)
            return .mended(
                "the directory was made again: its own name and the entries below it agree",
                loses: "its owner, permissions and times")
        }
        if dir >= counters.nextInode {
            if try highest(core.tables.inodes) >= counters.nextInode {
                return .waiting("the next number of an inode is wrong: that comes first")
            }
            try takeName(dir, name, target)
            return .mended(
                "the entry was removed: no directory ever had the number \(dir)",
                loses: "the name; what it led to goes to lost+found")
        }
        let generation = counters.nextGeneration
        counters.nextGeneration &+= 1
        try resurrect(dir, .directory, generation: generation, in: .root)
        return .mended(
            "the directory was made again for the entries below it: removing them would lose more",
            loses: "its owner, permissions and times")
    }
}
