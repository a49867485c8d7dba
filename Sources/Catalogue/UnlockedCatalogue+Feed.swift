// The events of a catalogue that nobody can lock, as a feed.

internal import Bytes
package import Synchronization
internal import Threads
package import Tidemark

extension UnlockedCatalogue {
    /// A subscription. Its buffers are the catalogue's: there is one at a time.
    package final class Feed: ChangeFeed {
        private let catalogue: UnlockedCatalogue
        private let receiver: any ChangeReceiver
        private let deltas = Mutex(Held())
        /// The only buffer that is looked into; nil: all of them, in turn. For a player.
        package let only = Mutex<Int?>(nil)

        private struct Held: ~Copyable {
            var deltas = StampedDeltas()
        }

        init(_ catalogue: UnlockedCatalogue, _ receiver: any ChangeReceiver) {
            self.catalogue = catalogue
            self.receiver = receiver
        }

        package var buffers: Int { catalogue.state.withLock { $0.buffers.count } }

        package func poll(limit: Int) throws -> Bool {
            var left = limit, isAny = false
            let all = only.withLock { $0 }.map { $0..<($0 + 1) } ?? 0..<buffers
            for buffer in all {
                while left > 0, let item = take(buffer) {
                    isAny = true
                    left -= 1
                    deliver(item, buffer)
                }
            }
            return isAny
        }

        /// The first item of a buffer; of an empty one the loss at its end.
        private func take(_ buffer: Int) -> Item? {
            catalogue.state.withLock { state in
                guard !state.buffers[buffer].items.isEmpty else {
                    return state.buffers[buffer].lost.take().map { .loss(from: $0.from, to: $0.to) }
                }
                let item = state.buffers[buffer].items.removeFirst()
                if case .loss = item { return item }
                state.buffers[buffer].taken -= 1
                return item
            }
        }

        private func deliver(_ item: Item, _ buffer: Int) {
            switch item {
            case .event(let stamp, let change):
                deltas.withLock { held in
                    held.deltas.removeAll()
                    change.report(to: &held.deltas, at: stamp)
                    receiver.deliver(held.deltas, from: buffer)
                }
                receiver.delivered(upTo: stamp, in: buffer)
            case .loss(let from, let to): receiver.lost(from: from, to: to, in: buffer)
            case .marker(let stamp): receiver.delivered(upTo: stamp, in: buffer)
            }
        }

        package func mark() throws -> SequenceNumber {
            let tellsLoss = catalogue.mistake.withLock { $0 != .tellsLossesAtTheirEnd }
            return catalogue.state.withLock { state in
                let stamp = catalogue.now()
                for buffer in state.buffers.indices {
                    state.put(
                        .marker(stamp), stamp, into: buffer, room: catalogue.capacity,
                        tellsLoss: tellsLoss)
                }
                return stamp
            }
        }

        package func end() {
            catalogue.state.withLock { state in
                state.subscriptions -= 1
                for buffer in state.buffers.indices { state.buffers[buffer] = Buffer() }
            }
        }

        /// The catalogue reports nothing any more: its events could not be turned on again.
        package func fail(_ reason: String) { receiver.ended(reason) }
    }
}

extension UnlockedCatalogue.Change {
    func report(to deltas: inout StampedDeltas, at stamp: SequenceNumber) {
        let primary = tagging.primaryKey
        for slot in 0..<2 {
            let entry = derive(slot, tagging, weight)
            let key = KeyBytes(entry.key), value = KeyBytes(entry.value)
            if isPresent {
                deltas.add(
                    IndexSlot(slot), primary: primary.span, key: key.span, value: value.span,
                    at: stamp)
            } else {
                deltas.remove(IndexSlot(slot), primary: primary.span, key: key.span, at: stamp)
            }
        }
    }
}
