// Putting changes into the file: one transaction, in the order of the keys.
//
// - What a range had before it was read goes first: `extents` and `children` say what that was.
// - Of each key the changes are applied in the order of their stamps to what stands in the file,
//   and what comes out is written only where it is something else: a range that is read again
//   and is as it was costs no write.
// - Keys beyond the last one of their table are appended: a first scan fills its pages.

internal import Bytes
internal import LMDB
internal import LinuxOwner
internal import Tidemark

/// What a commit has done.
package struct CommitCount: Hashable, Sendable {
    /// Records of `blocks` and names that were written or deleted.
    package var written = 0, deleted = 0
}

extension IndexFile {
    /// Puts what `pending` has up to `mark` into the file, and what is known of it then.
    package func commit(
        _ pending: PendingChanges, upTo mark: UInt64, header: IndexHeader,
        unsettled: UnsettledRanges
    ) throws -> CommitCount {
        let cut = pending.cut(upTo: mark)
        defer { pending.give(back: cut) }
        return try IndexFile.calling(path) {
            try environment.write { transaction in
                var count = CommitCount()
                try commitBlocks(cut, &transaction, &count)
                try commitNames(cut, upTo: mark, &transaction, &count)
                try transaction.put(
                    tables.head, Array("unsettled".utf8).rawSpan, unsettled.bytes.rawSpan)
                try transaction.put(
                    tables.head, Array("head".utf8).rawSpan, header.bytes.span)
                return count
            }
        }
    }

    // MARK: Blocks

    private func commitBlocks(
        _ cut: borrowing PendingChanges.Cut, _ transaction: inout WriteTransaction,
        _ count: inout CommitCount
    ) throws {
        var changes = cut.changes
        for piece in cut.cleared.pieces {
            try clearBlocks(piece, &transaction, into: &changes)
        }
        guard !changes.isEmpty else { return }
        changes.sort(by: BlockChange.precedes)
        var extents: [(key: BlockKey, isPresent: Bool)] = []
        var cells = ChunkCells(), bytes: [UInt8] = []
        var end = try lastKey(tables.blocks, &transaction)
        var start = 0
        while start < changes.count {
            let key = changes[start].key
            let keyBytes = key.bytes
            let isBeyond = end.map { compareBytes(keyBytes.span, $0.rawSpan) > 0 } ?? true
            let isThere = try !isBeyond && read(keyBytes.span, &transaction, into: &cells)
            if !isThere { cells.clear() }
            while start < changes.count, changes[start].key == key {
                let change = changes[start]
                cells.fill(change.first, change.last, change.state)
                start += 1
            }
            bytes.removeAll(keepingCapacity: true)
            cells.encode(into: &bytes)
            if bytes.isEmpty {
                guard isThere else { continue }
                _ = try transaction.delete(tables.blocks, keyBytes.span)
                extents.append((key, false))
                count.deleted += 1
            } else {
                if isThere, try isSame(keyBytes.span, bytes, &transaction) { continue }
                if isBeyond {
                    try transaction.append(
                        tables.blocks, keyBytes.span, size: bytes.count
                    ) { $0.append(bytes.rawSpan) }
                    end = keyBytes.span.array
                } else {
                    try transaction.put(tables.blocks, keyBytes.span, bytes.rawSpan)
                }
                if !isThere { extents.append((key, true)) }
                count.written += 1
            }
        }
        extents.sort { BlockKey.extentsPrecedes($0.key, $1.key) }
        try commitKeys(
            tables.extents, extents.count, &transaction
        ) { (extents[$0].key.extentsBytes.span.array, extents[$0].isPresent) }
    }

    /// Puts keys without values into a table, or takes them out; in ascending order.
    private func commitKeys(
        _ table: Table, _ count: Int, _ transaction: inout WriteTransaction,
        _ key: (Int) -> (bytes: [UInt8], isPresent: Bool)
    ) throws {
        var end = try lastKey(table, &transaction)
        for place in 0..<count {
            let (bytes, isPresent) = key(place)
            if !isPresent {
                _ = try transaction.delete(table, bytes.rawSpan)
            } else if end.map({ compareBytes(bytes.rawSpan, $0.rawSpan) > 0 }) ?? true {
                try transaction.append(table, bytes.rawSpan, size: 0) { _ in }
                end = bytes
            } else {
                try transaction.put(table, bytes.rawSpan, RawSpan())
            }
        }
    }

    private func lastKey(
        _ table: Table, _ transaction: inout WriteTransaction
    ) throws -> [UInt8]? {
        try transaction.withCursor(table) { cursor in
            try cursor.last() ? cursor.key.array : nil
        }
    }

    private func read(
        _ key: RawSpan, _ transaction: inout WriteTransaction, into cells: inout ChunkCells
    ) throws -> Bool {
        guard let value = try transaction.get(tables.blocks, key) else { return false }
        guard cells.decode(value) else {
            throw IndexFileError(path, .damaged("an entry of the table blocks"))
        }
        return true
    }

    private func isSame(
        _ key: RawSpan, _ bytes: [UInt8], _ transaction: inout WriteTransaction
    ) throws -> Bool {
        guard let value = try transaction.get(tables.blocks, key) else { return false }
        return compareBytes(value, bytes.rawSpan) == 0
    }

    /// What the file has of the blocks of `piece`, as changes that take it away.
    private func clearBlocks(
        _ piece: ClearedRanges.Piece, _ transaction: inout WriteTransaction,
        into changes: inout [BlockChange]
    ) throws {
        let least = BlockKey(
            chunk: 0, inode: piece.lower.inode,
            fork: piece.lower.kind <= XFSRecordKind.data.rawValue ? 0 : 1,
            line: piece.lower.kind == 0 ? 0 : piece.lower.position)
        try transaction.withCursor(tables.extents) { cursor in
            var isThere = try cursor.seek(least.extentsBytes.span)
            while isThere {
                guard let key = BlockKey(extents: cursor.key) else {
                    throw IndexFileError(path, .damaged("an entry of the table extents"))
                }
                if let upper = piece.upper, key.inode > upper.inode { break }
                clear(key, piece, into: &changes)
                isThere = try cursor.next()
            }
        }
    }

    private func clear(
        _ key: BlockKey, _ piece: ClearedRanges.Piece, into changes: inout [BlockChange]
    ) {
        var change = BlockChange(
            key: key, stamp: piece.stamp, first: 0, last: .max, state: .none, isCleared: true)
        // Below the first block whose offset is one there is nothing.
        let least = UInt8(key.line >= chunkBlocks - 1 ? 0 : chunkBlocks - 1 - key.line)
        change.first = least
        if piece.contains(change.position(of: least)), piece.contains(change.position(of: .max)) {
            return changes.append(change)
        }
        // A border of the range lies within.
        var first: UInt8?
        for place in least ... .max where piece.contains(change.position(of: place)) {
            first = first ?? place
            change.last = place
        }
        guard let first else { return }
        change.first = first
        changes.append(change)
    }

    // MARK: Names

    private func commitNames(
        _ cut: borrowing PendingChanges.Cut, upTo mark: UInt64,
        _ transaction: inout WriteTransaction, _ count: inout CommitCount
    ) throws {
        let before = EntryBatch()
        for piece in cut.cleared.pieces {
            try clearNames(piece, &transaction, into: before)
        }
        let sorter = EntrySorter()
        let sorted = sorter.sort(cut.batches + [before])
        defer { sorter.removeAll() }
        var pairs: [NamePair] = []
        var end = try lastKey(tables.parents, &transaction)
        var place = 0
        while place < sorted.count {
            sorted.prefetch(after: place)
            let start = place
            let first = sorted.record(start)
            // The newest that counts comes first of those that do.
            var newest: Int?
            while place < sorted.count, sorted.record(place).compareKey(first) == 0 {
                let record = sorted.record(place)
                if record.sequence.raw <= mark, !isHidden(record, cut.cleared) {
                    let best = newest.map { sorted.record($0) }
                    // What was read goes before what the file had when it was.
                    let isBetter = best.map {
                        !$0.isPresent && record.isPresent && record.sequence == $0.sequence
                    }
                    if isBetter ?? true { newest = place }
                }
                place += 1
            }
            guard let newest, ParentKey.isWellFormed(first.key) else { continue }
            try commitName(
                first.key, isPresent: sorted.record(newest).isPresent, &end, &transaction, &count,
                &pairs)
        }
        try commitChildren(&pairs, &transaction)
    }

    private func isHidden(_ record: Record, _ cleared: ClearedRanges) -> Bool {
        cleared.hides(
            XFSPosition(record.key.integer(at: 8, as: UInt64.self), .entries),
            record.sequence.raw)
    }

    private func commitName(
        _ key: RawSpan, isPresent: Bool, _ end: inout [UInt8]?,
        _ transaction: inout WriteTransaction, _ count: inout CommitCount,
        _ pairs: inout [NamePair]
    ) throws {
        let pair = NamePair(
            directory: key.integer(at: 8), child: key.integer(at: 0), isRemoval: !isPresent)
        if !isPresent {
            guard try transaction.delete(tables.parents, key) else { return }
            count.deleted += 1
        } else if end.map({ compareBytes(key, $0.rawSpan) > 0 }) ?? true {
            try transaction.append(tables.parents, key, size: 0) { _ in }
            end = key.array
            count.written += 1
        } else {
            guard try transaction.insert(tables.parents, key, RawSpan()) else { return }
            count.written += 1
        }
        pairs.append(pair)
    }

    /// A child of a directory, one of whose names has come or gone.
    private struct NamePair {
        let directory, child: UInt64
        let isRemoval: Bool
    }

    private func commitChildren(
        _ pairs: inout [NamePair], _ transaction: inout WriteTransaction
    ) throws {
        pairs.sort { ($0.directory, $0.child) < ($1.directory, $1.child) }
        var keys: [(bytes: [UInt8], isPresent: Bool)] = []
        var place = 0
        while place < pairs.count {
            let pair = pairs[place]
            var isRemoval = false
            while place < pairs.count, pairs[place].directory == pair.directory,
                pairs[place].child == pair.child
            {
                isRemoval = isRemoval || pairs[place].isRemoval
                place += 1
            }
            let isPresent = try !isRemoval || hasName(pair, &transaction)
            keys.append((InodePair.key(pair.directory, pair.child).span.array, isPresent))
        }
        try commitKeys(tables.children, keys.count, &transaction) { keys[$0] }
    }

    private func hasName(_ pair: NamePair, _ transaction: inout WriteTransaction) throws -> Bool {
        let prefix = InodePair.key(pair.child, pair.directory)
        return try transaction.withCursor(tables.parents) { cursor in
            guard try cursor.seek(prefix.span), cursor.key.byteCount >= 16 else { return false }
            return compareBytes(cursor.key.extracting(first: 16), prefix.span) == 0
        }
    }

    /// What the file has of the names in the directories of `piece`, as records that take it away.
    private func clearNames(
        _ piece: ClearedRanges.Piece, _ transaction: inout WriteTransaction,
        into batch: EntryBatch
    ) throws {
        let children = try childrenOf(piece, &transaction)
        try transaction.withCursor(tables.parents) { cursor in
            for (directory, child) in children {
                let prefix = InodePair.key(child, directory)
                var isThere = try cursor.seek(prefix.span)
                while isThere, cursor.key.byteCount > 16,
                    compareBytes(cursor.key.extracting(first: 16), prefix.span) == 0
                {
                    // What was read bears the same stamp, and goes before it.
                    batch.append(
                        key: cursor.key, value: RawSpan(),
                        sequence: SequenceNumber(raw: piece.stamp), isPresent: false)
                    isThere = try cursor.next()
                }
            }
        }
    }

    private func childrenOf(
        _ piece: ClearedRanges.Piece, _ transaction: inout WriteTransaction
    ) throws -> [(directory: UInt64, child: UInt64)] {
        var children: [(directory: UInt64, child: UInt64)] = []
        try transaction.withCursor(tables.children) { cursor in
            var isThere = try cursor.seek(InodePair.key(piece.lower.inode, 0).span)
            while isThere {
                guard cursor.key.byteCount == 16 else {
                    throw IndexFileError(path, .damaged("an entry of the table children"))
                }
                let directory: UInt64 = cursor.key.integer(at: 0)
                if let upper = piece.upper, directory > upper.inode { break }
                if piece.contains(XFSPosition(directory, .entries)) {
                    children.append((directory, cursor.key.integer(at: 8)))
                }
                isThere = try cursor.next()
            }
        }
        return children
    }
}
