// How a live index differs from what is derived, by plain code: everywhere, or where a run with a
// scope looks.

internal import Bytes
internal import Inspection
internal import Tidemark

extension Player {
    struct Difference {
        let kind: Discrepancy.Kind
        let key: [UInt8]
        /// Of a stray entry what stands there, else what should.
        let value: [UInt8]

        init(kind: Discrepancy.Kind, key: [UInt8], value: [UInt8]) {
            self.kind = kind
            self.key = key
            self.value = value
        }

        init(_ kind: Discrepancy.Kind, _ expected: Entry) {
            self.init(kind: kind, key: expected.key, value: expected.value)
        }
    }

    /// How the live index differs where the run looks at it: in its scope, if it has one.
    func differences(_ slot: IndexSlot, of run: Run) throws -> [Difference] {
        let all = try Player.differences(stage, slot)
        guard let scope = run.scope else { return all }
        let index = stage.indexed.indexes[slot.rawValue]
        return all.filter {
            // A stray entry below a range is another scope's, wherever it claims to reach.
            if $0.kind == .stray, let indexRange = scope.indexRange,
                $0.key.precedes(indexRange.lower)
            {
                return false
            }
            return scope.holds(index, Entry(key: $0.key, value: $0.value))
        }
    }

    /// How the live index differs from what the primary records derive.
    static func differences(_ stage: any Stage, _ slot: IndexSlot) throws -> [Difference] {
        let expected = try stage.folded(slot), live = try stage.live(slot)
        var result: [Difference] = [], place = 0
        for entry in live {
            while place < expected.count, expected[place].key.precedes(entry.key) {
                result.append(Difference(.missing, expected[place]))
                place += 1
            }
            guard place < expected.count, expected[place].key == entry.key else {
                result.append(Difference(kind: .stray, key: entry.key, value: entry.value ?? []))
                continue
            }
            if expected[place].value != entry.value {
                result.append(Difference(.wrong, expected[place]))
            }
            place += 1
        }
        for entry in expected[place...] {
            result.append(Difference(.missing, entry))
        }
        return result
    }
}

extension Scope {
    /// Whether the entry is one of the scope.
    func holds(_ index: any SecondaryIndex, _ entry: Entry) -> Bool {
        let key = entry.key, value = entry.value
        if let indexRange { return indexRange.holds(index, key: key.rawSpan, value: value.rawSpan) }
        let primary = index.primaryKey(of: key.rawSpan, value: value.rawSpan)
        return records.contains(primary.span)
    }
}
