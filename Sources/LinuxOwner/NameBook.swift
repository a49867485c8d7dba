// Which inodes a name has led to: what the kernel does not say when a name is pointed elsewhere.
//
// An event `replace` names directory, name and the new inode C, but the entry that has to go is
// that of the old one. At the time t of the event the name leads to C and nowhere else; so for
// every other inode X "X has no such name in this directory" is true at t. It is enough, then, to
// say that of each X that the shadow may hold under this name. The book knows them: whoever gives
// the shadow an entry, a read or an event, enters it first.
//
// Buffers and reads arrive in no common order. So an entry may come when a replacement that is
// newer than it is already behind us. Whoever enters it is told the time of that: from then on the
// entry is not true, and that is to be said too. Leaving the entry out would not do: a look at the
// live index that saw it would find no news of it, and take it for a stray one.
//
// A name that is not in the book when it is replaced, and any when the book is full, costs a
// reading of its directory. Names are told apart by 128 bits of two hashes with seeds of the
// process.

internal import Bytes
internal import Synchronization

final class NameBook: Sendable {
    private struct Key: Hashable {
        let first, second: UInt64

        func hash(into hasher: inout Hasher) { hasher.combine(first) }
    }

    private struct Entry {
        var inode: UInt64
        /// The last replacement, and what it led to. 0: none.
        var replaced: UInt64 = 0
        var replacement: UInt64 = 0
    }

    private struct Shard {
        var entries: [Key: Entry] = [:]
        /// Further inodes of a name.
        var more: [Key: [UInt64]] = [:]
    }

    /// A mutex each.
    private final class Shelf: Sendable { let shard = Mutex(Shard()) }
    private let shelves = (0..<16).map { _ in Shelf() }
    private let limit: Int
    private let seeds = (UInt64.random(in: 1 ... .max), UInt64.random(in: 1 ... .max))

    /// - Parameter limit: names, each of some 60 bytes.
    init(limit: Int = 2_000_000) { self.limit = max(1, limit / 16) }

    private func key(_ directory: UInt64, _ name: RawSpan) -> Key {
        var first = directory ^ seeds.0, second = directory &+ seeds.1
        var place = 0
        while place < name.byteCount {
            let word = leading(name, place)
            first = mixed(first ^ word)
            second = mixed(second &+ word &* 0x9e37_79b9_7f4a_7c15)
            place += 8
        }
        return Key(
            first: mixed(first ^ UInt64(name.byteCount)),
            second: mixed(second &+ UInt64(name.byteCount)))
    }

    private func mixed(_ value: UInt64) -> UInt64 {
        let (high, low) = value.multipliedFullWidth(by: 0xd6e8_feb8_6659_fd93)
        return high ^ low ^ value >> 29
    }

    private func shelf(_ key: Key) -> Shelf { shelves[Int(key.second & 15)] }

    /// Enters what a read or an event of the time `stamp` says.
    /// - Returns: the time of a newer replacement, since which it is not true any more; nil: none.
    func note(
        _ directory: UInt64, _ name: RawSpan, _ inode: UInt64, at stamp: UInt64
    ) -> UInt64? {
        let key = key(directory, name)
        return shelf(key).shard.withLock { shard in
            guard let entry = shard.entries[key] else {
                enter(Entry(inode: inode), key, &shard)
                return nil
            }
            add(inode, key, entry, &shard)
            return entry.replaced > stamp && entry.replacement != inode ? entry.replaced : nil
        }
    }

    /// Enters that at `stamp` the name was made to lead to `inode`.
    /// - Parameter body: called with each other inode that the name has led to since it was last
    ///   replaced.
    /// - Returns: whether these are all; and the time of a newer replacement, as `note`.
    func replace(
        _ directory: UInt64, _ name: RawSpan, _ inode: UInt64, at stamp: UInt64,
        _ body: (UInt64) -> Void
    ) -> (isKnown: Bool, untrueSince: UInt64?) {
        let key = key(directory, name)
        return shelf(key).shard.withLock { shard in
            guard var entry = shard.entries[key] else {
                enter(
                    Entry(inode: inode, replaced: stamp, replacement: inode), key, &shard)
                return (false, nil)
            }
            if entry.inode != inode { body(entry.inode) }
            for other in shard.more[key] ?? [] where other != inode { body(other) }
            if entry.replaced > stamp {
                add(inode, key, entry, &shard)
                return (true, entry.replacement == inode ? nil : entry.replaced)
            }
            // Of the others it has been said: who is entered from now on is told of this one.
            entry = Entry(inode: inode, replaced: stamp, replacement: inode)
            shard.entries[key] = entry
            shard.more[key] = nil
            return (true, nil)
        }
    }

    private func enter(_ entry: Entry, _ key: Key, _ shard: inout Shard) {
        if shard.entries.count < limit { shard.entries[key] = entry }
    }

    private func add(_ inode: UInt64, _ key: Key, _ entry: Entry, _ shard: inout Shard) {
        guard entry.inode != inode else { return }
        var more = shard.more[key] ?? []
        if more.contains(inode) { return }
        // Of a name that has led to very many the first are forgotten with all that is known.
        if more.count >= 256 {
            shard.entries[key] = nil
            shard.more[key] = nil
            return
        }
        more.append(inode)
        shard.more[key] = more
    }
}
