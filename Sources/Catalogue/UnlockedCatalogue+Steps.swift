// For whoever plays races on a catalogue that nobody can lock. An adopter needs nothing of this.

internal import Bytes
package import Tidemark
internal import Threads

extension UnlockedCatalogue {
    /// A promise of `UnlockedOwner` that the catalogue breaks on purpose.
    package enum Mistake: Sendable {
        case readsWithoutLock
        case tellsLossesAtTheirEnd
    }

    /// All that a catalogue holds, at one moment.
    package struct Image {
        fileprivate let state: State
        fileprivate let time: UInt64
    }

    package var image: Image { state.withLock { Image(state: $0, time: time) } }

    /// As it was.
    package func restore(_ image: Image) {
        state.withLock { $0 = image.state }
        time = image.time
    }

    /// Whether the operation could lock what it touches.
    package func canBegin(_ operation: Operation) -> Bool {
        state.withLock { $0.canLock(operation.items) }
    }

    /// Whether the next record of `range` could be read without waiting for anybody.
    package func canRead(_ range: KeyRange) -> Bool {
        state.withLock { !$0.isLocked(upToFirstOf: range) }
    }

    /// Whether a live index could be read without waiting for anybody.
    package var canReadIndex: Bool { state.withLock { $0.pending.isEmpty } }

    /// Whether a buffer holds anything that has not been fetched, losses included.
    package func hasItems(in buffer: Int) -> Bool {
        state.withLock { !$0.buffers[buffer].items.isEmpty || $0.buffers[buffer].lost != nil }
    }

    /// Whether every event that was stamped has been fetched, and every change is made.
    package var isAtRest: Bool {
        state.withLock { state in
            state.pending.isEmpty
                && state.buffers.allSatisfy { $0.items.isEmpty && $0.lost == nil }
        }
    }

    /// Items that nobody may read now.
    package var withheld: Set<UInt64> { state.withLock { $0.withheld } }

    package var subscriptions: Int { state.withLock { $0.subscriptions } }

    /// A number for what the buffer holds, and the times in it, in order: what of it matters is how
    /// they are ordered among all times.
    package func contents(of buffer: Int) -> (words: [UInt64], times: [SequenceNumber]) {
        state.withLock { state in
            var words: [UInt64] = [], times: [SequenceNumber] = []
            for item in state.buffers[buffer].items {
                switch item {
                case .event(let stamp, let change):
                    words += [1, change.fingerprint]
                    times.append(stamp)
                case .loss(let from, let to):
                    words.append(2)
                    times += [from, to]
                case .marker(let stamp):
                    words.append(3)
                    times.append(stamp)
                }
            }
            if let lost = state.buffers[buffer].lost {
                words.append(4)
                times += [lost.from, lost.to]
            }
            return (words, times)
        }
    }

    /// When items were last changed, where that is asked for after a loss.
    package var changeTimes: [(item: UInt64, time: SequenceNumber)] {
        guard knowsChanges else { return [] }
        return state.withLock { state in
            state.changed.sorted { $0.key < $1.key }.map { ($0.key, $0.value) }
        }
    }

    /// Equal for equal records, indexes and changes under way.
    package var fingerprint: UInt64 {
        state.withLock { state in
            var sum: UInt64 = 0
            for (tagging, weight) in state.records {
                sum &+= Change(tagging: tagging, weight: weight, isPresent: true).fingerprint
            }
            for (slot, entries) in state.entries.enumerated() {
                for (key, value) in entries {
                    var hash = Fingerprint()
                    hash.add(UInt64(slot))
                    hash.add(key)
                    hash.add(value)
                    sum &+= hash.value
                }
            }
            for change in state.pending.values { sum &+= change.fingerprint &* 3 }
            for item in state.withheld {
                var hash = Fingerprint()
                hash.add(item)
                sum &+= hash.value &* 7
            }
            for item in state.locked.keys {
                var hash = Fingerprint()
                hash.add(item)
                sum &+= hash.value &* 5
            }
            return sum
        }
    }
}

extension UnlockedCatalogue.Change {
    fileprivate var fingerprint: UInt64 {
        var hash = Fingerprint()
        hash.add(tagging.item)
        hash.add(tagging.tag)
        hash.add(UInt64(weight) << 1 | (isPresent ? 1 : 0))
        return hash.value
    }
}
