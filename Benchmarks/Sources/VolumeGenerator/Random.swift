// SplitMix64: the same volume for the same seed, on every machine.

struct Random: Sendable {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    /// A stream of its own for one object.
    init(seed: UInt64, object: Int) {
        state = seed ^ (UInt64(truncatingIfNeeded: object) &* 0xd134_2543_de82_ef95)
        _ = next()
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }

    /// From 0 to below `bound`.
    mutating func below(_ bound: Int) -> Int {
        Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// From 0 to below 1.
    mutating func fraction() -> Double { Double(next() >> 11) * 0x1p-53 }

    mutating func chance(oneIn n: Int) -> Bool { below(n) == 0 }

    mutating func shuffle(_ elements: inout [UInt32]) {
        var i = elements.count - 1
        while i > 0 {
            elements.swapAt(i, below(i + 1))
            i -= 1
        }
    }
}
