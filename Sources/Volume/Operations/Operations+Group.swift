// A group: the transaction in which operations are run, from its beginning to the moment
// when hooks and callers are told of its commit.

internal import Bytes
internal import LMDB
internal import Synchronization
internal import Tidemark
internal import VolumeFormat

extension Operations {
    /// A turn of the writer thread. The group may stay open.
    mutating func run(_ turn: Turn) {
        let before = transaction.isOver ? 0 : groupSize
        if turn.endsGroup, !transaction.isOver { _ = commitGroup() }
        if transaction.isOver { runBoundaryWork() }
        run(turn.jobs, staysOpen: !turn.isLast && !turn.isExpedited)
        stayBusy(after: before)
    }

    /// Runs jobs as one group or several.
    mutating func run(_ jobs: [any Job], staysOpen: Bool = false) {
        for job in jobs {
            if job.isAlone, !transaction.isOver { _ = commitGroup() }
            runInGroup(job)
            if job.isAlone, !transaction.isOver { _ = commitGroup() }
        }
        if !transaction.isOver, !(staysOpen && mayStayOpen) { _ = commitGroup() }
    }

    mutating func runInGroup(_ job: any Job) {
        do throws(LMDBError) {
            // What was lost is not followed by what came after it.
            if core.hasLost.load(ordering: .relaxed) {
                throw LMDBError(code: .panic, operation: "change", object: core.path)
            }
            if transaction.isOver { try beginGroup() }
        } catch {
            return job.end(error)
        }
        job.run(&self)
        if let cause = job.mustAbort ?? failure { return fail(job, cause) }
        keep(job)
    }

    /// Begins a group.
    mutating func beginGroup() throws(LMDBError) {
        try beginWithRoom()
        beginOpenGroup()
    }

    /// Begins the transaction of a group. Hooks may make it wait before that, with no lock held;
    /// so may durable points, where they are behind or pages are short.
    private mutating func beginWithRoom() throws(LMDBError) {
        // Boundaries go on meanwhile: a run empties its queue only after the one it waits for.
        for hook in hooks { while !hook.admit(within: 0.001) { runBoundaryWork() } }
        // The disk is far behind: writers go no faster than it, or the file grows and grows.
        if core.writtenSincePoint > GroupLimits.pointsBehind * core.durableBytes {
            settleDurably()
        }
        try beginTransaction()
        // Before the log has to give way, for nobody waits for it.
        if state.log.since != nil, freePages < GroupLimits.logShortPages { askForPoint() }
        guard freePages < GroupLimits.shortPages else {
            settledPages = .max - GroupLimits.settledPages
            return
        }
        guard freePages + GroupLimits.settledPages < settledPages else { return }
        // Pages freed since the last durable point are pinned by it: make another.
        transaction.abortNow()
        core.environment.clearDeadReaders()
        settleDurably()
        try beginTransaction()
        settledPages = freePages
    }

    /// Waits for a durable point. The sync thread needs a commit boundary for it: this is one.
    private mutating func settleDurably() {
        guard core.environment.statistics.lastTransaction != core.durableCommit,
            let keeper = core.keeper.withLock({ $0 }), let ticket = keeper.request()
        else { return }
        while !keeper.isAnswered(ticket, within: 0.001) { runBoundaryWork() }
    }

    mutating func beginTransaction() throws(LMDBError) {
        precondition(transaction.isOver, "a group inside a group")
        let free = try core.environment.freePages(plenty: GroupLimits.plentyOfPages)
        freePages = free.available ?? .max
        newPages = free.new
        freedPages = free.freedByLast
        transaction = try core.environment.beginWrite()
        beginChanges()
        groupSize = 0
        hasChanged = false
    }

    /// Commits, and tells the hooks and the callers of the jobs that have ended. Where that fails
    /// and some were acknowledged already, all that have ended are replayed, and committed.
    /// - Parameter origin: what the hooks are told of whose commit it is.
    /// - Returns: nil, or why nothing has happened of the group, or of the job under way. Either
    ///   way the transaction is over.
    mutating func commitGroup(by origin: CommitOrigin = .writer) -> LMDBError? {
        guard let error = commitTransaction(by: origin) else { return nil }
        guard openGroup.hasAcknowledged else { return abortGroup(error) }
        if goBack(), let again = commitTransaction(by: origin) { abortGroup(again) }
        return error
    }

    /// - Returns: why it can't be committed; then nobody has been told of anything.
    private mutating func commitTransaction(by origin: CommitOrigin) -> LMDBError? {
        if let failure { return failure }
        let number = transaction.commit
        do throws(LMDBError) {
            transaction.note(in: nil)
            try storeState()
            try logDeltas()
            try transaction.commitNow()
        } catch {
            return error
        }
        committed = state
        endOpenGroup()
        // A transaction without changes makes no commit, and its number is used again.
        let environment = core.environment.statistics
        if environment.lastTransaction == number {
            for hook in hooks { hook.committed(number, by: origin, deltas: deltas) }
            countWritten(environment.usedBytes, environment.pageSize)
        }
        core.indexAnomalies.store(
            state.rmap.anomalies &+ state.parents.anomalies, ordering: .relaxed)
        deltas.removeAll()
        if !corrected.isEmpty {
            core.watchers.withLock { $0 }.corrections?(corrected, correctedNames)
            corrected.removeAll()
            correctedNames.removeAll()
        }
        tellChanges(number)
        endJobs(nil)
        return nil
    }

    /// Asks for a durable point once much was written since the last: pages replaced since
    /// then are not used again before the next, and the file grows instead.
    private mutating func countWritten(_ usedBytes: Int, _ pageSize: Int) {
        let written = max(freedPages * pageSize, usedBytes - lastUsedBytes, 0)
        lastUsedBytes = usedBytes
        core.metadataWritten.add(UInt64(written), ordering: .relaxed)
        if core.writtenSincePoint > core.durableBytes { askForPoint() }
    }

    /// Asks for a durable point, where none is asked for: pages that the last one holds are free
    /// once it is made.
    func askForPoint() {
        guard !core.hasAskedForPoint.exchange(true, ordering: .relaxed) else { return }
        _ = core.keeper.withLock { $0 }?.request()
    }

    /// Nothing of the group has happened: its deltas are dropped (I2).
    @discardableResult
    mutating func abortGroup(_ cause: LMDBError) -> LMDBError {
        if !transaction.isOver { transaction.abortNow() }
        state = committed
        noteHooks()
        deltas.removeAll()
        corrected.removeAll()
        correctedNames.removeAll()
        failure = nil
        if cause.code == .panic { core.stop("\(cause)") }
        if openGroup.hasAcknowledged {
            core.stop("acknowledged changes could not be committed: \(cause)")
            core.hasLost.store(true, ordering: .releasing)
        }
        endOpenGroup()
        endJobs(cause)
        return cause
    }

    private mutating func endJobs(_ failure: LMDBError?) {
        for job in ended { job.end(failure) }
        ended.removeAll(keepingCapacity: true)
    }

    /// The number that the group under way gets when it commits: whoever means several
    /// operations to be one transaction can see whether they were.
    package var commitUnderWay: UInt64 { transaction.commit }

    /// Ends the group and begins another where it has grown large.
    mutating func rollOverIfLarge() throws { if isLarge { try rollOver() } }

    var isLarge: Bool {
        groupSize >= GroupLimits.operations || deltas.count >= GroupLimits.deltas
            || (groupSize > 0
                && (!hasRoom(beside: GroupLimits.reservedPages)
                    || (state.log.since != nil && !hasRoomForLog(operations: 2))))
    }

    /// Whether the group leaves so many pages to others.
    func hasRoom(beside reserve: Int) -> Bool {
        freePages == .max
            || freePages - groupSize * GroupLimits.pagesPerOperation >= reserve
    }

    /// Commits what was done so far, in the middle of a job. The job goes on in another
    /// transaction; what waits for a commit boundary runs in between.
    mutating func rollOver() throws {
        var problem: LMDBError?
        onItsThread { problem = $0.commitAndBegin() }
        guard let problem else { return }
        failure = problem
        throw VolumeError(problem)
    }

    private mutating func commitAndBegin() -> LMDBError? {
        if let error = commitGroup() { return error }
        runBoundaryWork()
        do throws(LMDBError) { try beginGroup() } catch { return error }
        return nil
    }

    /// Stores what the transaction has made of counters and generations.
    mutating func storeState() throws(LMDBError) {
        try storeUsage()
        if state.counters != state.storedCounters {
            let key = Counters.key
            let value = state.counters.value
            try transaction.put(core.tables.superblock, key.rawSpan, value.span)
            state.storedCounters = state.counters
        }
        try storeChanges(of: GroupState.rmapSlot)
        try storeChanges(of: GroupState.parentsSlot)
        try storeChanges(of: GroupState.quotaSlot)
    }

    private mutating func storeChanges(of slot: IndexSlot) throws(LMDBError) {
        let index = state[slot]
        if index.active.isChanged {
            state[slot].active.isChanged = false
            try store(index.active, of: index.name, .active)
        }
        if let previous = index.previous, previous.isChanged {
            state[slot].previous?.isChanged = false
            try store(previous, of: index.name, .previous)
        }
        if let load = index.load, load.generation.isChanged {
            state[slot].load?.generation.isChanged = false
            try store(load.generation, of: index.name, .loading, load.cursor)
        }
    }

    mutating func store(
        _ generation: Generation, of index: String, _ state: GenerationState,
        _ load: GenerationRecord.LoadCursor? = nil
    ) throws(LMDBError) {
        let record = GenerationRecord(
            index: index, number: generation.number, state: state, entries: generation.entries,
            sum: generation.sum, load: load)
        let key = record.key
        let value = record.value(for: key)
        try transaction.put(core.tables.superblock, key.rawSpan, value.rawSpan)
    }

    /// Runs what waits for a commit boundary.
    mutating func runBoundaryWork() {
        precondition(transaction.isOver, "a commit boundary inside a group")
        for work in core.inbox.takeBoundaries() { work.run(&self) }
    }

    /// Whether the deltas of each index are wanted, by a hook or for the log: collected only then.
    mutating func noteHooks() {
        wantsReverseMap = wantsDeltas(of: GroupState.rmapSlot)
        wantsParents = wantsDeltas(of: GroupState.parentsSlot)
        wantsQuota = wantsDeltas(of: GroupState.quotaSlot)
        wantsLinks = wantsDeltas(of: GroupState.linksSlot)
    }

    private func wantsDeltas(of slot: IndexSlot) -> Bool {
        state.log.wants.contains(slot) || hooks.contains { $0.wants(slot) }
    }
}
