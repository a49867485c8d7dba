// Which inodes the open group has changed: whoever reads one of these looks into the group, and not
// into a snapshot of the last commit. Some others may be taken for them.

internal import Synchronization
internal import VolumeFormat

final class TouchedInodes: Sendable {
    private final class Word: Sendable {
        let bits = Atomic<UInt64>(0)
    }

    private let words = (0..<256).map { _ in Word() }

    private func place(_ n: InodeNumber) -> (word: Int, bit: UInt64) {
        let hash = (n &* 0x9E37_79B9_7F4A_7C15) >> 50
        return (Int(hash >> 6), 1 << (hash & 63))
    }

    /// In the writer's turn, before the change.
    func insert(_ n: InodeNumber) {
        let (word, bit) = place(n)
        words[word].bits.bitwiseOr(bit, ordering: .sequentiallyConsistent)
    }

    func contains(_ n: InodeNumber) -> Bool {
        let (word, bit) = place(n)
        return words[word].bits.load(ordering: .sequentiallyConsistent) & bit != 0
    }

    /// After the commit, which every snapshot sees that begins from here on.
    func removeAll() {
        for word in words where word.bits.load(ordering: .relaxed) != 0 {
            word.bits.store(0, ordering: .sequentiallyConsistent)
        }
    }
}
