// What a run does to the tree in memory at a commit boundary. A generation lives as it does in
// a volume (Sources/Volume/Engine/Operations+Generations.swift): made empty, loaded in
// batches, validated, made active; the one before it is deleted in steps.

internal import Bytes
internal import GenerationLife
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

struct MemoryBoundary: CommitBoundary, Generations, Amending, Correcting, RunJournal {
    private unowned let tree: MemoryTree

    init(_ tree: MemoryTree) { self.tree = tree }

    var lastCommit: UInt64 { tree.current.commit }
    var hooks: [any CommitHook] { tree.attached }
    func attach(_ hook: any CommitHook) { tree.attach(hook) }
    func detach(_ hook: any CommitHook) { tree.detach(hook) }
    func snapshot() throws -> any OwnerSnapshot { tree.current }

    var generations: (any Generations)? { self }
    var amending: (any Amending)? { self }
    var counters: (any Correcting)? { self }
    var journal: (any RunJournal)? { self }

    func createGeneration(of index: IndexSlot) throws -> UInt32 {
        try tree.change { try $0.createGeneration(of: index) }
    }

    func append(
        _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws {
        try tree.change { try $0.load(batch, into: generation, of: index, end: end) }
    }

    func validate(generation: UInt32, of index: IndexSlot) throws -> String? {
        try tree.change { try $0.validate(generation, of: index) }
    }

    func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws {
        try tree.change { $0.emptyTooEarly(index) }
        try tree.change { try $0.activate(generation, of: index, keepsOld: keepsOld) }
    }

    func previousGeneration(of index: IndexSlot) -> UInt32? {
        tree.current.state[index].previous?.number
    }

    func rollBack(_ indexes: [IndexSlot]) throws {
        try tree.change { for index in indexes { try $0.rollBack(index) } }
    }

    func forgetPrevious(of indexes: [IndexSlot]) throws {
        try tree.change { for index in indexes { $0.forgetPrevious(of: index) } }
    }

    func discard(generation: UInt32, of index: IndexSlot) throws {
        try tree.change { try $0.discard(generation, of: index) }
    }

    func discardUnfinished(of index: IndexSlot) throws {
        guard let load = tree.current.state[index].load else { return }
        try discard(generation: load.generation.number, of: index)
    }

    func amend(_ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]) throws -> Int {
        try tree.change { $0.amend(index, entries) }
    }

    func correct(
        _ index: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        let amended = try tree.change { $0.correct(index, corrections) }
        // What has lost its last name while its count was too high goes, a little later.
        if index == VolumeSlots.links { try tree.change { $0.reclaimUnlinked() } }
        return amended
    }

    func reap(limit: Int) throws -> Bool { try tree.change { $0.reap(limit: limit) } }

    func newRunNumber() -> UInt64 { (tree.current.state.runs.last?.number ?? 0) + 1 }
    func runs() -> [RunRecord] { tree.current.state.runs }
    func store(_ run: RunRecord) throws { try tree.change { $0.store(run) } }
    func keepLog() { tree.keepLog() }

    func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)? {
        guard let load = tree.current.state[index].load, load.invalidity == nil else { return nil }
        return (load.generation.number, load.end.map { KeyBytes($0) })
    }
}

extension MemoryOperations {
    mutating func createGeneration(of slot: IndexSlot) throws -> UInt32 {
        guard slot != VolumeSlots.links else {
            throw VolumeError.invalid("a generation of links: the counts stand in the inodes")
        }
        dropEmptied()
        let used = state.retired.filter { $0.slot == slot && !$0.isForgotten }
            .map(\.generation.number)
        let number = try state[slot].newNumber(retired: used)
        hasChanged = true
        state[slot].load = MemoryLoad(generation: MemoryGeneration(number: number))
        return number
    }

    /// Appends sorted entries above all that are there, and moves the load cursor.
    mutating func load(
        _ batch: EntryBatch, into number: UInt32, of slot: IndexSlot, end: KeyBytes?
    ) throws {
        let load = try state[slot].loading(number)
        guard let cursor = load.end else {
            preconditionFailure("a whole generation takes no more")
        }
        let isOrdered = end.map { compareBytes($0.span, cursor.rawSpan) >= 0 } ?? true
        precondition(isOrdered, "the load cursor moves forward only")
        hasChanged = true
        if slot == VolumeSlots.quota {
            state[slot].load = loadUsage(batch, into: load, end: end?.array)
            return
        }
        var position = batch.startPosition
        while position < batch.endPosition {
            let entry = MemoryEntry(
                key: batch.key(at: position).array, value: batch.value(at: position).array)
            guard state[slot].load?.generation.table.append(entry) == true else {
                throw VolumeError.invalid("appending an entry that is not above all others")
            }
            state[slot].load?.expected += 1
            position = batch.position(after: position)
        }
        state[slot].load?.end = end?.array
    }

    /// - Returns: what is wrong with the generation, or nil.
    func validate(_ number: UInt32, of slot: IndexSlot) throws -> String? {
        try state[slot].problem(of: number) { ($0.generation.table.count, $0.expected) }
    }

    /// By a mistake made on purpose the active generation is emptied before another is active.
    mutating func emptyTooEarly(_ slot: IndexSlot) {
        guard mutants.have(.reapBeforeFlip) else { return }
        hasChanged = true
        state[slot].active.table.removeLast(state[slot].active.table.count)
    }

    mutating func activate(_ number: UInt32, of slot: IndexSlot, keepsOld: Bool) throws {
        if let problem = try validate(number, of: slot) {
            throw VolumeError.invalid("making generation \(number) active: \(problem)")
        }
        let load = try state[slot].loading(number)
        hasChanged = true
        note(try state[slot].activate(number, keepsOld: keepsOld), of: slot)
        state.usage = state.usage + load.usageCorrection
    }

    /// The active and the previous generation change places.
    mutating func rollBack(_ slot: IndexSlot) throws {
        note(try state[slot].rollBack(), of: slot)
        hasChanged = true
    }

    mutating func forgetPrevious(of slot: IndexSlot) {
        guard let old = state[slot].forgetPrevious() else { return }
        hasChanged = true
        state.retired.append(MemoryState.Retired(slot: slot, generation: old))
    }

    mutating func discard(_ number: UInt32, of slot: IndexSlot) throws {
        let old = try state[slot].discard(number)
        hasChanged = true
        state.retired.append(MemoryState.Retired(slot: slot, generation: old))
    }

    private mutating func note(_ moves: [GenerationMove<MemoryGeneration>], of slot: IndexSlot) {
        for move in moves where move.role == .retired {
            state.retired.append(MemoryState.Retired(slot: slot, generation: move.generation))
        }
    }

    /// Adds corrections to the counters of a summary.
    mutating func correct(
        _ slot: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) -> Int {
        slot == VolumeSlots.quota ? correctUsage(corrections) : correctLinks(corrections)
    }

    /// Makes entries of the active generation what they should be.
    /// - Returns: how many were not so before.
    mutating func amend(
        _ slot: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]
    ) -> Int {
        var amended = 0
        for (key, value) in entries {
            guard state[slot].active.table.find(key.rawSpan)?.value != value else { continue }
            amended += 1
            if let value {
                state[slot].active.table.put(MemoryEntry(key: key, value: value))
            } else {
                state[slot].active.table.remove(key.rawSpan)
            }
        }
        if amended > 0 { hasChanged = true }
        return amended
    }

    // MARK: Deleting

    /// Deletes up to `limit` entries.
    /// - Returns: false when no generation that is to be deleted holds an entry any more.
    mutating func reap(limit: Int) -> Bool {
        let waiting = state.retired.firstIndex { !$0.isForgotten && $0.generation.table.count > 0 }
        if let waiting {
            hasChanged = true
            state.retired[waiting].generation.table.removeLast(limit)
        }
        dropEmptied()
        return state.retired.contains { !$0.isForgotten }
    }

    private mutating func dropEmptied() {
        guard state.retired.contains(where: \.isDone) else { return }
        hasChanged = true
        state.retired.removeAll(where: \.isDone)
    }

    // MARK: Opening again

    /// Inodes without names go, in a transaction like any other: it is logged.
    private mutating func reclaimAll() {
        let lost = state.inodes.filter { $0.links == 0 }
        guard !lost.isEmpty else { return }
        for inode in lost { reclaim(inode) }
        state.commit += 1
        logDeltas()
        deltas.removeAll()
    }

    /// What opening a store does with what a crash has left: nothing is open any more, so
    /// inodes without names go; runs that were at work have crashed; what was being loaded is to
    /// be deleted, unless its run can go on with it.
    mutating func reopen() {
        crashRuns()
        state.opens = []
        reclaimAll()
        for slot in MemoryState.slots {
            guard let load = state[slot].load, !isResumable(load, of: slot) else { continue }
            state.retired.append(MemoryState.Retired(slot: slot, generation: load.generation))
            state[slot].load = nil
        }
        // They are found by the keys of their records: by name, and the number in decimal.
        state.retired.sort { $0.recordKey.lexicographicallyPrecedes($1.recordKey) }
        guard mutants.have(.forgetsReapingInCrash) else { return }
        for place in state.retired.indices { state.retired[place].isForgotten = true }
    }
}

extension MemoryState {
    /// Whether opening it again would change nothing.
    var isAsReopened: Bool {
        opens.isEmpty && runs.isEmpty && retired.isEmpty
            && MemoryState.slots.allSatisfy { self[$0].load == nil }
            && !inodes.contains { $0.links == 0 }
    }
}

extension MemoryState.Retired {
    fileprivate var isDone: Bool { !isForgotten && generation.table.count == 0 }

    fileprivate var recordKey: [UInt8] {
        let name = VolumeSlots.all[slot.rawValue].name
        return Array("\(name)/\(generation.number)".utf8)
    }
}
