// Judging what a look at a moving index has found.
//
// The live index was read after the time s1 of a candidate, and the shadow is settled to a mark
// that was made after the reading: it knows every event up to then. Where nothing that it knows of
// the key is as new as s1, neither a delta, a removal, nor a read of the key's record, nobody has
// changed the key between s1 and the mark. So what was read is what is there, and if it is not what
// is derived, that is a finding. Else the key is looked up again, with a new s1.
//
// One thing the shadow can't know: a record that the owner has and lets nobody read (a file that is
// removed and not yet freed). Its entries are in the index and derived from nothing that was read.
// So a stray entry is a finding only where the owner has said, before the look, that the record is
// not withheld: then either there is none, or it has been read, or it is younger and events tell
// of it. A difference that was found without that question is looked up again behind it.
//
// And one thing the owner may not know: an index that is damaged in how it is searched has entries
// that are there when it is read in key order, and not there when they are looked up by their keys.
// So where an answer is another than before, the key is looked at in key order again, from where
// the reading began that found it, and that counts.
//
// A key that never stands still is *unsettled* after so many looks: told and counted, neither
// clean nor a finding.

internal import Bytes
package import Contract
internal import Entries
internal import Feed
internal import Mutation
internal import Shadow

/// The shadow as of a mark.
struct SettledShadow {
    let shadow: FrozenShadow
    /// When each key was last read.
    let stamps: RangeMap
}

/// What is under work of one index.
package struct Looking {
    package let slot: IndexSlot
    package var comparison: Comparison
    /// To be judged, in key order.
    package var candidates: [Candidate] = []
    /// To be looked up again: `candidates[..<looked]` have been, since they were last judged.
    package var looked = 0

    package var parts: [LookPart] { comparison.parts.compactMap { $0 as? LookPart } }

    /// Nothing is known of what the index says of the candidates at `places`.
    fileprivate mutating func forget(_ places: some Sequence<Int>) {
        for place in places {
            candidates[place].isThere = false
            candidates[place].found = nil
        }
    }

    /// Takes what `batch` has of the candidates at `places`, which ascend; what is of none is
    /// passed over.
    /// - Returns: how many it has.
    fileprivate mutating func take(_ batch: EntryBatch, for places: ArraySlice<Int>) -> Int {
        var position = batch.startPosition, taken = 0
        for place in places {
            while position < batch.endPosition {
                let record = batch.record(at: position)
                let order = compareBytes(record.key, candidates[place].key.span)
                if order > 0 { break }
                position += record.size
                guard order == 0 else { continue }
                candidates[place].isThere = true
                candidates[place].found = record.isDamaged ? nil : record.value.array
                taken += 1
                break
            }
        }
        return taken
    }
}

extension Run {
    private var unlockedOwner: UnlockedAccess {
        guard let unlocked else { preconditionFailure("the owner is one that nobody can lock") }
        return unlocked
    }

    // MARK: Beginning and end

    /// The feed is in force when it returns, and no window is open yet.
    func prepareUnlocked() throws {
        if let reason = refusal { throw AbortReason(reason) }
        try unlockedOwner.subscribe()
        do {
            try checkAborted()
            try move(to: .scanning)
        } catch {
            unlocked?.end()
            throw error
        }
    }

    /// What the owner does not offer and the run needs.
    private var refusal: String? {
        if options.strategy != .check {
            return "\(owner.label) offers no way to mend an index: it can only be checked"
        }
        if let summary = slots.first(where: { owner.indexes[$0.rawValue].summary != nil }) {
            return "the counters of \(owner.indexes[summary.rawValue].name) can only be compared "
                + "with an owner that can be locked"
        }
        if hook.scope?.indexRange != nil {
            return "a part of an index can only be compared with an owner that can be locked"
        }
        return nil
    }

    func endFeed() {
        if !options.mutants.have(.hookLeftAttached) { unlocked?.end() }
    }

    // MARK: Watermarks

    /// Fetches changes, where there is room for them in the queue.
    /// - Returns: whether any were there.
    package func pollFeed() throws -> Bool {
        guard let unlocked, !hook.status.isFull else { return false }
        return try unlocked.poll()
    }

    /// Whether the run has a feed that is in force.
    package var hasFeed: Bool { unlocked?.isInForce ?? false }

    /// Whether all that had happened at the last mark has been delivered.
    package var isDelivered: Bool {
        options.mutants.have(.noWatermark) || unlocked?.isDelivered ?? true
    }

    /// Marks the feed: the shadow is to be settled up to this moment.
    func markFeed() throws {
        guard !options.mutants.have(.noWatermark) else { return }
        watermark = try unlockedOwner.mark()
    }

    /// The shadow as of the last mark.
    /// - Returns: nil where something is to be read again first.
    func settledShadow() throws -> SettledShadow? {
        guard let settled = hook.settled(at: watermark) else {
            try drain()
            return nil
        }
        try assistant.handle(settled.items)
        try assistant.spill(mergesSmall: true)
        try checkAborted()
        return SettledShadow(shadow: assistant.freeze(), stamps: settled.stamps)
    }

    /// Until the shadow is compared again only records that candidates can be derived from have to
    /// be read, where the owner says which they are.
    func narrow(to looking: Looking) {
        var ranges: [KeyRange] = []
        for candidate in looking.candidates {
            guard let records = unlockedOwner.owner.records(of: candidate.key, in: looking.slot)
            else {
                hook.judge(nil)
                return
            }
            ranges.append(records)
        }
        hook.judge(ranges)
    }

    /// All records have to be read for the shadow to be settled.
    /// - Returns: whether they are.
    func widen() -> Bool {
        // By a mutant: what was not needed so far is taken for settled.
        hook.judge(nil) || options.mutants.have(.comparedNarrowed)
    }

    // MARK: Looks

    /// Begins to look at the live index, or goes on where `looking` has paused.
    func look(
        _ slot: IndexSlot, at settled: SettledShadow, goingOn looking: Looking? = nil
    ) throws -> Looking {
        let index = owner.indexes[slot.rawValue]
        // Reads from here on are told apart: they are as new as a look.
        hook.keepStamps(from: hook.time())
        func merge(from key: KeyBytes) throws -> ShadowMerge {
            try settled.shadow.merge(slot.rawValue, index: index, from: key)
        }
        let parts: [LookPart]
        if let looking {
            parts = looking.parts
            for part in parts {
                if let next = part.next { part.resume(try merge(from: next)) }
            }
        } else {
            try move(to: .comparing)
            parts = try ranges(of: slot, settled).map { range in
                LookPart(
                    slot: slot, index: index, owner: unlockedOwner.owner, hook: hook,
                    shadow: try merge(from: range.lower), range: range,
                    limit: options.compareEntries,
                    most: max(1, options.candidates / max(1, options.compareParts)),
                    batchBytes: min(options.batchBytes, 1 << 16))
            }
        }
        return Looking(
            slot: slot,
            comparison: Comparison(
                slot: slot, parts: parts, remembered: Remembered(limit: 0),
                expected: settled.shadow.entries(slot.rawValue), isAgain: false))
    }

    private func ranges(of slot: IndexSlot, _ settled: SettledShadow) throws -> [KeyRange] {
        var ranges: [KeyRange] = [], lower = KeyBytes()
        let dividers = try settled.shadow.dividers(
            slot.rawValue, parts: max(1, options.compareParts)
        ) { owner.indexes[slot.rawValue].divider(near: $0) }
        for divider in dividers {
            ranges.append(KeyRange(lower: lower, upper: divider))
            lower = divider
        }
        return ranges + [KeyRange(lower: lower, upper: nil)]
    }

    /// Judges all candidates. Those that are to be looked up again stay.
    func judge(_ looking: inout Looking, at settled: SettledShadow) throws {
        guard let place = slots.firstIndex(of: looking.slot) else {
            preconditionFailure("the comparison of another run")
        }
        let index = owner.indexes[looking.slot.rawValue]
        let merge = try settled.shadow.merge(looking.slot.rawValue, index: index)
        var again: [Candidate] = []
        for candidate in looking.candidates {
            let known = try merge.newest(candidate.key)
            guard let difference = difference(candidate, known?.value, looking.slot) else {
                continue
            }
            // Of what is never read nothing was derived.
            if difference.kind == .stray, candidate.standing == .notCovered { continue }
            let isOpen = try difference.kind == .stray && !isVouched(candidate, looking.slot)
            guard !isOpen, !isNews(candidate, known, index, settled.stamps) else {
                if candidate.looks >= options.looks {
                    report.indexes[place].noteUnsettled(difference)
                } else {
                    again.append(candidate)
                }
                continue
            }
            guard tally.add(difference) else { break }
            report.indexes[place].found.add(difference.kind)
            onDiscrepancy(difference)
        }
        try checkAborted()
        looking.candidates = again
        looking.looked = 0
        hook.keepStamps(from: hook.time())
    }

    private func isVouched(_ candidate: Candidate, _ slot: IndexSlot) throws -> Bool {
        let owner = unlockedOwner.owner
        if options.mutants.have(.withheldIsGone) || !owner.mayWithhold(slot) { return true }
        if options.mutants.have(.withheldAskedLate) {
            return try owner.standing(of: [candidate.key], of: slot) == [.open]
        }
        return candidate.standing == .open
    }

    private func difference(
        _ candidate: Candidate, _ expected: [UInt8]?, _ slot: IndexSlot
    ) -> Discrepancy? {
        let kind: Discrepancy.Kind
        switch (candidate.isThere, expected) {
        case (false, nil): return nil
        case (false, _?): kind = .missing
        case (true, nil): kind = .stray
        case (true, let expected?):
            guard candidate.found != expected else { return nil }
            kind = .wrong
        }
        return Discrepancy(
            index: slot, kind: kind, key: candidate.key.array, found: candidate.found,
            expected: expected)
    }

    /// Whether anything that the shadow knows of the key is as new as the look at it.
    private func isNews(
        _ candidate: Candidate, _ known: (sequence: SequenceNumber, value: [UInt8]?)?,
        _ index: any SecondaryIndex, _ stamps: RangeMap
    ) -> Bool {
        if options.mutants.have(.candidatesAreFindings) { return false }
        if let known, known.sequence >= candidate.looked { return true }
        if options.mutants.have(.rereadIsNoNews) { return false }
        var values = [candidate.found, known?.value].compactMap { $0 }
        if values.isEmpty { values = [[]] }
        return values.contains { value in
            let primary = index.primaryKey(of: candidate.key.span, value: value.rawSpan)
            let read = stamps[primary.span]
            // It has no stamp where a loss was told behind the mark.
            if read == .none { return !options.mutants.have(.comparedBeforeReread) }
            return read >= candidate.looked
        }
    }

    /// Looks some of the candidates up again.
    /// - Returns: whether there are more.
    func lookUp(_ looking: inout Looking) throws -> Bool {
        let end = min(looking.candidates.count, looking.looked + options.compareEntries)
        let part = looking.looked..<end
        let time = hook.time(), batch = EntryBatch()
        let before = Array(looking.candidates[part])
        let owner = unlockedOwner.owner, keys = looking.candidates[part].map(\.key)
        let isAsked = owner.mayWithhold(looking.slot)
        let standing = isAsked ? try owner.standing(of: keys, of: looking.slot) : []
        guard !isAsked || standing.count == keys.count else {
            throw AbortReason("the owner has not said how each record stands")
        }
        for place in part {
            looking.candidates[place].looked = time
            looking.candidates[place].looks += 1
            looking.candidates[place].standing =
                isAsked ? standing[place - part.lowerBound] : nil
        }
        looking.forget(part)
        try owner.lookUp(keys, of: looking.slot, into: batch)
        guard looking.take(batch, for: Array(part)[...]) == batch.count else {
            throw AbortReason("the owner has looked up what it was not asked for")
        }
        if !options.mutants.have(.lookUpIsBelieved) {
            let changed = part.filter { place in
                let then = before[place - part.lowerBound], now = looking.candidates[place]
                return then.isThere != now.isThere || then.found != now.found
            }
            try readInOrder(changed[...], of: &looking, batch)
        }
        looking.looked = end
        return end < looking.candidates.count
    }

    /// Looks at candidates in key order, each from where the reading began that found it.
    private func readInOrder(
        _ places: ArraySlice<Int>, of looking: inout Looking, _ batch: EntryBatch
    ) throws {
        var rest = places
        looking.forget(places)
        var next: KeyBytes?
        while let place = rest.first {
            let candidate = looking.candidates[place]
            let from = next ?? candidate.from
            batch.removeAll()
            next = try unlockedOwner.owner.entries(
                of: looking.slot, from: from, limit: options.compareEntries, into: batch)
            if let next, !(from < next) {
                throw AbortReason("reading the live index does not move on from \(from.array)")
            }
            // Those that this reading has passed, and that lie where it has begun.
            let passed = rest.prefix { place in
                let other = looking.candidates[place]
                return !(candidate.from < other.from) && (next.map { other.key < $0 } ?? true)
            }
            _ = looking.take(batch, for: passed)
            rest = rest.dropFirst(passed.count)
            if !passed.isEmpty { next = nil }
        }
    }

    /// Takes what a comparison has looked at that ends early. What it has found was taken when it
    /// was judged.
    func note(unfinished looking: Looking) {
        guard let place = slots.firstIndex(of: looking.slot) else { return }
        for part in looking.parts { report.indexes[place].entries += part.entries }
    }

    /// Takes what a comparison has found that has come to its end.
    func finish(_ looking: Looking) throws {
        guard let place = slots.firstIndex(of: looking.slot) else {
            preconditionFailure("the comparison of another run")
        }
        hook.keepStamps(from: nil)
        for part in looking.parts {
            report.indexes[place].entries += part.entries
            if let key = part.malformed {
                throw AbortReason(
                    "the shadow of \(report.indexes[place].name) holds what can't be an entry, "
                        + "key \(key): a damaged side file")
            }
        }
    }
}
