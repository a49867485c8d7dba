// Which generation of an index is the one that is served, also where its record, or its table, is
// damaged or gone: an index can be rebuilt from the primary records, and so no loss of one keeps a
// volume from being opened.
//
// Opened for reading, nothing is changed: what is left of the index is compared, and where nothing
// is, all of it is missing. Opened for writing, each index is given one active generation again:
// the one whose record says so; else the previous one, a table that no record speaks of, one that
// was being loaded or reaped, and else a new, empty one. It is an index like any other then, as
// wrong as it is: a check tells by how much, and a repair mends or rebuilds it.

internal import Bytes
internal import LMDB
internal import VolumeFormat
internal import VolumeIndexes

struct GenerationCensus {
    /// Of indexes that there are, in the order of their keys.
    private(set) var records: [GenerationRecord] = []
    /// Keys of records that can't be decoded, or belong to no index.
    private(set) var damagedKeys: [[UInt8]] = []

    /// Reads table `super` from the first record of a generation on.
    init(_ cursor: consuming Cursor) throws {
        let names = VolumeSlots.withGenerations.map(\.name)
        let prefix = GenerationRecord.keyPrefix
        var isThere = try cursor.seek(prefix.rawSpan)
        while isThere, cursor.key.byteCount > prefix.count,
            compareBytes(cursor.key.extracting(first: prefix.count), prefix.rawSpan) == 0
        {
            if let record = try? GenerationRecord(key: cursor.key, value: cursor.value),
                names.contains(record.index)
            {
                records.append(record)
            } else {
                damagedKeys.append(cursor.key.array)
            }
            isThere = try cursor.next()
        }
    }

    /// The generation of `index` that is served: the newest that is active, else the newest
    /// previous one. nil where there is none.
    /// - Parameter hasTable: whether the table of a generation exists.
    func served(_ index: String, _ hasTable: (String) -> Bool) -> GenerationRecord? {
        let there = records.filter {
            $0.index == index && hasTable(TableName.generation(index, $0.number))
        }
        for state in [GenerationState.active, .previous] {
            let found = there.filter { $0.state == state }
            if let newest = found.max(by: { $0.number < $1.number }) { return newest }
        }
        return nil
    }
}

// MARK: Opening for writing

extension GenerationCensus {
    /// Gives each index one active generation and at most one previous one, whose tables exist,
    /// and stores what has changed.
    /// - Returns: for what that had to be done, in words.
    mutating func settle(_ core: VolumeCore) throws -> [String] {
        let tables = Set(try core.environment.tableNames())
        let before = Set(records)
        var settled: [String] = []
        for index in VolumeSlots.withGenerations where !isSound(index.name, tables) {
            settle(index.name, tables)
            settled.append("index \(index.name)")
        }
        settled += damagedKeys.map { "record \(escapedName($0))" }
        guard !settled.isEmpty else { return [] }
        let after = records
        let kept = Set(after.map(\.key))
        let removed = damagedKeys + before.map(\.key).filter { !kept.contains($0) }
        for record in after {
            let name = TableName.generation(record.index, record.number)
            if !tables.contains(name) { _ = try core.environment.table(name, create: true) }
        }
        try core.environment.write { transaction in
            for key in removed {
                _ = try transaction.delete(core.tables.superblock, key.rawSpan)
            }
            for record in after where !before.contains(record) {
                let key = record.key, value = record.value
                try transaction.put(core.tables.superblock, key.rawSpan, value.rawSpan)
            }
        }
        damagedKeys = []
        return settled
    }

    private func of(_ index: String) -> [GenerationRecord] { records.filter { $0.index == index } }

    private func isSound(_ index: String, _ tables: Set<String>) -> Bool {
        let own = of(index)
        let served = own.filter { $0.state == .active || $0.state == .previous }
        return own.count { $0.state == .active } == 1
            && own.count { $0.state == .previous } <= 1
            && served.allSatisfy { tables.contains(TableName.generation(index, $0.number)) }
    }

    private mutating func settle(_ index: String, _ tables: Set<String>) {
        let own = of(index)
        let there = own.filter { tables.contains(TableName.generation(index, $0.number)) }
        let unknown = numbers(of: index, in: tables).filter { number in
            !own.contains { $0.number == number }
        }
        let isFirst = { (a: GenerationRecord, b: GenerationRecord) in a.number < b.number }
        var active = served(index) { tables.contains($0) }
        if active == nil, let number = unknown.max() {
            active = record(index, number)
        }
        if active == nil { active = there.max(by: isFirst) }
        let highest = (there.map(\.number) + unknown).max() ?? 0
        var chosen = active ?? record(index, highest + 1)
        chosen.state = .active
        chosen.load = nil
        let previous = there.filter { $0.state == .previous && $0.number != chosen.number }
            .max(by: isFirst)
        var result = [chosen]
        for var other in there where other.number != chosen.number {
            if other.state == .active || other.state == .previous && other != previous {
                other.state = .reaping
            }
            result.append(other)
        }
        for number in unknown where number != chosen.number {
            var lost = record(index, number)
            lost.state = .reaping
            result.append(lost)
        }
        records.removeAll { $0.index == index }
        records += result
    }

    /// What it counts nobody knows: a repair sets it right.
    private func record(_ index: String, _ number: UInt32) -> GenerationRecord {
        GenerationRecord(index: index, number: number, state: .active, entries: 0, sum: 0)
    }

    /// The generations of `index` that have tables.
    private func numbers(of index: String, in tables: Set<String>) -> [UInt32] {
        tables.compactMap { name in
            guard name.hasPrefix(index + ".g"),
                let number = UInt32(name.dropFirst(index.utf8.count + 2)), number < .max - 1,
                name == TableName.generation(index, number)
            else { return nil }
            return number
        }
    }
}
