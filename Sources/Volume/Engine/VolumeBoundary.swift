// What the framework may do while the commit lock is held: see `CommitBoundary`. Each
// change is a transaction of its own, in the writer's turn, between two groups.

internal import Bytes
internal import GenerationLife
internal import LMDB
internal import Synchronization
internal import Tidemark
internal import VolumeFormat

@safe
final class VolumeBoundary: CommitBoundary, Generations, Amending, Correcting, RunJournal {
    private let core: VolumeCore
    /// The writer's operations, good as long as the boundary's closure runs; nil for a
    /// volume that is open for reading, where no commit ever comes.
    private var operations: UnsafeMutablePointer<Operations>?

    private init(_ core: VolumeCore, _ operations: UnsafeMutablePointer<Operations>?) {
        self.core = core
        unsafe self.operations = unsafe operations
    }

    /// Runs `body` with a boundary that can't be used afterwards.
    static func run<R>(
        _ operations: inout Operations, _ body: (any CommitBoundary) throws -> R
    ) throws -> R {
        let core = operations.core
        return try unsafe withUnsafeMutablePointer(to: &operations) { pointer in
            let boundary = unsafe VolumeBoundary(core, pointer)
            defer { unsafe boundary.operations = nil }
            return try body(boundary)
        }
    }

    /// A boundary of a volume that does not change.
    static func frozen(_ core: VolumeCore) -> VolumeBoundary { unsafe VolumeBoundary(core, nil) }

    var lastCommit: UInt64 { core.environment.statistics.lastTransaction }

    func snapshot() throws -> any OwnerSnapshot { try VolumeSnapshot(core) }

    var generations: (any Generations)? { self }
    var amending: (any Amending)? { self }
    var counters: (any Correcting)? { self }
    /// A volume that is open for reading can store no record.
    var journal: (any RunJournal)? { unsafe operations == nil ? nil : self }

    // MARK: Hooks

    var hooks: [any CommitHook] {
        guard let operations = unsafe operations else { return [] }
        return unsafe operations.pointee.hooks
    }

    func attach(_ hook: any CommitHook) {
        guard let operations = unsafe operations else { return }
        unsafe operations.pointee.hooks.append(hook)
        unsafe operations.pointee.noteHooks()
    }

    func detach(_ hook: any CommitHook) {
        guard let operations = unsafe operations else { return }
        unsafe operations.pointee.hooks.removeAll { $0 === hook }
        unsafe operations.pointee.noteHooks()
    }

    // MARK: Generations

    func createGeneration(of index: IndexSlot) throws -> UInt32 {
        try change { try $0.createGeneration(of: index) }
    }

    func append(
        _ batch: EntryBatch, to generation: UInt32, of index: IndexSlot, end: KeyBytes?
    ) throws {
        try change { try $0.load(batch, into: generation, of: index, end: end) }
    }

    func validate(generation: UInt32, of index: IndexSlot) throws -> String? {
        try change { try $0.validate(generation, of: index) }
    }

    func activate(generation: UInt32, of index: IndexSlot, keepsOld: Bool) throws {
        try change { try $0.activate(generation, of: index, keepsOld: keepsOld) }
    }

    func previousGeneration(of index: IndexSlot) throws -> UInt32? {
        guard index != GroupState.linksSlot else { return nil }
        if let operations = unsafe operations {
            return unsafe operations.pointee.state[index].previous?.number
        }
        let name = VolumeCore.indexes[index.rawValue].name
        return try VolumeSnapshot(core).generations()
            .first { $0.index == name && $0.state == .previous }?.number
    }

    func rollBack(_ indexes: [IndexSlot]) throws {
        try change { for index in indexes { try $0.rollBack(index) } }
    }

    func forgetPrevious(of indexes: [IndexSlot]) throws {
        try change { for index in indexes { try $0.forgetPrevious(of: index) } }
    }

    func discard(generation: UInt32, of index: IndexSlot) throws {
        try change { try $0.discard(generation, of: index) }
    }

    func discardUnfinished(of index: IndexSlot) throws {
        guard index != GroupState.linksSlot else { return }
        guard let load = unsafe operations?.pointee.state[index].load else { return }
        try discard(generation: load.generation.number, of: index)
    }

    func amend(_ index: IndexSlot, _ entries: [(key: [UInt8], value: [UInt8]?)]) throws -> Int {
        try change { try $0.amend(index, entries) }
    }

    func correct(
        _ index: IndexSlot, _ corrections: [(key: [UInt8], value: [UInt8])]
    ) throws -> Int {
        try change { try $0.correct(index, corrections) }
    }

    func settleCounts(of snapshot: any OwnerSnapshot) throws -> [String] {
        guard let snapshot = snapshot as? VolumeSnapshot else { return [] }
        let differences = snapshot.countDifferences, blocks = snapshot.freeBlockDifference
        let settled = core.settledIndexes.withLock { names in
            defer { names = [] }
            return names
        }
        let kinds = settled.isEmpty ? [] : [CountDifference.activeKind]
        guard !differences.isEmpty || blocks != 0 else { return kinds }
        let commit = snapshot.commit
        // What somebody else has settled since is not settled twice, and not told as settled.
        let (hasSettledAll, hasSettledBlocks) = try change { operations in
            var hasSettledAll = !differences.isEmpty
            for difference in differences where !operations.settle(difference, of: commit) {
                hasSettledAll = false
            }
            guard blocks != 0, operations.maySettle(.freeBlocks, of: commit) else {
                return (hasSettledAll, false)
            }
            operations.countFree(blocks)
            return (hasSettledAll, true)
        }
        return kinds + (hasSettledAll ? [CountDifference.kind] : [])
            + (hasSettledBlocks ? [CountDifference.counterKind] : [])
    }

    func reap(limit: Int) throws -> Bool {
        if unsafe operations == nil { return false }
        return try change { try $0.reap(limit: limit) }
    }

    // MARK: Runs

    func newRunNumber() throws -> UInt64 {
        let known = try runs().map(\.number).max() ?? 0
        guard let operations = unsafe operations else { return known + 1 }
        return unsafe operations.pointee.newRunNumber(after: known)
    }

    func runs() throws -> [RunRecord] {
        try readRuns(core.environment.beginRead().cursor(core.tables.runs)).records
    }

    func store(_ run: RunRecord) throws { try change { try $0.store(run) } }

    func keepLog() throws {
        guard let operations = unsafe operations else { return }
        unsafe operations.pointee.keepLog()
    }

    func loading(of index: IndexSlot) -> (generation: UInt32, cursor: KeyBytes?)? {
        guard index != GroupState.linksSlot,
            let load = unsafe operations?.pointee.state[index].load, load.invalidity == nil
        else { return nil }
        return (load.generation.number, load.isWhole ? nil : load.end)
    }

    /// Runs `body` in a transaction, commits it and reports it.
    private func change<R>(_ body: (inout Operations) throws -> R) throws -> R {
        guard let operations = unsafe operations else {
            throw VolumeError.readOnly("volume \(core.path)")
        }
        do {
            return try unsafe operations.pointee.atBoundary(body)
        } catch let refusal as GenerationRefusal {
            throw VolumeError.invalid(refusal.description)
        }
    }
}

extension Operations {
    /// One transaction between two groups. Hooks are told of it, but not asked to admit
    /// it: whoever would make room for them may be the one who waits here.
    mutating func atBoundary<R>(_ body: (inout Operations) throws -> R) throws -> R {
        try core.checkNotStopped()
        let result: R
        do {
            try beginTransaction()
            result = try body(&self)
        } catch let error as LMDBError {
            throw VolumeError(abortGroup(error))
        } catch {
            abortGroup(LMDBError(code: .invalid, operation: "change", object: core.path))
            throw error
        }
        if let error = commitGroup(by: .boundary) { throw VolumeError(error) }
        return result
    }
}
