// Sorted tables of the tree in memory. They are searched far more often than anything else is
// done, so a search looks at numbers in one array, and at an object only where those are equal.

internal import Bytes

protocol MemoryElement: AnyObject {
    var key: [UInt8] { get }
    var hash: UInt64 { get }
}

extension MemoryElement {
    var keyBytes: KeyBytes {
        let key = key
        return KeyBytes(key.rawSpan)
    }

    /// Order of the keys: below 0, 0, above 0.
    func compare(_ other: RawSpan) -> Int {
        let key = key
        return compareBytes(key.rawSpan, other)
    }
}

/// The first bytes of a key as numbers, shorter keys filled with zeroes: two keys with
/// different starts are ordered as their starts are.
struct KeyStart: Equatable {
    let words: (UInt64, UInt64, UInt64, UInt64)

    init(_ key: RawSpan) {
        words = (
            KeyStart.word(key, 0), KeyStart.word(key, 8), KeyStart.word(key, 16),
            KeyStart.word(key, 24)
        )
    }

    @inline(__always)
    private static func word(_ key: RawSpan, _ offset: Int) -> UInt64 {
        if offset + 8 <= key.byteCount { return key.integer(at: offset) }
        var word: UInt64 = 0
        var place = offset
        while place < key.byteCount {
            word |= UInt64(key.integer(at: place, as: UInt8.self)) << (56 - 8 * (place - offset))
            place += 1
        }
        return word
    }

    @inline(__always)
    static func == (a: KeyStart, b: KeyStart) -> Bool { a.words == b.words }

    @inline(__always)
    static func < (a: KeyStart, b: KeyStart) -> Bool {
        if a.words.0 != b.words.0 { return a.words.0 < b.words.0 }
        if a.words.1 != b.words.1 { return a.words.1 < b.words.1 }
        if a.words.2 != b.words.2 { return a.words.2 < b.words.2 }
        return a.words.3 < b.words.3
    }
}

/// Elements in the order of their keys, no key twice, and the sum of their hashes.
struct MemoryTable<Element: MemoryElement>: RandomAccessCollection {
    private struct Item {
        let start: KeyStart
        let element: Element

        init(_ element: Element) {
            let key = element.key
            start = KeyStart(key.rawSpan)
            self.element = element
        }
    }

    private var items: [Item] = []
    private(set) var sum: UInt64 = 0

    var startIndex: Int { 0 }
    var endIndex: Int { items.count }
    subscript(place: Int) -> Element { items[place].element }

    // MARK: Searching

    /// The place of the first element whose key is at or above `key`.
    func firstPlace(atOrAbove key: RawSpan) -> Int { firstPlace(KeyStart(key), key) }

    private func firstPlace(_ start: KeyStart, _ key: RawSpan) -> Int {
        var low = 0, high = items.count
        while low < high {
            let middle = (low + high) / 2
            let found = items[middle].start
            let isBelow =
                found == start ? items[middle].element.compare(key) < 0 : found < start
            if isBelow { low = middle + 1 } else { high = middle }
        }
        return low
    }

    private func isThere(_ start: KeyStart, _ key: RawSpan, at place: Int) -> Bool {
        place < items.count && items[place].start == start
            && items[place].element.compare(key) == 0
    }

    func find(_ key: RawSpan) -> Element? {
        let start = KeyStart(key)
        let place = firstPlace(start, key)
        return isThere(start, key, at: place) ? items[place].element : nil
    }

    // MARK: Changing

    /// - Returns: the element that had the key before.
    @discardableResult
    mutating func put(_ element: Element) -> Element? {
        let item = Item(element)
        let key = element.key
        let place = firstPlace(item.start, key.rawSpan)
        sum &+= element.hash
        guard isThere(item.start, key.rawSpan, at: place) else {
            items.insert(item, at: place)
            return nil
        }
        let old = items[place].element
        sum &-= old.hash
        items[place] = item
        return old
    }

    @discardableResult
    mutating func remove(_ key: RawSpan) -> Element? {
        let start = KeyStart(key)
        let place = firstPlace(start, key)
        guard isThere(start, key, at: place) else { return nil }
        let old = items.remove(at: place).element
        sum &-= old.hash
        return old
    }

    /// Appends an element above all that are there.
    /// - Returns: false, and nothing changes, where it isn't.
    mutating func append(_ element: Element) -> Bool {
        let key = element.key
        if let last = items.last?.element, last.compare(key.rawSpan) >= 0 { return false }
        items.append(Item(element))
        sum &+= element.hash
        return true
    }

    mutating func removeLast(_ number: Int) {
        for item in items.suffix(number) { sum &-= item.element.hash }
        items.removeLast(Swift.min(number, items.count))
    }
}
