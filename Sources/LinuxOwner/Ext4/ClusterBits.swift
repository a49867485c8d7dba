// Sets of clusters or inodes: one bit each, in memory that is not there before it is written to.

#if canImport(Glibc)
internal import Glibc
#endif

@safe
final class BitSet {
    let count: Int
    private let words: UnsafeMutablePointer<UInt64>

    /// - Returns: nil where there is no memory.
    init?(_ count: Int) {
        self.count = count
        guard let memory = unsafe calloc(count / 64 + 1, 8) else { return nil }
        unsafe words = memory.bindMemory(to: UInt64.self, capacity: count / 64 + 1)
    }

    deinit { unsafe free(words) }

    @inline(__always)
    subscript(_ place: Int) -> Bool {
        get {
            precondition(place >= 0 && place < count)
            return unsafe words[place >> 6] & 1 << UInt64(place & 63) != 0
        }
        set {
            precondition(place >= 0 && place < count)
            let bit: UInt64 = 1 << UInt64(place & 63)
            // Not written where nothing changes: untouched pages cost no memory.
            if newValue {
                unsafe words[place >> 6] |= bit
            } else if unsafe words[place >> 6] & bit != 0 {
                unsafe words[place >> 6] &= ~bit
            }
        }
    }

    func word(_ place: Int) -> UInt64 {
        precondition(place >= 0 && place <= count / 64)
        return unsafe words[place]
    }

    func forEach(_ body: (Int) throws -> Void) rethrows {
        for place in 0...count / 64 {
            var left = word(place)
            while left != 0 {
                let bit = left.trailingZeroBitCount
                if place * 64 + bit < count { try body(place * 64 + bit) }
                left &= left - 1
            }
        }
    }

    /// Whether both have a bit in the same place; they are of one size.
    func meets(_ other: BitSet) -> Bool {
        precondition(count == other.count)
        return (0...count / 64).contains { word($0) & other.word($0) != 0 }
    }

    var isEmpty: Bool { (0...count / 64).allSatisfy { word($0) == 0 } }
    var ones: Int { (0...count / 64).reduce(0) { $0 + word($1).nonzeroBitCount } }
}
