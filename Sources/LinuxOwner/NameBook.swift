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
// live index that saw it would find no news of it, and take it for a stray one. Where two are
// behind us it is not known since when it is not true. The time of the last one would leave the
// entry true in between, and a look there would take it for a missing one: the directory is read
// again.
//
// Each inode of a name is known with the time of its statement. A replacement ends those that are
// older than itself. One that is younger may have arrived before it, from another buffer: that one
// stays in the book for the next replacement.
//
// A name that is not in the book when it is replaced, any when the book is full, and one of which
// inodes were forgotten, costs a reading of its directory. Names are told apart by 128 bits of two
// hashes with seeds of the process.

internal import Bytes
internal import Synchronization

final class NameBook: Sendable {
    private struct Key: Hashable {
        let first, second: UInt64

        func hash(into hasher: inout Hasher) { hasher.combine(first) }
    }

    /// That the name led to `inode` at `stamp`.
    private struct Claim {
        let inode: UInt64
        var stamp: UInt64
    }

    private struct Entry {
        var claim: Claim
        /// The last replacement, and what it led to. 0: none.
        var replaced: UInt64 = 0
        var replacement: UInt64 = 0
        /// The one before it. 0: none.
        var before: UInt64 = 0
        /// The newest of the claims that are forgotten. 0: none is.
        var forgotten: UInt64 = 0
    }

    /// What is known of a statement when it is entered.
    enum Truth: Hashable {
        /// No replacement is behind us that says otherwise.
        case stands
        /// A newer replacement has ended it.
        case untrue(since: UInt64)
        /// One of several newer replacements has ended it.
        case open
    }

    private struct Shard {
        var entries: [Key: Entry] = [:]
        /// Further claims of a name.
        var more: [Key: [Claim]] = [:]
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
    func note(
        _ directory: UInt64, _ name: RawSpan, _ inode: UInt64, at stamp: UInt64
    ) -> Truth {
        let key = key(directory, name)
        return shelf(key).shard.withLock { shard in
            guard let entry = shard.entries[key] else {
                enter(Entry(claim: Claim(inode: inode, stamp: stamp)), key, &shard)
                return .stands
            }
            add(Claim(inode: inode, stamp: stamp), key, entry, &shard)
            return truth(of: inode, at: stamp, entry)
        }
    }

    /// Where the last replacement led to the inode itself, that is a newer statement of it.
    private func truth(of inode: UInt64, at stamp: UInt64, _ entry: Entry) -> Truth {
        guard entry.replaced > stamp, entry.replacement != inode else { return .stands }
        return entry.before > stamp ? .open : .untrue(since: entry.replaced)
    }

    /// Enters that at `stamp` the name was made to lead to `inode`.
    /// - Parameter body: called with each other inode that the name has led to since it was last
    ///   replaced.
    /// - Returns: whether these are all; and what is known of the new entry.
    func replace(
        _ directory: UInt64, _ name: RawSpan, _ inode: UInt64, at stamp: UInt64,
        _ body: (UInt64) -> Void
    ) -> (isKnown: Bool, truth: Truth) {
        let key = key(directory, name)
        return shelf(key).shard.withLock { shard in
            let claim = Claim(inode: inode, stamp: stamp)
            guard let entry = shard.entries[key] else {
                enter(Entry(claim: claim, replaced: stamp, replacement: inode), key, &shard)
                return (false, .stands)
            }
            let claims = [entry.claim] + (shard.more[key] ?? [])
            for other in claims where other.inode != inode { body(other.inode) }
            let isKnown = entry.forgotten == 0
            if entry.replaced > stamp {
                add(claim, key, entry, &shard)
                shard.entries[key]?.before = max(entry.before, stamp)
                return (isKnown, truth(of: inode, at: stamp, entry))
            }
            // Of what is older it has been said: who is entered from now on is told of this one.
            shard.entries[key] = Entry(
                claim: claim, replaced: stamp, replacement: inode, before: entry.replaced,
                forgotten: entry.forgotten > stamp ? entry.forgotten : 0)
            let younger = claims.filter { $0.stamp > stamp && $0.inode != inode }
            shard.more[key] = younger.isEmpty ? nil : younger
            return (isKnown, .stands)
        }
    }

    private func enter(_ entry: Entry, _ key: Key, _ shard: inout Shard) {
        if shard.entries.count < limit { shard.entries[key] = entry }
    }

    private func add(_ claim: Claim, _ key: Key, _ entry: Entry, _ shard: inout Shard) {
        if entry.claim.inode == claim.inode {
            if entry.claim.stamp < claim.stamp { shard.entries[key]?.claim.stamp = claim.stamp }
            return
        }
        var more = shard.more[key] ?? []
        if let place = more.firstIndex(where: { $0.inode == claim.inode }) {
            more[place].stamp = max(more[place].stamp, claim.stamp)
        } else {
            // Of a name that has led to very many the oldest are forgotten.
            if more.count >= NameBook.claims {
                more.sort { $0.stamp < $1.stamp }
                let half = more.count / 2
                shard.entries[key]?.forgotten = max(entry.forgotten, more[half - 1].stamp)
                more.removeFirst(half)
            }
            more.append(claim)
        }
        shard.more[key] = more
    }

    /// Claims of one name, beside the first.
    static let claims = 256
}
