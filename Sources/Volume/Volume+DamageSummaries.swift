// Damage done on purpose to summaries: counters of quota usage, and link counts. What is right
// is added up from the primary records first, so that exactly as many counters as were asked for
// become wrong.

internal import Bytes
internal import LMDB
internal import Tidemark
internal import VolumeFormat
internal import VolumeIndexes

/// Damages quota usage.
struct UsageVandal {
    private var random: SplitMix64
    private var right: [UInt64: QuotaUsage] = [:]

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func damage(
        _ operations: inout Operations, _ count: Int, _ kind: DamageKind
    ) throws -> DamageDone {
        try operations.begin(growing: kind != .missing)
        // What the group has changed so far is in the table before it is damaged.
        try operations.storeUsage()
        try addUp(operations)
        var victims = try rightKeys(operations).shuffled(using: &random)
        var plan = (0..<count).map { kind == .mixed ? [.missing, .stray, .wrong][$0 % 3] : kind }
        let needed = plan.count { $0 != .stray }
        guard victims.count >= needed else {
            throw VolumeError.invalid(
                "damaging \(needed) counters of quota: it has \(victims.count) that are right")
        }
        plan.shuffle(using: &random)
        var done = DamageDone()
        for kind in plan {
            try operations.begin(growing: kind != .missing)
            operations.hasChanged = true
            let table = operations.state.quota.active.table
            if kind == .stray {
                try put(try inventKey(operations), other(than: .zero), &operations)
                done.stray += 1
            } else if kind == .missing {
                let key = QuotaKey(number: victims.removeLast()).bytes
                _ = try operations.transaction.delete(table, key.span)
                done.missing += 1
            } else {
                let number = victims.removeLast()
                try put(QuotaKey(number: number), other(than: right[number] ?? .zero), &operations)
                done.wrong += 1
            }
        }
        return done
    }

    private mutating func addUp(_ operations: borrowing Operations) throws {
        var usage = UsageChanges()
        var cursor = try operations.transaction.readCursor(operations.core.tables.inodes)
        var isThere = try cursor.first()
        while isThere {
            if let inode = try? InodeRecord(key: cursor.key, value: cursor.value) {
                usage.change(from: nil, to: QuotaShare(inode))
            }
            isThere = try cursor.next()
        }
        usage.table.forEach { right[$0.number] = $1 }
    }

    private func rightKeys(_ operations: borrowing Operations) throws -> [UInt64] {
        try right.keys.sorted().filter { number in
            let key = QuotaKey(number: number).bytes
            let table = operations.state.quota.active.table
            guard let value = try operations.transaction.get(table, key.span) else { return false }
            return QuotaUsage(stored: value, key: key.span) == right[number]
        }
    }

    private mutating func inventKey(_ operations: borrowing Operations) throws -> QuotaKey {
        while true {
            let type = [QuotaType.user, .group, .project].randomElement(using: &random) ?? .user
            let key = QuotaKey(type, UInt32.random(in: 0 ... .max, using: &random))
            let bytes = key.bytes, table = operations.state.quota.active.table
            let isThere = try operations.transaction.get(table, bytes.span) != nil
            if right[key.number] == nil, !isThere { return key }
        }
    }

    private mutating func other(than usage: QuotaUsage) -> QuotaUsage {
        let change = QuotaUsage(
            blocks: UInt64.random(in: 1...1000, using: &random),
            inodes: UInt64.random(in: 0...10, using: &random))
        return Bool.random(using: &random) && usage.blocks > change.blocks
            ? QuotaUsage(blocks: usage.blocks - change.blocks, inodes: usage.inodes)
            : usage + change
    }

    private func put(
        _ key: QuotaKey, _ usage: QuotaUsage, _ operations: inout Operations
    ) throws {
        let bytes = key.bytes, payload = usage.bytes
        let value = SealedValue(key: bytes.span, payload: payload.span)
        try operations.transaction.put(
            operations.state.quota.active.table, bytes.span, value.span)
    }
}

/// Damages link counts. They stand in the inode records, so there is but one kind: wrong.
struct LinkVandal {
    private var random: SplitMix64

    init(seed: UInt64) { random = SplitMix64(seed: seed) }

    mutating func damage(
        _ operations: inout Operations, _ count: Int, _ kind: DamageKind
    ) throws -> DamageDone {
        guard kind == .wrong else {
            throw VolumeError.invalid(
                "link counts that are \(kind.rawValue): they stand in the inodes, and can only be"
                    + " wrong")
        }
        try operations.begin(growing: false)
        let victims = try chooseRight(operations, count)
        guard victims.count == count else {
            throw VolumeError.invalid(
                "damaging \(count) link counts: no more than \(victims.count) that are right were"
                    + " found")
        }
        for n in victims {
            try operations.begin(growing: false)
            var inode = try operations.existing(n)
            inode.links = other(than: inode.links)
            try operations.put(inode, n)
        }
        return DamageDone(wrong: count)
    }

    /// Never 0: that would be an inode without names.
    private mutating func other(than links: UInt32) -> UInt32 {
        if links > 1, Bool.random(using: &random) {
            return UInt32.random(in: 1..<links, using: &random)
        }
        let changed = links &+ UInt32.random(in: 1...100, using: &random)
        return changed == 0 ? 1 : changed
    }

    /// Inodes whose counts are right: a sample of all, and of that the first ones.
    private mutating func chooseRight(
        _ operations: borrowing Operations, _ count: Int
    ) throws -> [InodeNumber] {
        let sample = try sample(operations, 2 * count + 64)
        var names = Dictionary(uniqueKeysWithValues: sample.map { ($0, UInt64(0)) })
        var children = names
        var cursor = try operations.transaction.readCursor(operations.core.tables.dirents)
        var isThere = try cursor.first()
        while isThere {
            if let target = try? DirentTarget(key: cursor.key, value: cursor.value) {
                if let known = names[target.child] { names[target.child] = known + 1 }
                let directory: InodeNumber = cursor.key.integer(at: 0)
                if target.type == .directory, let known = children[directory] {
                    children[directory] = known + 1
                }
            }
            isThere = try cursor.next()
        }
        var right: [InodeNumber] = []
        for n in sample where right.count < count {
            let inode = try operations.existing(n)
            let isDirectory = inode.type == .directory
            let links = isDirectory ? 2 + (children[n] ?? 0) : names[n] ?? 0
            if UInt64(inode.links) == links { right.append(n) }
        }
        return right
    }

    /// Up to `size` inodes that have links, each as likely as every other (Vitter's algorithm R).
    private mutating func sample(
        _ operations: borrowing Operations, _ size: Int
    ) throws -> [InodeNumber] {
        var sample: [InodeNumber] = []
        var seen = 0
        var cursor = try operations.transaction.readCursor(operations.core.tables.inodes)
        var isThere = try cursor.first()
        while isThere {
            if let inode = try? InodeRecord(key: cursor.key, value: cursor.value), inode.links > 0 {
                let n: InodeNumber = cursor.key.integer(at: 0)
                let place = seen < size ? seen : Int.random(in: 0...seen, using: &random)
                if seen < size { sample.append(n) } else if place < size { sample[place] = n }
                seen += 1
            }
            isThere = try cursor.next()
        }
        return sample.shuffled(using: &random)
    }
}

extension Operations {
    /// Makes of an entry of a summary that stands elsewhere than in a table what `payload` says.
    /// - Returns: whether there was one; nil where the entry is one of a table.
    mutating func alterSummary(
        _ slot: IndexSlot, _ key: [UInt8], _ payload: [UInt8]?
    ) throws -> Bool? {
        // What the group has changed so far is in the table before that is damaged.
        guard slot == GroupState.linksSlot else {
            try storeUsage()
            guard QuotaKey(key.rawSpan) == .volume else { return nil }
            guard let usage = payload.flatMap({ QuotaUsage($0.rawSpan) }) else { return false }
            correctCounters(by: usage - core.geometry.usage(counters))
            return true
        }
        guard let stored = payload.flatMap({ StoredLinks($0.rawSpan) }) else { return false }
        let number: InodeNumber = key.rawSpan.integer(at: 0)
        guard var inode = try inode(number) else { return false }
        inode.links = stored.links
        try put(inode, number)
        return true
    }
}
