// The live index beside what the primary records derive, both in key order.

internal import Bytes
internal import LMDB
internal import VolumeFormat

/// The active generation of one index. It is asked for the derived entries in ascending
/// order of their keys, and finds the discrepancies on the way.
final class LiveIndex {
    private(set) var report: IndexReport
    private var comparison: Comparison

    init(
        _ transaction: borrowing ReadTransaction, _ table: Table, _ record: GenerationRecord,
        _ findings: Findings, _ index: IndexName
    ) throws {
        report = IndexReport(name: index.rawValue)
        report.generation = record.number
        report.recordedEntries = record.entries
        report.recordedSum = record.sum
        comparison = Comparison(
            cursor: try transaction.cursor(table), findings: findings, index: index)
        try comparison.start()
    }

    /// The primary records derive this entry.
    func expect(key: RawSpan, payload: RawSpan) throws {
        try comparison.expect(key, payload, &report)
    }

    /// An entry that is in no table, but in the volume's counters.
    func compareApart(
        key: RawSpan, found: RawSpan, expected: RawSpan, _ index: IndexName, _ findings: Findings
    ) {
        report.expected += 1
        report.entries += 1
        guard compareBytes(found, expected) != 0 else { return }
        report.wrong += 1
        findings.discrepancy(
            .wrong, of: report.name, key: index.fields(key), found: index.text(found),
            expected: index.text(expected))
    }

    /// They derive no more.
    func finish() throws {
        try comparison.finish(&report)
    }
}

private struct Comparison: ~Copyable {
    var cursor: Cursor
    var isAtEnd = false
    let findings: Findings
    let index: IndexName

    init(cursor: consuming Cursor, findings: Findings, index: IndexName) {
        self.cursor = cursor
        self.findings = findings
        self.index = index
    }

    mutating func start() throws {
        isAtEnd = try !cursor.first()
    }

    mutating func expect(_ key: RawSpan, _ payload: RawSpan, _ report: inout IndexReport) throws {
        report.expected += 1
        while !isAtEnd {
            let order = compareBytes(cursor.key, key)
            if order > 0 { break }
            if order == 0 {
                judge(payload, &report)
                return try advance(&report)
            }
            stray(&report)
            try advance(&report)
        }
        report.missing += 1
        findings.discrepancy(
            .missing, of: report.name, key: index.fields(key), found: nil,
            expected: index.text(payload))
    }

    mutating func finish(_ report: inout IndexReport) throws {
        while !isAtEnd {
            stray(&report)
            try advance(&report)
        }
    }

    private func judge(_ payload: RawSpan, _ report: inout IndexReport) {
        let found: String
        do {
            let body = try cursor.value.verified(key: cursor.key)
            if compareBytes(body, payload) == 0 { return }
            found = index.text(body)
        } catch {
            found = "\(error)"
        }
        report.wrong += 1
        findings.discrepancy(
            .wrong, of: report.name, key: index.fields(cursor.key), found: found,
            expected: index.text(payload))
    }

    private func stray(_ report: inout IndexReport) {
        report.stray += 1
        findings.discrepancy(
            .stray, of: report.name, key: index.fields(cursor.key), found: foundText(),
            expected: nil)
    }

    private func foundText() -> String {
        do {
            return index.text(try cursor.value.verified(key: cursor.key))
        } catch {
            return "\(error)"
        }
    }

    /// Counts the entry at the cursor, as it is, and moves on.
    private mutating func advance(_ report: inout IndexReport) throws {
        report.entries += 1
        if index == .quota {
            countUsage(&report)
        } else {
            report.countedEntries += 1
            report.sum &+= GenerationRecord.mix(checksum())
        }
        isAtEnd = try !cursor.next()
    }

    /// Of quota usage the record counts inodes, and a sum that is linear in the counters.
    private func countUsage(_ report: inout IndexReport) {
        guard cursor.key.byteCount == 5, cursor.value.byteCount == 20 else { return }
        let type: UInt8 = cursor.key.integer(at: 0), id: UInt32 = cursor.key.integer(at: 1)
        let blocks: UInt64 = cursor.value.integer(at: 0),
            inodes: UInt64 = cursor.value.integer(at: 8)
        let factor = GenerationRecord.mix(id) ^ (UInt64(type) &* 0x9e37_79b9_7f4a_7c15)
        report.countedEntries &+= inodes
        report.sum &+= factor &* (blocks &+ inodes &* 0xc2b2_ae3d_27d4_eb4f)
    }

    /// Of the key and the value before its own checksum, which may be wrong.
    private func checksum() -> UInt32 {
        let size = max(cursor.value.byteCount - checksumSize, 0)
        return CRC32C.checksum(cursor.key, cursor.value.extracting(first: size))
    }
}
