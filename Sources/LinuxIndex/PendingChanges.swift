// What has arrived and is not in the file yet: what was read of windows, and deltas.
//
// Everything is an absolute statement with a stamp, and of one entry the newest counts, in whatever
// order they arrive. Changes are put into the file up to a *mark*, when every event up to it has
// been delivered and no window is open; what is newer than the mark waits for the next one. So
// nothing older than what is in the file arrives any more, and the file needs neither stamps nor
// tombstones.
//
// What was read of a range of records is *all* that they derive, as of the window's sequence: what
// the file, or an older statement, says beyond that is not true.

internal import Bytes
internal import LinuxOwner
package import Tidemark

/// Blocks of one key that have become something.
struct BlockChange {
    var key: BlockKey
    var stamp: UInt64
    var first, last: UInt8
    var state: BlockState
    /// What a window's range had before it was read: goes before what has the same stamp.
    var isCleared = false

    /// The record that derives block `place` of the chunk.
    func position(of place: UInt8) -> XFSPosition {
        XFSPosition(
            key.inode, key.fork == 0 ? .data : .attribute, key.offset(at: place) ?? 0)
    }

    static func precedes(_ a: BlockChange, _ b: BlockChange) -> Bool {
        if a.key != b.key { return a.key < b.key }
        if a.stamp != b.stamp { return a.stamp < b.stamp }
        return a.isCleared && !b.isCleared
    }
}

package final class PendingChanges {
    private let blocks, names: IndexSlot?
    fileprivate let pool: BatchPool
    fileprivate(set) var changes: [BlockChange] = []
    /// Records of `parents`, as they came.
    fileprivate(set) var batches: [EntryBatch] = []
    /// Up to where what each record has derived is not true.
    private(set) var cleared = RangeMap()
    /// Records that could not be read.
    package fileprivate(set) var damage: [PrimaryDamage] = []
    package fileprivate(set) var count = 0

    /// - Parameters:
    ///   - blocks: the slot of the reverse map; nil: there is none.
    ///   - names: that of the parent pointers.
    package init(blocks: IndexSlot?, names: IndexSlot?, pool: BatchPool) {
        self.blocks = blocks
        self.names = names
        self.pool = pool
    }

    package var isEmpty: Bool { changes.isEmpty && batches.isEmpty && cleared.isEmpty }

    /// Bytes that it takes, about.
    package var byteCount: Int {
        changes.count * MemoryLayout<BlockChange>.stride + batches.reduce(0) { $0 + $1.byteCount }
    }

    // MARK: Taking

    /// What is derived from `range` was read, and comes as items of this sequence.
    package func read(_ range: KeyRange, at sequence: SequenceNumber) {
        cleared.raise(range, to: sequence)
    }

    package func take(_ item: QueueItem) {
        switch item {
        case .window(let sink):
            damage += sink.damage
            for (slot, batch) in sink.batches.enumerated() { take(batch, IndexSlot(slot)) }
        case .deltas(let batches):
            for (slot, batch) in batches.enumerated() { take(batch, IndexSlot(slot)) }
        // What was derived is as of its last commit, until it is read again.
        case .void: break
        }
    }

    private func take(_ batch: EntryBatch?, _ slot: IndexSlot) {
        guard let batch else { return }
        count += batch.count
        if slot == names, !batch.isEmpty {
            batches.append(batch)
            return
        }
        if slot == blocks { takeBlocks(batch) }
        pool.give(batch)
    }

    private func takeBlocks(_ batch: EntryBatch) {
        var position = batch.startPosition
        var last = changes.popLast()
        while position < batch.endPosition {
            let record = batch.record(at: position)
            position += record.size
            guard let mapping = MappingKey(record.key) else { continue }
            let key = BlockKey(
                block: mapping.block, inode: mapping.owner, fork: mapping.fork,
                offset: mapping.offset)
            let place = UInt8(mapping.block % chunkBlocks), stamp = record.sequence.raw
            let state: BlockState =
                !record.isPresent
                ? .none
                : record.value.byteCount == 1 && record.value.integer(at: 0, as: UInt8.self) == 1
                    ? .unwritten : .written
            if let before = last {
                if before.key == key, before.stamp == stamp, before.state == state,
                    before.last < .max, before.last + 1 == place
                {
                    last?.last = place
                    continue
                }
                changes.append(before)
            }
            last = BlockChange(key: key, stamp: stamp, first: place, last: place, state: state)
        }
        if let last { changes.append(last) }
    }

    // MARK: Inodes

    /// The time before which an inode that is being read was not.
    fileprivate var time = SequenceNumber.none
    /// Inodes that could not be read.
    fileprivate(set) var skipped: [UInt64] = []

    /// What is told of inodes from now on was read at `time` or later.
    package func beginReading(at time: UInt64) { self.time = SequenceNumber(raw: time) }

    /// Everything of `inodes` has been told.
    package func hasRead(_ inodes: Range<UInt64>) {
        guard !inodes.isEmpty else { return }
        cleared.raise(KeyRange(inodes: inodes), to: time)
    }

    // MARK: Giving

    /// What is to be put into the file, in order; the rest stays here.
    func cut(upTo mark: UInt64) -> Cut {
        let cleared = ClearedRanges(cleared)
        var cut = Cut(cleared: cleared)
        cut.changes.reserveCapacity(changes.count)
        var later: [BlockChange] = []
        for change in changes {
            if change.stamp > mark {
                later.append(change)
            } else {
                cleared.append(change, to: &cut.changes)
            }
        }
        changes = later
        var kept: EntryBatch?
        for batch in batches {
            guard isAny(of: batch, after: mark) else { continue }
            var position = batch.startPosition
            while position < batch.endPosition {
                let record = batch.record(at: position)
                position += record.size
                guard record.sequence.raw > mark else { continue }
                if kept == nil { kept = pool.take() }
                kept?.append(record)
            }
        }
        cut.batches = batches
        batches = kept.map { [$0] } ?? []
        self.cleared = RangeMap()
        damage = []
        skipped = []
        count = changes.count + (kept?.count ?? 0)
        return cut
    }

    private func isAny(of batch: EntryBatch, after mark: UInt64) -> Bool {
        var position = batch.startPosition
        while position < batch.endPosition {
            let record = batch.record(at: position)
            if record.sequence.raw > mark { return true }
            position += record.size
        }
        return false
    }

    /// Lets go of what was put into the file.
    func give(back cut: borrowing Cut) { for batch in cut.batches { pool.give(batch) } }

    struct Cut: ~Copyable {
        let cleared: ClearedRanges
        var changes: [BlockChange] = []
        /// Records that are newer than the mark are among them.
        var batches: [EntryBatch] = []

        init(cleared: ClearedRanges) { self.cleared = cleared }
    }
}

extension PendingChanges: InodeReceiver {
    /// Bytes of names in one batch.
    private static let batchSize = 4 << 20

    package func extent(
        of inode: UInt64, fork: UInt8, offset: UInt64, block: UInt64, count: UInt64,
        isUnwritten: Bool
    ) {
        var done: UInt64 = 0
        while done < count {
            let place = (block + done) % chunkBlocks
            let some = min(count - done, chunkBlocks - place)
            changes.append(
                BlockChange(
                    key: BlockKey(
                        block: block + done, inode: inode, fork: fork, offset: offset + done),
                    stamp: time.raw, first: UInt8(place), last: UInt8(place + some - 1),
                    state: isUnwritten ? .unwritten : .written))
            done += some
            self.count += 1
        }
    }

    package func name(_ name: RawSpan, of child: UInt64, in directory: UInt64) {
        if batches.last.map({ $0.byteCount >= PendingChanges.batchSize }) ?? true {
            batches.append(pool.take())
        }
        let key = ParentKey.make(child: child, parent: directory, name: name)
        batches[batches.count - 1].append(key: key.span, value: RawSpan(), sequence: time)
        count += 1
    }

    package func skip(_ inode: UInt64, _ problem: String) {
        damage.append(PrimaryDamage(object: "inode \(inode)", problem: problem))
        skipped.append(inode)
    }
}

/// Ranges of records that were read, as numbers.
struct ClearedRanges {
    struct Piece {
        let lower: XFSPosition
        /// nil: no end.
        let upper: XFSPosition?
        let stamp: UInt64

        func contains(_ position: XFSPosition) -> Bool {
            lower <= position && (upper.map { position < $0 } ?? true)
        }
    }

    let pieces: [Piece]
    private let newest: UInt64

    init(_ map: RangeMap) {
        pieces = map.pieces.map { range, value in
            Piece(
                lower: XFSPosition(range.lower.span),
                upper: range.upper.map { XFSPosition($0.span) },
                stamp: value.raw)
        }
        newest = pieces.map(\.stamp).max() ?? 0
    }

    /// The piece that holds `position`.
    func piece(of position: XFSPosition) -> Piece? {
        var low = 0, high = pieces.count
        while low < high {
            let middle = (low + high) / 2
            if pieces[middle].lower <= position { low = middle + 1 } else { high = middle }
        }
        guard low > 0, pieces[low - 1].contains(position) else { return nil }
        return pieces[low - 1]
    }

    /// Whether what was stated at `stamp` of what `position` derives was read anew since.
    func hides(_ position: @autoclosure () -> XFSPosition, _ stamp: UInt64) -> Bool {
        guard stamp < newest, let piece = piece(of: position()) else { return false }
        return stamp < piece.stamp
    }

    /// Appends what of `change` was not read anew since: blocks may lie on both sides of a border.
    func append(_ change: BlockChange, to changes: inout [BlockChange]) {
        guard change.stamp < newest else { return changes.append(change) }
        let first = piece(of: change.position(of: change.first))
        let last = piece(of: change.position(of: change.last))
        guard first?.lower != last?.lower else {
            if first.map({ change.stamp < $0.stamp }) != true { changes.append(change) }
            return
        }
        for place in change.first...change.last {
            var block = change
            block.first = place
            block.last = place
            if !hides(change.position(of: place), change.stamp) { changes.append(block) }
        }
    }
}
