// What a run goes on from after a crash or a stop.
//
// The position is exact: at a commit boundary everything queued is taken and then handled, so
// the sorted runs of a checkpoint hold every delta up to its commit, everything derived from
// the primary keys below the cursor except the unread ranges, and nothing else. What the
// owner commits later is in its hook log. So nothing that a resumed run reads again has been
// read before, and no void is needed to forget it.
//
// It becomes the one to go on from only when its commit is durable in the owner (it must not
// know what the owner may forget), and its sorted runs are durable in the side file.

internal import Bytes
package import Contract
package import Entries
package import Feed

public struct Checkpoint: Sendable {
    /// The last commit whose deltas are handled.
    package let commit: UInt64
    /// Where the scan goes on.
    package let scan: HookPoint.Position
    package let voids: [VoidRange]
    /// Complete runs, by slot.
    package let runs: [[SortedRun]]
    /// No sorted run has this number or a higher one; the side file may hold others below it.
    package let nextRun: UInt32
    package let primaryRecords: Int
    package let windows: Int
    package let damage: [PrimaryDamage]
    package let damageCount: Int
    /// What the run is limited to.
    package let scope: Scope?

    package init(
        commit: UInt64, position: HookPoint.Position, voids: [VoidRange], runs: [[SortedRun]],
        nextRun: UInt32, primaryRecords: Int, windows: Int, damage: [PrimaryDamage],
        damageCount: Int, scope: Scope?
    ) {
        self.commit = commit
        scan = position
        self.voids = voids
        self.runs = runs
        self.nextRun = nextRun
        self.primaryRecords = primaryRecords
        self.windows = windows
        self.damage = damage
        self.damageCount = damageCount
        self.scope = scope
    }

    /// The last commit whose deltas are handled.
    public var position: UInt64 { commit }
    /// Whether the scan has come to its end, but for what is to be read again.
    package var isScanned: Bool { scan.cursor == nil }
    /// Primary records that need not be read again.
    public var recordsRead: Int { primaryRecords }
}

// MARK: As bytes

// Integers in the processor's own byte order: a side file never leaves the machine. Version
// u32, commit u64, then cursor, unread ranges, voids, runs by slot, counters and damage, each
// list behind its length; last the scope, if any: its label, its range, or the bounds of its
// ranges.

extension Checkpoint {
    package static let version: UInt32 = 2

    package var encoded: [UInt8] {
        var writer = FieldWriter()
        writer.add(Checkpoint.version)
        writer.add(commit)
        writer.add(scan.cursor)
        writer.add(scan.unread) { $0.add($1) }
        writer.add(voids) {
            $0.add($1.range)
            $0.add($1.sequence.raw)
        }
        writer.add(runs) {
            $0.add($1) {
                $0.add($1.number)
                $0.add($1.entries)
                $0.add($1.bytes)
            }
        }
        writer.add(nextRun)
        for counter in [primaryRecords, windows, damageCount, scan.applied, scan.elided] {
            writer.add(counter)
        }
        writer.add(damage) {
            $0.add($1.object)
            $0.add($1.problem)
        }
        writer.add(scope)
        return writer.bytes
    }

    /// - Returns: nil where the bytes are no checkpoint of this version.
    package init?(_ bytes: RawSpan) {
        var reader = FieldReader(bytes)
        guard reader.integer(UInt32.self) == Checkpoint.version,
            let commit = reader.integer(UInt64.self), let cursor = reader.optionalKey(),
            let unread = reader.list({ $0.range() }),
            let voids = reader.list({ reader -> VoidRange? in
                guard let range = reader.range(), let raw = reader.integer(UInt64.self)
                else { return nil }
                return VoidRange(range: range, sequence: SequenceNumber(raw: raw))
            }),
            let runs = reader.list({ $0.list { $0.sortedRun() } }),
            let nextRun = reader.integer(UInt32.self),
            let records = reader.count(), let windows = reader.count(),
            let damageCount = reader.count(), let applied = reader.count(),
            let elided = reader.count(),
            let damage = reader.list({ reader -> PrimaryDamage? in
                guard let object = reader.text(), let problem = reader.text() else { return nil }
                return PrimaryDamage(object: object, problem: problem)
            }), let scope = reader.scope(), reader.isAtEnd,
            Checkpoint.isWhole(runs, below: nextRun), SequenceNumber.canHold(commit: commit),
            voids.allSatisfy({ $0.sequence.commit <= commit }), damageCount >= damage.count,
            damage.count <= Assistant.rememberedDamage
        else { return nil }
        self.init(
            commit: commit,
            position: .init(cursor: cursor, unread: unread, applied: applied, elided: elided),
            voids: voids, runs: runs, nextRun: nextRun, primaryRecords: records,
            windows: windows, damage: damage, damageCount: damageCount, scope: scope)
    }
}

extension Checkpoint {
    /// Whether no run has the number of another, or one that is still to be given out, and their
    /// entries can be counted.
    private static func isWhole(_ runs: [[SortedRun]], below next: UInt32) -> Bool {
        let runs = runs.joined()
        return next < 1 << 31 && runs.count <= mostRuns
            && runs.allSatisfy { $0.number < next && max($0.entries, $0.bytes) <= 1 << 48 }
            && Set(runs.map(\.number)).count == runs.count
    }

    /// The tables of a side file at the most.
    package static let mostRuns = 4096
}

/// Writes fields one behind the other.
private struct FieldWriter {
    package private(set) var bytes: [UInt8] = []

    mutating func add(_ value: some FixedWidthInteger) {
        var value = value
        unsafe withUnsafeBytes(of: &value) { unsafe bytes.append(contentsOf: $0) }
    }

    mutating func add(_ key: KeyBytes) {
        add(key.count)
        bytes += key.array
    }

    mutating func add(_ key: KeyBytes?) {
        add(key == nil ? 0 : 1 as UInt8)
        if let key { add(key) }
    }

    mutating func add(_ range: KeyRange) {
        add(range.lower)
        add(range.upper)
    }

    /// 0: none; 1: of records; 2: a range.
    mutating func add(_ scope: Scope?) {
        guard let scope else { return add(0 as UInt8) }
        add(scope.indexRange == nil ? 1 : 2 as UInt8)
        add(scope.label)
        guard let indexRange = scope.indexRange else {
            add(scope.records.ends) { $0.add($1) }
            return add(array: scope.records.bytes)
        }
        for key in [indexRange.lower, indexRange.upper, indexRange.lowest] { add(KeyBytes(key)) }
    }

    mutating func add(array: [UInt8]) {
        add(array.count)
        bytes += array
    }

    mutating func add(_ text: String) {
        add(text.utf8.count)
        bytes += Array(text.utf8)
    }

    mutating func add<T>(_ list: [T], _ body: (inout FieldWriter, T) -> Void) {
        add(list.count)
        for element in list { body(&self, element) }
    }
}

/// Reads what `FieldWriter` wrote; nil where the bytes end too early or can't be that.
private struct FieldReader: ~Copyable, ~Escapable {
    private let bytes: RawSpan
    private var position = 0

    @_lifetime(copy bytes)
    init(_ bytes: RawSpan) { self.bytes = bytes }

    var isAtEnd: Bool { position == bytes.byteCount }

    @_lifetime(self: copy self)
    mutating func integer<T: FixedWidthInteger & BitwiseCopyable>(_: T.Type) -> T? {
        let size = MemoryLayout<T>.size
        guard position + size <= bytes.byteCount else { return nil }
        defer { position += size }
        return unsafe bytes.unsafeLoadUnaligned(fromByteOffset: position, as: T.self)
    }

    /// A number that is not negative, and that a run can count on from.
    @_lifetime(self: copy self)
    mutating func count() -> Int? {
        guard let value = integer(Int.self), value >= 0, value <= 1 << 56 else { return nil }
        return value
    }

    @_lifetime(self: copy self)
    mutating func array(limit: Int) -> [UInt8]? {
        guard let size = count(), size <= limit, size <= bytes.byteCount - position
        else { return nil }
        defer { position += size }
        return bytes.extracting(position..<position + size).array
    }

    @_lifetime(self: copy self)
    mutating func key() -> KeyBytes? {
        array(limit: KeyBytes.capacity).map { KeyBytes($0) }
    }

    /// - Returns: nil where it can't be read, nil inside where there is no key.
    @_lifetime(self: copy self)
    mutating func optionalKey() -> KeyBytes?? {
        switch integer(UInt8.self) {
        case 0: return .some(nil)
        case 1: return key().map { .some($0) }
        default: return nil
        }
    }

    @_lifetime(self: copy self)
    mutating func range() -> KeyRange? {
        guard let lower = key(), let upper = optionalKey() else { return nil }
        return KeyRange(lower: lower, upper: upper)
    }

    /// - Returns: nil where it can't be read, nil inside where there is none.
    @_lifetime(self: copy self)
    mutating func scope() -> Scope?? {
        switch integer(UInt8.self) {
        case 0: return .some(nil)
        case 1:
            guard let label = text(), let ends = list({ $0.count() }),
                let bytes = array(limit: .max), let records = RecordRanges(bytes: bytes, ends: ends)
            else { return nil }
            return .some(Scope(label: label, records: records))
        case 2:
            guard let label = text(), let lower = key(), let upper = key(), let lowest = key()
            else { return nil }
            let indexRange = Scope.IndexRange(
                lower: lower.array, upper: upper.array, lowest: lowest.array)
            return .some(Scope(label: label, indexRange: indexRange))
        default: return nil
        }
    }

    @_lifetime(self: copy self)
    mutating func text() -> String? {
        array(limit: 1 << 20).map { String(decoding: $0, as: UTF8.self) }
    }

    @_lifetime(self: copy self)
    mutating func sortedRun() -> SortedRun? {
        guard let number = integer(UInt32.self), let entries = count(), let bytes = count()
        else { return nil }
        return SortedRun(number: number, entries: entries, bytes: bytes)
    }

    @_lifetime(self: copy self)
    mutating func list<T>(_ body: (inout FieldReader) -> T?) -> [T]? {
        guard let size = count(), size <= bytes.byteCount - position else { return nil }
        var list: [T] = []
        for _ in 0..<size {
            guard let element = body(&self) else { return nil }
            list.append(element)
        }
        return list
    }
}
