// The tree in memory: the owner on which races are explored. It serves the same indexes as a
// volume, from the same records under the same keys, and makes the same changes in the same
// order; but nothing happens by itself, nothing waits, and starting again costs nothing.
//
// A transaction is three steps: `begin`; `commit`, after which snapshots see what it did and
// no hook knows; `report`, in which the hooks are told. Between `begin` and the end of
// `report` there is no commit boundary.
//
// Versions (`MemorySnapshot`) are immutable and shared: whoever wants a snapshot is given the
// last one. Used by one thread at a time.

internal import Bytes
internal import Inspection
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

final class MemoryTree: ExactOwner, @unchecked Sendable {
    /// How far the transaction under way has come.
    private enum Phase {
        case none
        case begun(Transaction)
        /// `commit` is the number to be told to the hooks; nil: nothing is to be told.
        case committed(UInt64?)
    }

    let label = "a tree in memory"
    let indexes = VolumeSlots.all
    /// The last version that was committed.
    private(set) var current: MemorySnapshot
    /// What the machine's coming down leaves.
    private var durable: MemorySnapshot
    /// The versions that were committed at boundaries since `beginStep`: where a crash in the
    /// middle of a step can leave the tree.
    private(set) var committedInStep: [MemorySnapshot] = []
    /// From the first `beginStep` on: whoever never asks is not to pay for it.
    private var keepsVersions = false
    private var hooks: [any CommitHook] = []
    private var phase = Phase.none
    private var operations: MemoryOperations
    /// Every so many transactions one is reported as "read these again"; 0: none.
    private let voidEvery: Int
    /// By a mistake made on purpose: the version that becomes visible too late.
    private var belated: MemorySnapshot?
    /// Numbers that the last transaction gave to new inodes, and that others had before.
    var reusedInodes: [InodeNumber] { operations.reused }

    /// A tree with its first contents, which are durable.
    /// - Parameter setup: one transaction each.
    /// - Throws: `StageError.refused` where an operation is impossible.
    init(_ description: StoreDescription, setup: [Operation] = []) throws {
        let blocks = UInt64(max(0, description.blocks))
        let state = try MemoryState.empty(blocks: blocks)
        voidEvery = description.voidEvery
        current = MemorySnapshot(state)
        durable = current
        operations = MemoryOperations(state, blocks: blocks, VolumeSlots.all)
        operations.logBytes = description.log ?? .max
        for operation in setup { try run(Transaction([operation])) }
        operations.state.sinceVoid = 0
        makeVersion()
        durable = current
    }

    /// Another tree that goes on from a version of `other`, as if that had just been made.
    init(_ other: MemoryTree, at version: MemorySnapshot) {
        voidEvery = other.voidEvery
        current = version
        durable = version
        operations = MemoryOperations(
            version.state, blocks: other.operations.blocks, VolumeSlots.all)
    }

    /// Goes on from `version`, as if the tree had just been made.
    func reset(to version: MemorySnapshot) {
        current = version
        durable = version
        operations.state = version.state
        committedInStep.removeAll(keepingCapacity: true)
        hooks.removeAll(keepingCapacity: true)
        phase = .none
        belated = nil
        noteHooks()
    }

    /// Equal for equal trees, whatever their commits' numbers are. Who is attached, and how far
    /// a transaction under way has come, is for others to know.
    var fingerprint: UInt64 {
        var hash = StateHash(6)
        hash.add(current.fingerprint)
        hash.add(durable.fingerprint)
        return hash.value
    }

    /// The fingerprint of the version that a crash would leave, opened again.
    func crashFingerprint(isMachine: Bool) -> UInt64 {
        let version = isMachine ? durable : current
        if let known = version.crashFingerprint { return known }
        var state = version.state
        if !state.isAsReopened {
            var others = MemoryOperations(state, blocks: operations.blocks, indexes)
            others.mutants = operations.mutants
            others.reopen()
            state = others.state
        }
        version.crashFingerprint = state.fingerprint
        return state.fingerprint
    }

    /// What records of runs and hook log add to the fingerprint.
    func describeRuns(into digest: inout StateDigest) {
        current.state.describeRuns(into: &digest)
        digest.add(commit: durable.commit)
        if durable !== current { durable.state.describeRuns(into: &digest) }
    }

    /// What they add to the fingerprint of the version that a crash would leave.
    func describeRunsAfterCrash(isMachine: Bool, into digest: inout StateDigest) {
        (isMachine ? durable : current).state.describeRuns(into: &digest)
    }

    #if TIDEMARK_MUTANTS
    /// The mistake that the tree is to make, if any.
    var mutant: OwnerMutant? {
        get { operations.mutants.mistake }
        set { operations.mutants.mistake = newValue }
    }
    #endif

    // MARK: Transactions

    func begin(_ transaction: Transaction) throws {
        guard case .none = phase else { preconditionFailure("one transaction at a time") }
        let isAlone = transaction.operations.count == 1 && !transaction.isAborted
        guard isAlone || !transaction.operations.contains(where: \.isOpenOrClose) else {
            throw StageError.refused(
                "open or close in a transaction with others, or one that is aborted; give it a "
                    + "transaction of its own")
        }
        phase = .begun(transaction)
    }

    /// - Throws: `StageError.refused` where an operation is impossible; the transaction is
    ///   then over, and has done nothing.
    func commit() throws {
        guard case .begun(let transaction) = phase else {
            preconditionFailure("a transaction begins before it commits")
        }
        if transaction.isSync {
            durable = current
            phase = .committed(nil)
            return
        }
        operations.begin(isVoid: voidEvery > 0 && operations.state.sinceVoid + 1 == voidEvery)
        do {
            for operation in transaction.operations { try operations.perform(operation) }
        } catch {
            takeBack()
            phase = .none
            throw StageError.refused("\(error)")
        }
        if transaction.isAborted { takeBack() }
        if transaction.isAborted, !operations.mutants.have(.reportedOnAbort) {
            phase = .committed(nil)
        } else {
            commitTransaction()
        }
    }

    private func takeBack() {
        operations.state = current.state
        operations.hasOpenedOrClosed = false
        operations.reused = []
    }

    private func commitTransaction() {
        guard operations.hasChanged else {
            if operations.hasOpenedOrClosed { makeVersion() }
            phase = .committed(nil)
            return
        }
        operations.state.commit += 1
        operations.logDeltas()
        if voidEvery > 0 {
            let since = operations.state.sinceVoid + 1
            operations.state.sinceVoid = since == voidEvery ? 0 : since
        }
        phase = .committed(operations.state.commit)
        guard operations.mutants.have(.reportedBeforeCommit) else { return makeVersion() }
        belated = MemorySnapshot(operations.state)
        var old = current.state
        old.commit += 1
        current = MemorySnapshot(old)
        tell(operations.state.commit)
    }

    /// The hooks are told, and the transaction is over.
    func report() {
        guard case .committed(let number) = phase else {
            preconditionFailure("a transaction commits before it is reported")
        }
        phase = .none
        if let version = belated.take() {
            current = version
        } else if let number {
            tell(number)
        }
    }

    private func tell(_ number: UInt64, by origin: CommitOrigin = .writer) {
        for hook in hooks { hook.committed(number, by: origin, deltas: operations.deltas) }
    }

    /// Runs a transaction to its end.
    func run(_ transaction: Transaction) throws {
        try begin(transaction)
        try commit()
        report()
    }

    /// What the operations have made of the state is what snapshots see from here on.
    private func makeVersion() { current = MemorySnapshot(operations.state) }

    // MARK: Boundaries

    /// The explorer's next step begins.
    func beginStep() {
        keepsVersions = true
        committedInStep.removeAll(keepingCapacity: true)
    }

    func atCommitBoundary<R: Sendable>(
        _ body: @Sendable (any CommitBoundary) throws -> R
    ) throws -> R {
        guard case .none = phase else {
            preconditionFailure("a commit boundary inside a transaction")
        }
        return try body(MemoryBoundary(self))
    }

    func snapshot() throws -> any OwnerSnapshot { current }

    func makeDurable() { durable = current }

    var durableCommit: UInt64 { durable.commit }

    /// From the next commit on deltas are logged, which changes nothing yet.
    func keepLog() {
        guard current.state.log.since == nil else { return }
        operations.keepLog()
        let isDurable = durable === current
        makeVersion()
        if isDurable { durable = current }
    }

    /// One transaction at a boundary, of which the hooks are told. Where it changes nothing
    /// there is no commit.
    func change<R>(_ body: (inout MemoryOperations) throws -> R) throws -> R {
        operations.begin(isVoid: false)
        let result: R
        do { result = try body(&operations) } catch {
            operations.state = current.state
            operations.noteWants()
            throw error
        }
        guard operations.hasChanged else { return result }
        operations.state.commit += 1
        operations.logDeltas()
        makeVersion()
        if keepsVersions { committedInStep.append(current) }
        tell(operations.state.commit, by: .boundary)
        return result
    }

    var attached: [any CommitHook] { hooks }

    func attach(_ hook: any CommitHook) {
        hooks.append(hook)
        noteHooks()
    }

    func detach(_ hook: any CommitHook) {
        hooks.removeAll { $0 === hook }
        noteHooks()
    }

    private func noteHooks() {
        for slot in indexes.indices {
            operations.hookWants[slot] = hooks.contains { $0.wants(IndexSlot(slot)) }
        }
        operations.noteWants()
    }

    // MARK: Damage and crashes

    /// Makes the live index hold `value` at `key`, or nothing, behind everybody's back. It is
    /// durable: part of what the tree is at the start.
    /// - Returns: whether there was an entry.
    func alter(_ slot: IndexSlot, key: [UInt8], value: [UInt8]?) -> Bool {
        guard case .none = phase else { preconditionFailure("damage inside a transaction") }
        let wasThere = operations.state.alter(slot, key: key, value: value)
        makeVersion()
        durable = current
        return wasThere
    }

    /// The process comes down, or the machine, and the tree is opened again: as the last
    /// commit left it, or what was durable; or as `version`, one of `committedInStep`.
    func crash(isMachine: Bool, at version: MemorySnapshot? = nil) {
        let lastCommit = max(current.commit, belated?.commit ?? 0)
        var left = (isMachine ? durable : version ?? current).state
        // The numbers of what the machine has lost are given again.
        if !isMachine { left.commit = lastCommit }
        hooks.removeAll()
        phase = .none
        belated = nil
        committedInStep.removeAll()
        operations.state = left
        noteHooks()
        operations.begin(isVoid: false)
        operations.reopen()
        makeVersion()
        durable = current
    }
}

extension Operation {
    /// What a volume does outside of transactions.
    var isOpenOrClose: Bool {
        switch self {
        case .open, .close: true
        default: false
        }
    }
}

extension MemoryState {
    /// A tree that has just been made: the root, and the store's own blocks.
    static func empty(blocks: UInt64) throws -> MemoryState {
        let reserved = UInt64(TreeLayout.reservedAtStart) + UInt64(TreeLayout.reservedAtEnd)
        guard blocks > reserved, blocks < 1 << 40 else {
            throw StageError.refused("a store of \(blocks) blocks")
        }
        let geometry = Geometry(
            blockSize: TreeLayout.blockSize, blocks: blocks,
            reservedAtStart: TreeLayout.reservedAtStart,
            reservedAtEnd: TreeLayout.reservedAtEnd, identity: (0, 0))
        var state = MemoryState()
        state.put(
            MemoryInode(
                number: .root, type: .directory, permissions: 0o755, links: 2, generation: 1,
                parent: .root))
        for extent in geometry.reservedExtents {
            let record = MemoryRecord(extent)
            state.records.put(record)
            state.rmap.add(record.entry)
        }
        let share = QuotaShare(uid: 0, gid: 0, project: 0, blocks: 0)
        state.records.put(MemoryRecord(.root, share))
        state.count(from: nil, to: share)
        state.free = [
            FreeRecord(start: UInt64(TreeLayout.reservedAtStart), length: blocks - reserved)
        ]
        state.freeBlocks = blocks - reserved
        return state
    }
}
