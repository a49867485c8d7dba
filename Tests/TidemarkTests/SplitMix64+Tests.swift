// The same seed, the same test.

import Bytes

extension SplitMix64 {
    init(seed: Int) { self.init(seed: UInt64(bitPattern: Int64(seed)) &* 0x9e37_79b9_7f4a_7c15) }

    mutating func chance(_ probability: Double) -> Bool {
        Double.random(in: 0..<1, using: &self) < probability
    }
}
