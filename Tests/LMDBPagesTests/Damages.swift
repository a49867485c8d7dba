// The ways to break each rule.

import LMDBPages

extension PageCheckTests {
    static let damages: [Damage] = files + pages + orders + lists

    private static let files: [Damage] = [
        Damage(.noMeta, "an empty file", branches: true) { $0.bytes = [] },
        Damage(.noMeta, "one page", branches: true) { $0.bytes.removeLast($0.bytes.count - 4096) },
        Damage(.metaFlags, "a page of zeroes", branches: true) { image in
            for offset in 0..<4096 { image.bytes[4096 + offset] = 0 }
        },
        Damage(.metaFlags, "another page's number", branches: true) { $0.store(9 as UInt64, 0) },
        Damage(.metaFormat, "the magic number", branches: true) { $0.store(9 as UInt32, 16) },
        Damage(.metaFormat, "the version", branches: true) { $0.store(2 as UInt32, 4096 + 20) },
        Damage(.metaPageSize, "no power of two", branches: true) { $0.store(4097 as UInt32, 40) },
        Damage(.metaPageSize, "another than in page 0", branches: true) {
            $0.store(8192 as UInt32, 4096 + 40)
        },
        Damage(.metaMapSize, "a map of nothing", branches: true) {
            $0.store(0 as UInt64, $0.meta + 32)
        },
        Damage(.metaCommit, "all ones", branches: true) { $0.store(UInt64.max, 144) },
        Damage(.metaLastPage, "page 0", branches: true) { $0.store(0 as UInt64, $0.meta + 136) },
        Damage(.metaLastPage, "all ones", branches: true) {
            $0.store(UInt64.max, $0.meta + 136)
        },
        Damage(.tableRecord, "flags of sorted duplicates", in: "table deep", branches: true) {
            $0.store(4 as UInt16, $0.record("deep") + 4)
        },
        Damage(.tableRecord, "a root without a depth", in: "table deep", branches: true) {
            $0.store(0 as UInt16, $0.record("deep") + 6)
        },
        Damage(.tableRecord, "a depth without a root", in: "table empty", branches: true) {
            $0.store(1 as UInt16, $0.record("empty") + 6)
        },
        Damage(.tableRecord, "a pad", in: "table small", branches: true) {
            $0.store(8 as UInt32, $0.record("small"))
        },
        Damage(.tableRecord, "a record of another size", branches: true) { image in
            // The name takes two bytes of the record.
            let start = image.record("deep") - 4 - 8
            image.store(46 as UInt16, start)
            image.store(6 as UInt16, start + 6)
        },
        Damage(.depth, "33 levels", in: "table deep", branches: true) {
            $0.store(33 as UInt16, $0.record("deep") + 6)
        },
    ]

    private static let pages: [Damage] = [
        Damage(.beyondLastPage, "a root", in: "table deep", branches: true) {
            $0.store($0.lastPage + 1, $0.record("deep") + 40)
        },
        Damage(.beyondLastPage, "a meta page as the root", in: "table deep", branches: true) {
            $0.store(1 as UInt64, $0.record("deep") + 40)
        },
        Damage(.beyondLastPage, "a child", in: "table deep", branches: true) {
            $0.store(0x7fff as UInt16, $0.node($0.root("deep"), 1) + 4)
        },
        Damage(.beyondFile, "half of the file", branches: true) {
            $0.bytes.removeLast($0.bytes.count / 4096 / 2 * 4096)
        },
        Damage(.wrongNumber, "a leaf", in: "table deep") {
            $0.store(3 as UInt64, $0.leaf("deep", 1))
        },
        Damage(.wrongNumber, "overflow pages", in: "table large") {
            $0.store(3 as UInt64, overflow($0))
        },
        Damage(.wrongFlags, "a leaf of zeroes", in: "table deep") { image in
            let leaf = image.leaf("deep", 1, 1)
            for offset in 0..<4096 { image.bytes[leaf + offset] = 0 }
        },
        Damage(.wrongFlags, "a branch as a leaf", in: "table deep", branches: true) {
            $0.store(2 as UInt16, $0.root("deep") + 10)
        },
        Damage(.wrongFlags, "a leaf as a branch", in: "table small") {
            $0.store(1 as UInt16, $0.root("small") + 10)
        },
        Damage(.wrongFlags, "a depth that is one too large", in: "table deep") {
            let place = $0.record("deep") + 6
            $0.store($0.load(place, as: UInt16.self) + 1, place)
        },
        Damage(.wrongFlags, "overflow pages as a leaf", in: "table large") {
            $0.store(2 as UInt16, overflow($0) + 10)
        },
        Damage(.bounds, "lower above upper", in: "table deep") {
            $0.store(4095 as UInt16, $0.leaf("deep") + 12)
        },
        Damage(.bounds, "lower in the head", in: "table deep", branches: true) {
            $0.store(2 as UInt16, $0.root("deep") + 12)
        },
        Damage(.bounds, "upper beyond the page", in: "table deep") {
            $0.store(4098 as UInt16, $0.leaf("deep") + 14)
        },
        Damage(.nodeOffset, "in the free space", in: "table deep") {
            $0.store(16 as UInt16, $0.leaf("deep") + 16)
        },
        Damage(.nodeOffset, "beyond the page", in: "table deep") {
            $0.store(4096 as UInt16, $0.leaf("deep") + 16)
        },
        Damage(.nodeOffset, "odd", in: "table deep") {
            let place = $0.leaf("deep") + 16
            $0.store($0.load(place, as: UInt16.self) + 1, place)
        },
        Damage(.nodeSize, "a value beyond its page", in: "table deep") {
            $0.store(0xffff as UInt16, $0.node($0.leaf("deep"), 0) + 2)
        },
        Damage(.nodeSize, "a value longer than a leaf holds", in: "table small") {
            $0.store(2500 as UInt16, $0.node($0.leaf("small"), 0))
        },
        Damage(.nodeSize, "a key across the end", in: "table small") { image in
            // The node that was put first lies at the end.
            let leaf = image.leaf("small")
            let last = (0..<image.nodes(leaf)).max { image.node(leaf, $0) < image.node(leaf, $1) }!
            image.store(400 as UInt16, image.node(leaf, last) + 6)
        },
        Damage(.nodeFlags, "a table in a table", in: "table deep") {
            $0.store(2 as UInt16, $0.node($0.leaf("deep"), 0) + 4)
        },
        Damage(.nodeFlags, "a plain record among the tables", in: "the tables", branches: true) {
            $0.store(0 as UInt16, $0.node(PageImage.page($0.load($0.meta + 128)), 0) + 4)
        },
        Damage(.nodeOverlap, "two at one place", in: "table deep") {
            let leaf = $0.leaf("deep")
            $0.store($0.load(leaf + 16, as: UInt16.self), leaf + 18)
        },
        Damage(.nodeOverlap, "a gap", in: "table deep") {
            let place = $0.leaf("deep") + 14
            $0.store($0.load(place, as: UInt16.self) - 2, place)
        },
        Damage(.keySize, "an empty key", in: "table deep") {
            $0.store(0 as UInt16, $0.node($0.leaf("deep"), 1) + 6)
        },
        Damage(.keySize, "a key of 512 bytes", in: "table deep") {
            $0.store(512 as UInt16, $0.node($0.leaf("deep"), 1) + 6)
        },
        Damage(.keySize, "a free page's key", in: "the free pages", branches: true) { image in
            let node = image.node(image.freeLeaf, 0)
            image.store(6 as UInt16, node + 6)
            image.store(image.load(node, as: UInt16.self) + 2, node)
        },
        Damage(.noNodes, "a leaf", in: "table deep") {
            $0.store(16 as UInt16, $0.leaf("deep") + 12)
        },
        Damage(.branchOfOne, "a branch", in: "table deep", branches: true) {
            $0.store(18 as UInt16, $0.root("deep") + 12)
        },
    ]

    private static let orders: [Damage] = [
        Damage(.reachedTwice, "two children", in: "table deep", branches: true) { image in
            let root = image.root("deep")
            image.store(image.load(image.node(root, 0), as: UInt32.self), image.node(root, 1))
        },
        Damage(.reachedTwice, "a circle", in: "table deep", branches: true) { image in
            let root = image.root("deep")
            image.store(UInt32(root / 4096), image.node(image.child(root, 0), 0))
        },
        Damage(.reachedTwice, "another table's root", branches: true) { image in
            let root: UInt64 = image.load(image.record("deep") + 40)
            image.store(root, image.record("small") + 40)
        },
        Damage(.keyOrder, "two keys of a leaf", in: "table deep") { image in
            let leaf = image.leaf("deep")
            let first = image.load(leaf + 16, as: UInt16.self)
            image.store(image.load(leaf + 18, as: UInt16.self), leaf + 16)
            image.store(first, leaf + 18)
        },
        Damage(.keyOrder, "two keys of a branch", in: "table deep", branches: true) { image in
            let node = image.node(image.child(image.root("deep"), 0), 2)
            image.bytes[node + 8] = 0xff
        },
        Damage(.keyRange, "a first key", in: "table deep") { image in
            let node = image.node(image.leaf("deep", 1, 1), 0)
            for offset in 0..<8 { image.bytes[node + 8 + offset] = 0 }
        },
        Damage(.keyRange, "a last key", in: "table deep") { image in
            let leaf = image.leaf("deep", 0, 1)
            image.bytes[image.node(leaf, image.nodes(leaf) - 1) + 8] = 1
        },
        Damage(.overflow, "one page for a large value", in: "table large") {
            $0.store(1 as UInt32, overflow($0) + 12)
        },
        Damage(.beyondLastPage, "overflow pages without end", in: "table large") {
            $0.store(UInt32.max, overflow($0) + 12)
        },
        Damage(.counts, "branch pages", in: "table deep", branches: true) { add(&$0, 8) },
        Damage(.counts, "leaf pages", in: "table deep", branches: true) { add(&$0, 16) },
        Damage(.counts, "overflow pages", in: "table deep") { add(&$0, 24) },
        Damage(.counts, "entries", in: "table deep") { add(&$0, 32) },
        Damage(.counts, "entries of an empty table", in: "table empty") { image in
            image.store(5 as UInt64, image.record("empty") + 32)
        },
    ]

    private static let lists: [Damage] = [
        Damage(.freeList, "longer than its record", in: "the free pages", branches: true) {
            $0.store(1 << 40 as UInt64, $0.freeList)
        },
        Damage(.freeList, "a length that overflows", in: "the free pages", branches: true) {
            $0.store(UInt64.max, $0.freeList)
        },
        Damage(.freeRange, "a meta page", in: "the free pages", branches: true) { image in
            let place = image.freeList, count = Int(image.load(place, as: UInt64.self))
            image.store(1 as UInt64, place + 8 * count)
        },
        Damage(.freeRange, "beyond the last page", in: "the free pages", branches: true) {
            $0.store($0.lastPage + 1, $0.freeList + 8)
        },
        Damage(.freeOrder, "ascending", in: "the free pages", branches: true) { image in
            let place = image.freeList
            image.store(image.load(place + 8, as: UInt64.self), place + 16)
        },
        Damage(.freeTwice, "in two records", in: "the free pages", branches: true) { image in
            let node = image.node(image.freeLeaf, 1)
            precondition(image.nodes(image.freeLeaf) > 1, "several lists")
            precondition(image.load(node + 4, as: UInt16.self) == 0, "a short list")
            let other = node + 16
            image.store(1 as UInt64, other)
            image.store(image.load(image.freeList + 8, as: UInt64.self), other + 8)
        },
        Damage(.freeInUse, "a root", branches: true) { image in
            let place = image.freeList, count = Int(image.load(place, as: UInt64.self))
            // The list descends: what is put in the place of the last must be the lowest.
            image.store(1 as UInt64, place)
            image.store(image.load(image.record("deep") + 40, as: UInt64.self), place + 8)
            precondition(count > 1, "a list")
        },
    ]

    /// The overflow pages of a value in the table `large`.
    private static func overflow(_ image: PageImage) -> Int {
        let leaf = image.leaf("large"), node = image.node(leaf, image.nodes(leaf) - 1)
        return PageImage.page(image.load(node + 8 + 108))
    }

    private static func add(_ image: inout PageImage, _ offset: Int) {
        let place = image.record("deep") + offset
        image.store(image.load(place, as: UInt64.self) + 1, place)
    }
}
