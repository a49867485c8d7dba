// Damage to the indexes of a tree in memory, and a look at its contents.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

extension MemoryStage {
    // MARK: Damage

    func damage(_ damage: Damage) throws {
        guard let slot = tree.indexes.firstIndex(where: { $0.name == damage.index }) else {
            throw StageError.refused("damage of \(damage.index): the store has no such index")
        }
        let entry =
            switch IndexSlot(slot) {
            case VolumeSlots.rmap: try mapping(damage)
            case VolumeSlots.parents: try parentPointer(damage)
            default: try view.summaries.entry(of: damage) { try inode(of: $0) }
            }
        let value = damage.kind == .missing ? nil : entry.value
        let table = tree.current.state.servedEntries(of: IndexSlot(slot))
        guard (table.find(entry.key.rawSpan) != nil) == (damage.kind != .stray) else {
            throw StageError.refused(
                "\(damage.kind.rawValue) \(damage.index): the live index "
                    + (damage.kind == .stray ? "has this entry already" : "has no such entry"))
        }
        _ = tree.alter(IndexSlot(slot), key: entry.key, value: value)
    }

    private func parentPointer(_ damage: Damage) throws -> Entry {
        guard case .entry(let name) = damage.place.part else {
            throw StageError.refused("damage of parents is done to an entry: DIRECTORY:NAME")
        }
        let directory = try inode(of: damage.place)
        let bytes = Array(name.utf8)
        var child = TreeLayout.strayChild, generation = TreeLayout.strayGeneration
        if damage.kind != .stray {
            guard let target = target(directory, bytes) else {
                throw StageError.refused("\(name) in inode \(directory) does not exist")
            }
            child = target.child
            generation =
                damage.kind == .wrong
                ? TreeLayout.wrong(generation: target.generation) : target.generation
        }
        let key = ParentPointers.key(child: child, parent: directory, name: bytes.rawSpan)
        let value = ParentPointers.value(generation: generation)
        return Entry(key: key.span.array, value: value.span.array)
    }

    private func mapping(_ damage: Damage) throws -> Entry {
        guard case .extent(let block) = damage.place.part else {
            throw StageError.refused("damage of rmap is done to an extent: PATH@BLOCK")
        }
        let inode = try inode(of: damage.place)
        var extent = TreeLayout.strayExtent(inode, block)
        if damage.kind != .stray {
            guard let found = self.extent(of: inode, at: block) else {
                throw StageError.refused("inode \(inode) has no extent at block \(block)")
            }
            extent = damage.kind == .wrong ? TreeLayout.wrong(found) : found
        }
        let key = ReverseMap.key(extent), value = ReverseMap.value(extent)
        return Entry(key: key.span.array, value: value.span.array)
    }

    // MARK: Contents

    func digest() throws -> String { contents().digest }

    func contents() -> TreeContents {
        let state = tree.current.state
        var contents = TreeContents()
        func add(_ number: InodeNumber, _ path: [UInt8]) {
            guard let inode = state.inode(number) else {
                preconditionFailure("a name leads to an inode")
            }
            contents.items.append(
                TreeContents.Item(
                    path: path, type: inode.type, links: inode.links,
                    extents: state.records.compactMap(\.extent)
                        .filter { $0.inode == number }))
        }
        let slash = UInt8(ascii: "/")
        add(.root, [slash])
        // A stack, not recursion: a tree may be deep. No directory has two names.
        var pending: [(inode: InodeNumber, path: [UInt8])] = [(.root, [])]
        while let directory = pending.popLast() {
            for (name, target) in state.names(in: directory.inode) {
                let path = directory.path + [slash] + name
                add(target.child, path)
                if target.type == .directory { pending.append((target.child, path)) }
            }
        }
        return contents
    }

    // MARK: The end

    func close() throws -> [String] {
        let state = tree.current.state
        // Counts that were damaged are what an index of their own is about.
        let areLinksRight = !scenario.damage.contains { $0.index == "links" }
        return state.problems(blocks: blocks, areLinksRight: areLinksRight)
    }

    // MARK: Scopes

    func scope(_ description: ScopeDescription) throws -> Scope {
        switch description {
        case .inode(let path):
            let number = try inode(of: Place(path: path))
            return Scope(label: "inode \(number)", records: MemoryStage.ranges(of: [number]))
        case .subtree(let path):
            let top = try inode(of: Place(path: path))
            var inodes: Set<InodeNumber> = [top]
            var pending = [top]
            while let directory = pending.popLast() {
                for (_, target) in tree.current.state.names(in: directory)
                where inodes.insert(target.child).inserted { pending.append(target.child) }
            }
            return Scope(
                label: "subtree \(words(path))", records: MemoryStage.ranges(of: inodes.sorted()))
        case .blocks(let start, let count):
            let reach = UInt64(ExtentRecord.maximumLength) - 1
            func key(_ block: UInt64) -> [UInt8] { FreeRecord.key(start: block).span.array }
            return Scope(
                label: "blocks \(start):\(count)",
                indexRange: Scope.IndexRange(
                    lower: key(start), upper: key(start + count),
                    lowest: key(start - min(start, reach))))
        }
    }

    /// All records of `inodes`, which ascend.
    private static func ranges(of inodes: [InodeNumber]) -> RecordRanges {
        var ranges = RecordRanges()
        for inode in inodes {
            let lower = KeyBytes(InodeRecord.key(inode).span)
            ranges.append(
                KeyRange(lower: lower, upper: KeyBytes(InodeRecord.key(inode + 1).span)))
        }
        return ranges
    }
}

extension MemoryState {
    /// The entries of a directory, in order.
    func names(in directory: InodeNumber) -> [(name: [UInt8], target: DirentTarget)] {
        let key = PrimaryKey.dirent(directory, RawSpan())
        let first = records.firstPlace(atOrAbove: key.span)
        var result: [(name: [UInt8], target: DirentTarget)] = []
        for record in records[first...] {
            guard let target = record.target, record.inode == directory else { break }
            result.append((Array(record.key[PrimaryKey.prefixSize...]), target))
        }
        return result
    }

    /// What is wrong with the primary records, in words.
    func problems(blocks: UInt64, areLinksRight: Bool = true) -> [String] {
        blockProblems(blocks: blocks) + (areLinksRight ? linkProblems : [])
    }

    /// Each block is free or has one owner.
    private func blockProblems(blocks: UInt64) -> [String] {
        var problems: [String] = []
        var runs = free.map { (start: $0.start, end: $0.end) }
        runs += records.compactMap(\.extent).map { ($0.start, $0.startEnd) }
        runs.sort { $0.start < $1.start }
        var next: UInt64 = 0
        for run in runs {
            if run.start != next {
                problems.append("blocks from \(min(run.start, next)) have no owner, or two")
            }
            next = run.end
        }
        if next != blocks { problems.append("blocks from \(min(next, blocks)) have no owner") }
        if free.reduce(0, { $0 + $1.length }) != freeBlocks {
            problems.append("the count of free blocks, \(freeBlocks), is wrong")
        }
        return problems
    }

    /// Each inode has the links that lead to it.
    private var linkProblems: [String] {
        var problems: [String] = []
        var links: [InodeNumber: UInt32] = [.root: 2]
        for record in records {
            guard let target = record.target else { continue }
            links[target.child, default: 0] += target.type == .directory ? 2 : 1
            guard target.type == .directory else { continue }
            links[record.inode, default: 0] += 1
        }
        for inode in inodes where inode.links != links[inode.number] ?? 0 {
            problems.append(
                "inode \(inode.number) has \(inode.links) links, not \(links[inode.number] ?? 0)")
        }
        return problems
    }
}
