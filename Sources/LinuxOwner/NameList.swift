// The parent pointers of one inode, to be put into the order of their keys.

internal import Bytes

/// Names with a number and a generation. Reused for one inode after the other.
final class NameList {
    struct Item {
        let parent: UInt64
        let generation: UInt32
        let start, length: Int
        /// One with the same parent and name comes before it.
        var isRepeated = false
        /// The first of several with the same parent and name, which are not of one generation.
        var isDoubled = false
    }

    private(set) var items: [Item] = []
    private var bytes: [UInt8] = []

    func removeAll() {
        items.removeAll(keepingCapacity: true)
        bytes.removeAll(keepingCapacity: true)
    }

    func append(_ parent: UInt64, _ generation: UInt32, _ name: RawSpan) {
        let start = bytes.count
        for place in 0..<name.byteCount { bytes.append(name.integer(at: place)) }
        items.append(
            Item(parent: parent, generation: generation, start: start, length: name.byteCount))
    }

    /// How many differ in parent or name.
    var distinct: Int { items.reduce(0) { $0 + ($1.isRepeated ? 0 : 1) } }

    private func name(of item: Item) -> ArraySlice<UInt8> {
        bytes[item.start..<item.start + item.length]
    }

    func sort() {
        guard items.count > 1 else { return }
        items.sort { a, b in
            if a.parent != b.parent { return a.parent < b.parent }
            return name(of: a).lexicographicallyPrecedes(name(of: b))
        }
        var first = 0
        for place in 1..<items.count {
            guard items[place].parent == items[first].parent,
                name(of: items[place]) == name(of: items[first])
            else {
                first = place
                continue
            }
            items[place].isRepeated = true
            if items[place].generation != items[first].generation { items[first].isDoubled = true }
        }
    }

    /// Calls `body` with each, in order, until it returns false.
    func forEach(_ body: (Item, RawSpan) throws -> Bool) rethrows {
        let bytes = self.bytes
        let all = bytes.rawSpan
        for item in items {
            let name = all.extracting(item.start..<item.start + item.length)
            guard try body(item, name) else { return }
        }
    }
}
