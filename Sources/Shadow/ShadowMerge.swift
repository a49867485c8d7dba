// The shadow index in key order: the ordered merge of all sorted runs, in which the newest
// item of each key wins, voids hide what is older, and keys whose newest item says "absent"
// do not appear.
//
// The merge is a tournament (Knuth, TAOCP 3, 5.4.1, "tree of losers"): one comparison for
// each level of the tree and entry, mostly of two integers.

package import Bytes
package import Contract
package import Entries

/// One run's place in the merge.
package struct RunSource: ~Copyable {
    private let reader: any RunReader
    private var chunk: ByteArena
    private var position = 0
    /// Prefix of the current record. Only meaningful while not exhausted.
    package private(set) var prefix: UInt64 = 0
    package private(set) var isExhausted = false

    package init(_ reader: any RunReader, chunkBytes: Int) {
        self.reader = reader
        chunk = ByteArena(capacity: chunkBytes)
    }

    /// The record where the source stands, good until it moves.
    @inline(__always)
    package var record: Record { unsafe Record(chunk.base(at: position)) }

    /// To the first record whose key is at or after `key`.
    package mutating func seek(_ key: KeyBytes) throws {
        isExhausted = try !reader.seek(key, into: &chunk)
        position = 0
        if !isExhausted { prefix = record.prefix }
        while !isExhausted, compareBytes(record.key, key.span) < 0 { try advance() }
    }

    @inline(__always)
    package mutating func advance() throws {
        position += record.size
        if position >= chunk.count { try nextChunk() }
        if !isExhausted { prefix = record.prefix }
    }

    /// Whether `record` is gone when the source moves.
    @inline(__always)
    package var isAtEndOfChunk: Bool { position + record.size >= chunk.count }

    private mutating func nextChunk() throws {
        isExhausted = try !reader.next(into: &chunk)
        position = 0
    }

    /// Order of the merge: keys ascending, of one key the newest first, the exhausted last.
    @inline(__always)
    package func precedes(_ other: borrowing RunSource) -> Bool {
        if isExhausted || other.isExhausted { return !isExhausted }
        if prefix != other.prefix { return prefix < other.prefix }
        return record.precedes(other.record)
    }
}

/// A reader of the shadow index, from a key to another. Used by one thread at a time.
@safe
package final class ShadowMerge {
    // Sources and tournament lie behind pointers, not in arrays of the class: no check for
    // exclusive access, no retain and release, for each record.
    private let sources: UnsafeMutablePointer<RunSource>
    private let count: Int
    /// `losers[1..<count]`: at each inner node of the tournament the source that lost there.
    private let losers: UnsafeMutablePointer<Int>
    private var winner = 0
    private let voids: RangeMap
    /// Keeps the runs from being dropped.
    private let lease: RunLease?
    private let index: any SecondaryIndex
    /// The last record that was decided: later ones of its key are older, and skipped. It is
    /// in its source's chunk, or where that has moved on to the next one, in `kept`.
    private var last: Record?
    private var lastPrefix: UInt64 = 0
    private let kept: UnsafeMutablePointer<ByteArena>

    package init(
        _ runs: [SortedRun], in store: any SideStore, voids: RangeMap,
        index: any SecondaryIndex, from key: KeyBytes = KeyBytes(),
        chunkBytes: Int = ChunkList.chunkSize, lease: RunLease? = nil
    ) throws {
        self.lease = lease
        let readers = try store.readers(of: runs.map(\.number))
        count = readers.count
        unsafe sources = .allocate(capacity: max(count, 1))
        for (number, reader) in readers.enumerated() {
            unsafe (sources + number).initialize(to: RunSource(reader, chunkBytes: chunkBytes))
        }
        unsafe losers = .allocate(capacity: max(count, 1))
        unsafe losers.initialize(repeating: -1, count: max(count, 1))
        unsafe kept = .allocate(capacity: 1)
        unsafe kept.initialize(to: ByteArena(capacity: 512))
        self.voids = voids
        self.index = index
        try seek(key)
    }

    deinit {
        unsafe sources.deinitialize(count: count)
        unsafe sources.deallocate()
        unsafe losers.deallocate()
        unsafe kept.deinitialize(count: 1)
        unsafe kept.deallocate()
    }

    /// Starts again at the first key at or after `key`.
    package func seek(_ key: KeyBytes) throws {
        last = nil
        for node in 0..<count { unsafe losers[node] = -1 }
        for number in 0..<count {
            unsafe try sources[number].seek(key)
            if let winner = play(number) { self.winner = winner }
        }
    }

    /// What is known of `key`: its newest item, unless that is void, with its value where it says
    /// that there is an entry. The merge then stands at the key.
    package func newest(
        _ key: KeyBytes
    ) throws -> (sequence: SequenceNumber, value: [UInt8]?)? {
        try seek(key)
        guard count > 0, unsafe !sources[winner].isExhausted else { return nil }
        let record = unsafe sources[winner].record
        guard compareBytes(record.key, key.span) == 0, !isVoid(record) else { return nil }
        return (record.sequence, record.isPresent ? record.value.array : nil)
    }

    /// Appends the next entries to `batch`, up to `limit` of them and below `end`.
    /// - Returns: false when no entry below `end` is left.
    package func fill(_ batch: EntryBatch, limit: Int, end: KeyBytes? = nil) throws -> Bool {
        guard count > 0 else { return false }
        var room = limit
        var winner = winner
        // Unwrapped here: the key is some hundred bytes, too many to copy for each record.
        let isBounded = end != nil
        let bound = end ?? KeyBytes(), boundPrefix = keyPrefix(bound.span)
        defer { self.winner = winner }
        var streak = 0
        while room > 0 {
            if streak == ShadowMerge.longStreak {
                try passRow(
                    winner, below: min(nextPrefix(winner), isBounded ? boundPrefix : .max), batch,
                    &room)
                streak = 0
                winner = play(winner) ?? winner
                continue
            }
            guard unsafe !sources[winner].isExhausted else { return false }
            let record = unsafe sources[winner].record
            let prefix = unsafe sources[winner].prefix
            if isBounded, prefix >= boundPrefix, compareBytes(record.key, bound.span) >= 0 {
                return false
            }
            let isOlder = prefix == lastPrefix && last.map { $0.compareKey(record) == 0 } ?? false
            if !isOlder {
                lastPrefix = prefix
                last = unsafe sources[winner].isAtEndOfChunk ? keep(record) : record
                if record.isPresent, !isVoid(record) {
                    batch.append(record)
                    room -= 1
                }
            }
            unsafe try sources[winner].advance()
            let next = play(winner) ?? winner
            streak = next == winner ? streak + 1 : 0
            winner = next
        }
        return true
    }

    /// Wins of one source in a row after which it is tried to go on without a tournament: runs
    /// of what was scanned in the order of its own keys overlap little.
    private static let longStreak = 8

    /// The lowest prefix of all sources but the winner, which has beaten those that it met.
    private func nextPrefix(_ winner: Int) -> UInt64 {
        var lowest = UInt64.max
        var node = (winner + count) >> 1
        while node > 0 {
            let other = unsafe losers[node]
            if unsafe !sources[other].isExhausted {
                lowest = unsafe min(lowest, sources[other].prefix)
            }
            node >>= 1
        }
        return lowest
    }

    /// Takes records of one source, which has decided the last key, as long as their prefixes
    /// are below `limit`, which no other source's are: no key of them stands elsewhere.
    private func passRow(
        _ number: Int, below limit: UInt64, _ batch: EntryBatch, _ room: inout Int
    ) throws {
        let source = unsafe sources + number
        guard unsafe !source.pointee.isExhausted && source.pointee.prefix < limit else { return }
        // Nothing that is still to come has the key of what is passed here.
        last = nil
        while unsafe room > 0 && !source.pointee.isExhausted && source.pointee.prefix < limit {
            let record = unsafe source.pointee.record
            if record.isPresent, !isVoid(record) {
                batch.append(record)
                room -= 1
            }
            unsafe try source.pointee.advance()
        }
    }

    /// A copy of `record`, which stays when its source moves.
    private func keep(_ record: Record) -> Record {
        unsafe kept.pointee.removeAll()
        unsafe kept.pointee.append(record.bytes)
        return unsafe Record(kept.pointee.unsafeBase)
    }

    /// The newest item of a key is void only if all older ones are too.
    @inline(__always)
    private func isVoid(_ record: Record) -> Bool {
        voids.isEmpty ? false : isCovered(record)
    }

    private func isCovered(_ record: Record) -> Bool {
        let primary = index.primaryKey(of: record.key, value: record.value)
        let void = voids[primary.span]
        return void != .none && record.sequence <= void
    }

    /// Lets source `number` play its way up.
    /// - Returns: the winner of all; nil while the tournament is being filled.
    @inline(__always)
    private func play(_ number: Int) -> Int? {
        var contender = number
        var node = (number + count) >> 1
        while node > 0 {
            let other = unsafe losers[node]
            if other < 0 {
                unsafe losers[node] = contender
                return nil
            }
            if unsafe sources[other].precedes(sources[contender]) {
                unsafe losers[node] = contender
                contender = other
            }
            node >>= 1
        }
        return contender
    }
}
