// One record of the list of free pages: those that a transaction has freed. Its key is the
// transaction's number, its value the number of pages, and then these, in descending order, u64
// each. The value may be longer than its list.

struct FreeList {
    let key: UInt64
    /// Bytes of the value.
    let size: UInt64
    /// The page where the record stands.
    let leaf: UInt64

    /// - Parameter offset: where the value begins in the page.
    func check(_ page: PageBuffer, at offset: Int, _ walk: inout PageWalk) {
        guard size >= 8 else { return tooLong(0, &walk) }
        let count: UInt64 = page.load(offset)
        guard isWithin(count) else { return tooLong(count, &walk) }
        var before = UInt64.max
        for index in 0..<Int(count) {
            guard note(page.load(offset + 8 + 8 * index), &before, &walk) else { return }
        }
    }

    /// - Parameter first: the first of its overflow pages, all of which lie within the file.
    func check(overflow first: UInt64, _ walk: inout PageWalk) {
        let pageSize = walk.pageSize
        let page = PageBuffer(size: pageSize)
        guard walk.read(first, into: page, TreeName.freePages.name) else { return }
        let count: UInt64 = page.load(PageLayout.headSize)
        guard isWithin(count) else { return tooLong(count, &walk) }
        var before = UInt64.max
        var place = PageLayout.headSize + 8, number = first
        for _ in 0..<count {
            // Head and page numbers have 8 bytes: none lies across the end of a page.
            if place == pageSize {
                number += 1
                guard walk.mayGoOn(), walk.read(number, into: page, TreeName.freePages.name)
                else { return }
                place = 0
            }
            guard note(page.load(place), &before, &walk) else { return }
            place += 8
        }
    }

    private func isWithin(_ count: UInt64) -> Bool { count <= size / 8 - 1 }

    private func tooLong(_ count: UInt64, _ walk: inout PageWalk) {
        walk.find(
            .freeList, leaf, TreeName.freePages.name, "\(count) pages in a value of \(size) bytes",
            "8 bytes for each, and 8")
    }

    private func note(
        _ page: UInt64, _ before: inout UInt64, _ walk: inout PageWalk
    ) -> Bool {
        guard page < before else {
            walk.find(
                .freeOrder, leaf, TreeName.freePages.name, "page \(page) after \(before)",
                "a lower one")
            return false
        }
        before = page
        walk.free(page, listedBy: key, at: leaf)
        return true
    }
}
