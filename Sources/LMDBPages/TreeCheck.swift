// One tree, from its root to its leaves, in the order of its keys.

/// Where a key lies: in the buffer of a level.
private struct KeyPlace {
    let level: Int
    let range: Range<Int>
}

final class TreeCheck {
    private let tree: TreeName
    private let table: String
    private let record: TableRecord
    private let pageSize: Int
    private let depth: Int
    /// The pages from the root to where the walk is.
    private var levels: [PageBuffer] = []
    /// Which halves of words a page's nodes have taken.
    private var taken: [UInt64]
    /// What was found, to be compared with what the record counts.
    private var branchPages: UInt64 = 0, leafPages: UInt64 = 0, overflowPages: UInt64 = 0
    private var entries: UInt64 = 0
    /// Findings before this tree: its counts are judged where it has none of its own.
    private var findingsBefore: UInt64 = 0

    init(_ tree: TreeName, _ record: TableRecord, _ pageSize: Int) {
        self.tree = tree
        table = tree.name
        self.record = record
        self.pageSize = pageSize
        depth = Int(record.depth)
        taken = Array(repeating: 0, count: pageSize / 128)
    }

    func run(_ walk: inout PageWalk) {
        findingsBefore = walk.report.count
        guard record.root != PageLayout.noRoot, depth > 0, depth <= PageLayout.deepest else {
            if record.root == PageLayout.noRoot { compareCounts(&walk) }
            return
        }
        for _ in 0..<depth { levels.append(PageBuffer(size: pageSize)) }
        visit(record.root, 0, from: nil, to: nil, &walk)
        if walk.report.isComplete, walk.report.count == findingsBefore { compareCounts(&walk) }
    }

    // MARK: Pages

    /// Looks at a page, and at those below it.
    /// - Parameters:
    ///   - from: its keys are not below this one.
    ///   - to: its keys are below this one.
    private func visit(
        _ number: UInt64, _ level: Int, from: KeyPlace?, to: KeyPlace?, _ walk: inout PageWalk
    ) {
        guard walk.claim(number, table) else { return }
        let isLeaf = level == depth - 1
        if isLeaf, walk.scope == .branches, case .table = tree {
            leafPages += 1
            return
        }
        let page = levels[level]
        guard walk.mayGoOn(), walk.read(number, into: page, table),
            let nodes = checkHead(page, number, isLeaf: isLeaf, &walk),
            checkNodes(page, number, nodes, isLeaf: isLeaf, &walk)
        else { return }
        checkKeys(number, level, nodes, isLeaf: isLeaf, from: from, to: to, &walk)
        if isLeaf {
            leafPages += 1
            for node in 0..<nodes { checkValue(page, number, node, &walk) }
            entries += UInt64(nodes)
            return
        }
        branchPages += 1
        var low = from
        for node in 0..<nodes {
            let high = node + 1 < nodes ? KeyPlace(level: level, range: key(page, node + 1)) : to
            visit(child(page, node), level + 1, from: low, to: high, &walk)
            guard walk.report.isComplete else { return }
            low = high
        }
    }

    /// - Returns: the number of nodes; nil, and it is reported, where the page can't be one.
    private func checkHead(
        _ page: PageBuffer, _ number: UInt64, isLeaf: Bool, _ walk: inout PageWalk
    ) -> Int? {
        let own: UInt64 = page.load(0), flags: UInt16 = page.load(PageLayout.flags)
        let wanted = isLeaf ? PageLayout.leaf : PageLayout.branch
        guard flags == wanted else {
            walk.find(
                .wrongFlags, number, table, PageLayout.name(flags), PageLayout.name(wanted))
            return nil
        }
        guard own == number else {
            walk.find(.wrongNumber, number, table, "number \(own)", "number \(number)")
            return nil
        }
        let lower = Int(page.load(PageLayout.lower, as: UInt16.self))
        let upper = Int(page.load(PageLayout.upper, as: UInt16.self))
        guard lower >= PageLayout.headSize, lower % 2 == 0, lower <= upper, upper <= pageSize,
            upper % 2 == 0
        else {
            walk.find(
                .bounds, number, table, "free space from \(lower) to \(upper)",
                "even, from \(PageLayout.headSize) to \(pageSize)")
            return nil
        }
        let nodes = (lower - PageLayout.headSize) / 2
        guard nodes > 0 else {
            walk.find(.noNodes, number, table, "no nodes", "one at least")
            return nil
        }
        // liblmdb asserts it of all trees but that of the free pages (mdb_page_search_root).
        if !isLeaf, nodes < 2, tree != .freePages {
            walk.find(.branchOfOne, number, table, "one child", "two at least")
            return nil
        }
        return nodes
    }

    // MARK: Nodes

    private func offset(_ page: PageBuffer, _ node: Int) -> Int {
        Int(page.load(PageLayout.headSize + 2 * node, as: UInt16.self))
    }

    private func key(_ page: PageBuffer, _ node: Int) -> Range<Int> {
        let start = offset(page, node)
        let size = Int(page.load(start + 6, as: UInt16.self))
        return start + PageLayout.nodeHead..<start + PageLayout.nodeHead + size
    }

    private func child(_ page: PageBuffer, _ node: Int) -> UInt64 {
        let start = offset(page, node)
        return UInt64(page.load(start, as: UInt16.self))
            | UInt64(page.load(start + 2, as: UInt16.self)) << 16
            | UInt64(page.load(start + 4, as: UInt16.self)) << 32
    }

    /// Bytes of a leaf's value, wherever it lies.
    private func valueSize(_ page: PageBuffer, _ node: Int) -> UInt64 {
        let start = offset(page, node)
        return UInt64(page.load(start, as: UInt16.self))
            | UInt64(page.load(start + 2, as: UInt16.self)) << 16
    }

    private func nodeFlags(_ page: PageBuffer, _ node: Int) -> UInt16 {
        page.load(offset(page, node) + 4)
    }

    /// Places and sizes of all nodes: after it they may be read.
    private func checkNodes(
        _ page: PageBuffer, _ number: UInt64, _ nodes: Int, isLeaf: Bool, _ walk: inout PageWalk
    ) -> Bool {
        let upper = Int(page.load(PageLayout.upper, as: UInt16.self))
        for index in taken.indices { taken[index] = 0 }
        var total = 0
        for node in 0..<nodes {
            let start = offset(page, node)
            guard start >= upper, start % 2 == 0, start <= pageSize - PageLayout.nodeHead else {
                walk.find(
                    .nodeOffset, number, table, "node \(node) at \(start)",
                    "an even offset from \(upper) to \(pageSize - PageLayout.nodeHead)")
                return false
            }
            guard let size = nodeSize(page, number, node, isLeaf: isLeaf, &walk) else {
                return false
            }
            guard size <= pageSize - start else {
                walk.find(
                    .nodeSize, number, table, "node \(node) at \(start) with \(size) bytes",
                    "up to \(pageSize - start)")
                return false
            }
            guard take(start, size) else {
                walk.find(
                    .nodeOverlap, number, table, "node \(node) at \(start) inside another",
                    "nodes beside each other")
                return false
            }
            total += size
        }
        guard total == pageSize - upper else {
            walk.find(
                .nodeOverlap, number, table, "nodes of \(total) bytes", "\(pageSize - upper) bytes")
            return false
        }
        return true
    }

    /// Bytes that the node takes in its page; nil, and it is reported, where it can't be one.
    private func nodeSize(
        _ page: PageBuffer, _ number: UInt64, _ node: Int, isLeaf: Bool, _ walk: inout PageWalk
    ) -> Int? {
        let keySize = key(page, node).count
        // Nobody looks at the first key of a branch page.
        let isKeyWrong = isLeaf || node > 0 ? keySize == 0 : false
        guard !isKeyWrong, keySize <= PageLayout.longestKey else {
            walk.find(
                .keySize, number, table, "node \(node) with a key of \(keySize) bytes",
                "1 to \(PageLayout.longestKey)")
            return nil
        }
        var size = PageLayout.nodeHead + keySize
        if isLeaf {
            let flags = nodeFlags(page, node)
            let isTable = tree == .tables
            guard isTable ? flags == PageLayout.table : flags & ~PageLayout.large == 0 else {
                walk.find(
                    .nodeFlags, number, table, "node \(node) with flags \(flags)",
                    isTable ? "\(PageLayout.table)" : "0, or 1 for a large value")
                return nil
            }
            let value = flags & PageLayout.large != 0 ? 8 : valueSize(page, node)
            guard value <= UInt64(pageSize) else {
                walk.find(
                    .nodeSize, number, table, "node \(node) with \(value) bytes in its page",
                    "less than a page")
                return nil
            }
            size += Int(value)
            guard size <= PageLayout.largestNode(pageSize) else {
                walk.find(
                    .nodeSize, number, table, "node \(node) with \(size) bytes in its page",
                    "up to \(PageLayout.largestNode(pageSize))")
                return nil
            }
        }
        return (size + 1) & ~1
    }

    /// Notes that a node takes these bytes; false where another has one of them.
    private func take(_ start: Int, _ size: Int) -> Bool {
        for half in start / 2..<(start + size) / 2 {
            let bit: UInt64 = 1 << UInt64(half % 64)
            guard taken[half / 64] & bit == 0 else { return false }
            taken[half / 64] |= bit
        }
        return true
    }

    // MARK: Keys

    private func checkKeys(
        _ number: UInt64, _ level: Int, _ nodes: Int, isLeaf: Bool, from: KeyPlace?, to: KeyPlace?,
        _ walk: inout PageWalk
    ) {
        let page = levels[level]
        let first = isLeaf ? 0 : 1
        guard first < nodes else { return }
        if tree == .freePages {
            for node in first..<nodes where key(page, node).count != 8 {
                walk.find(
                    .keySize, number, table, "a key of \(key(page, node).count) bytes", "8")
                return
            }
        }
        for node in first + 1..<max(nodes, first + 1) {
            let before = KeyPlace(level: level, range: key(page, node - 1))
            guard order(before, KeyPlace(level: level, range: key(page, node))) < 0 else {
                walk.find(
                    .keyOrder, number, table, "node \(node) not above the one before it",
                    "ascending keys")
                return
            }
        }
        let lowest = KeyPlace(level: level, range: key(page, first))
        let highest = KeyPlace(level: level, range: key(page, nodes - 1))
        if let from, order(lowest, from) < 0 {
            walk.find(
                .keyRange, number, table, "a first key below that of the branch page above",
                "a key within it")
        } else if let to, order(highest, to) >= 0 {
            walk.find(
                .keyRange, number, table, "a last key that belongs to the page after it",
                "a key within it")
        }
    }

    private func order(_ a: KeyPlace, _ b: KeyPlace) -> Int {
        let one = levels[a.level], other = levels[b.level]
        guard tree == .freePages else { return one.compare(a.range, other, b.range) }
        // Keys of 8 bytes, both: a branch page is left behind where one is not.
        guard a.range.count == 8, b.range.count == 8 else { return 0 }
        let x: UInt64 = one.load(a.range.lowerBound), y: UInt64 = other.load(b.range.lowerBound)
        return x < y ? -1 : x == y ? 0 : 1
    }

    // MARK: Values

    private func checkValue(
        _ page: PageBuffer, _ number: UInt64, _ node: Int, _ walk: inout PageWalk
    ) {
        let place = key(page, node), size = valueSize(page, node)
        if nodeFlags(page, node) & PageLayout.large != 0 {
            let first: UInt64 = page.load(place.upperBound)
            guard let isWhole = claimOverflow(first, size, &walk), isWhole else { return }
            if tree == .freePages {
                let value = FreeList(
                    key: page.load(place.lowerBound), size: size, leaf: number)
                value.check(overflow: first, &walk)
            }
        } else if tree == .freePages {
            let value = FreeList(key: page.load(place.lowerBound), size: size, leaf: number)
            value.check(page, at: place.upperBound, &walk)
        } else if tree == .tables {
            checkTable(page, number, place, size, &walk)
        }
    }

    /// - Returns: whether the pages of a large value are all there, and nobody else's; nil where
    ///   there is no first one.
    private func claimOverflow(
        _ first: UInt64, _ size: UInt64, _ walk: inout PageWalk
    ) -> Bool? {
        guard walk.claim(first, table) else { return nil }
        let page = PageBuffer(size: PageLayout.headSize)
        guard walk.read(first, into: page, table) else { return nil }
        let flags: UInt16 = page.load(PageLayout.flags), own: UInt64 = page.load(0)
        guard flags == PageLayout.overflow else {
            walk.find(
                .wrongFlags, first, table, PageLayout.name(flags),
                PageLayout.name(PageLayout.overflow))
            return nil
        }
        guard own == first else {
            walk.find(.wrongNumber, first, table, "number \(own)", "number \(first)")
            return nil
        }
        let count = UInt64(page.load(PageLayout.overflowPages, as: UInt32.self))
        let needed = PageLayout.overflowPages(size, pageSize)
        guard count >= needed else {
            walk.find(
                .overflow, first, table, "\(count) pages",
                "\(needed) for a value of \(size) bytes")
            return nil
        }
        overflowPages += count
        guard count - 1 <= walk.lastPage - first else {
            walk.find(
                .beyondLastPage, first, table, "\(count) overflow pages",
                "up to page \(walk.lastPage)")
            return nil
        }
        for next in 1..<max(count, 1) where !walk.claim(first + next, table) { return false }
        return true
    }

    /// The record of a table, and its tree.
    private func checkTable(
        _ page: PageBuffer, _ number: UInt64, _ name: Range<Int>, _ size: UInt64,
        _ walk: inout PageWalk
    ) {
        let tree = TreeName.table(printable(page.bytes(name)))
        guard size == UInt64(PageLayout.tableSize) else {
            walk.find(
                .tableRecord, number, tree.name, "\(size) bytes", "\(PageLayout.tableSize)")
            return
        }
        let record = TableRecord(page, at: name.upperBound)
        guard walk.checkRecord(record, tree) else { return }
        TreeCheck(tree, record, pageSize).run(&walk)
    }

    private func compareCounts(_ walk: inout PageWalk) {
        var counts = [
            ("branch pages", record.branchPages, branchPages),
            ("leaf pages", record.leafPages, leafPages),
        ]
        if walk.scope == .all || !isNamed {
            counts.append(("overflow pages", record.overflowPages, overflowPages))
            counts.append(("entries", record.entries, entries))
        }
        for (what, recorded, found) in counts where recorded != found {
            walk.find(
                .counts, nil, table, "a record of \(recorded) \(what)", "\(found)")
        }
    }

    private var isNamed: Bool {
        if case .table = tree { true } else { false }
    }
}

/// A name as text, with what can't be printed as `\xHH`.
private func printable(_ bytes: [UInt8]) -> String {
    bytes.map { byte in
        (0x21..<0x7f).contains(byte) && byte != UInt8(ascii: "\\")
            ? String(UnicodeScalar(byte)) : "\\x" + (byte < 16 ? "0" : "") + String(byte, radix: 16)
    }.joined()
}
