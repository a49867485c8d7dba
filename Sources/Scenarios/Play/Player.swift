// The player: steps the lanes of a scenario, one at a time, in an order that somebody else
// chooses: the file (Replay), or the explorer. What it steps is the very code that a run
// consists of elsewhere: `Coordinator`, `Scanner`, `Run.handleItem`, `ComparePart`,
// `LoadMerger`. It decides nothing, it only knows which lanes can go on.
//
// After each step it can check what must hold at every moment (Player+Checks.swift).

internal import Bytes
internal import Inspection
internal import Tidemark

final class Player {
    let scenario: Scenario
    let stage: any Stage
    let explorable: (any ExplorableStage)?
    /// Every lane, writers first. A lane's number is its place.
    let lanes: [Turn.Lane]
    private(set) var writers: [WriterLane]
    private(set) var runs: [RunLanes]
    /// The writer whose transaction is under way.
    private(set) var holder: Int?
    /// Whether the store came down: what follows may be refused, for what it needs is gone.
    private(set) var hasCrashed = false
    /// Indexes that are looked at after each step: summaries cost much, and are among them where
    /// the scenario is about them.
    let watched: [IndexSlot]
    /// Keys that differ at the start, by index: nothing else may ever differ before a repair.
    let damaged: [Set<[UInt8]>]
    /// The generations that are damaged, by index.
    let damagedGenerations: [UInt32]
    /// What the steps so far have shown, for traces and for counting situations.
    var observer: (any Observer)?
    /// The deliberate mistake of the runs, if any.
    private let mutants: Mutants
    private let isOwnerMutant: Bool
    /// Whether the store reads what others have locked, by mistake.
    let breaksLocks: Bool
    /// Whether transactions may be refused, as those are that a seed has chosen.
    private let toleratesRefusals: Bool
    /// Transactions that were refused: writer and place.
    private(set) var refused: [(writer: Int, position: Int)] = []
    /// Indexes that have been rolled back, and how many rollbacks were refused.
    private(set) var rolledBack: Set<IndexSlot> = []
    private(set) var refusedRollbacks = 0
    private let clock: RunClock
    /// Runs so far whose owner keeps them: each gets the next number.
    private var resumableRuns: UInt64 = 0
    /// The run that came to its end in the last step, if one did.
    private var endedInStep: String?
    /// Moves of runs from one state to another, each once.
    private(set) var moves: Set<RunMove> = []

    init(
        _ scenario: Scenario, on stage: any Stage, mutants: Mutants = Mutants(),
        isOwnerMutant: Bool = false, toleratesRefusals: Bool = false
    ) throws {
        self.toleratesRefusals = toleratesRefusals
        self.scenario = scenario
        self.stage = stage
        explorable = stage as? any ExplorableStage
        self.mutants = mutants
        self.isOwnerMutant = isOwnerMutant
        clock = stillClock
        writers = scenario.writers.map { WriterLane(transactions: $0.transactions) }
        lanes = Player.lanes(of: scenario)
        breaksLocks = (stage as? UnlockedStage)?.breaksLocks ?? false
        for damage in scenario.damage { try stage.damage(damage) }
        let watched = Player.watched(scenario, stage.indexed)
        self.watched = watched
        damaged = try stage.indexed.indexes.indices.map { slot in
            guard watched.contains(IndexSlot(slot)) else { return [] }
            return Set(try Player.differences(stage, IndexSlot(slot)).map(\.key))
        }
        damagedGenerations = try stage.indexed.indexes.indices.map {
            try stage.activeGeneration(IndexSlot($0))
        }
        runs = []
        runs = try scenario.runs.map { try begin($0) }
        stage.faults.isArmed = true
    }

    private static func watched(_ scenario: Scenario, _ owner: any Owner) -> [IndexSlot] {
        let named = Set(
            scenario.runs.flatMap(\.indexes) + scenario.damage.map(\.index)
                + scenario.expect.left.keys)
        return owner.indexes.indices.filter {
            owner.indexes[$0].summary == nil || named.contains(owner.indexes[$0].name)
        }.map { IndexSlot($0) }
    }

    static func lanes(of scenario: Scenario) -> [Turn.Lane] {
        var lanes: [Turn.Lane] = scenario.writers.map { .writer($0.name) }
        for run in scenario.runs {
            for number in 1...max(1, run.scanners) {
                lanes.append(.scanner(run: run.name, number: number))
            }
            lanes.append(.assistant(run: run.name))
            for number in 1...max(1, run.parts) {
                lanes.append(.compare(run: run.name, number: number))
            }
            if scenario.store.kind == .unlocked {
                for number in 1...max(1, scenario.store.buffers) {
                    lanes.append(.feed(run: run.name, number: number))
                }
            } else {
                lanes.append(.merger(run: run.name))
            }
            if run.isResumable { lanes.append(.checkpoint(run: run.name)) }
            lanes.append(.coordinator(run: run.name))
        }
        return lanes
    }

    /// - Parameter going: what the run goes on from; nil: a new one, or one that is not resumable.
    private func begin(
        _ description: RunDescription, going: (record: RunRecord, checkpoint: Checkpoint?)? = nil,
        on store: (any SideStore)? = nil, begunCheckpoints: Int = 0
    ) throws -> RunLanes {
        var options = description.options
        options.mutants = mutants
        options.isOwnerMutant = isOwnerMutant
        // One that goes on has the scope that it began with.
        if going?.checkpoint == nil { options.scope = try scope(of: description) }
        let slots = try slots(of: description)
        if let unlocked { return try begin(description, options, slots, on: unlocked) }
        var keeping: Keeping?
        var number: UInt64 = 0
        if let (record, checkpoint) = going {
            number = record.number
            keeping =
                checkpoint.map { Keeping(record, from: $0) } ?? Keeping(new: record)
        } else if description.isResumable {
            guard try stage.owner.atCommitBoundary({ $0.journal != nil }) else {
                throw StageError.refused(
                    "\(description.name) is resumable, and the store keeps no runs")
            }
            resumableRuns += 1
            number = resumableRuns
            keeping = Keeping(
                new: RunRecord(
                    number: number, indexes: slots.map { name($0) },
                    strategy: description.strategy, keepsOld: description.keepsOld))
        }
        let run = Run(
            owner: stage.owner, indexes: slots,
            store: try store ?? stage.makeSideStore(number), options: options, clock: clock,
            keeping: keeping)
        return RunLanes(
            description: description, run: run,
            initial: try stage.indexed.indexes.indices.map {
                try stage.activeGeneration(IndexSlot($0))
            }, number: number, begunCheckpoints: begunCheckpoints)
    }

    private func begin(
        _ description: RunDescription, _ options: RunOptions, _ slots: [IndexSlot],
        on stage: UnlockedStage
    ) throws -> RunLanes {
        guard !description.isResumable else {
            throw StageError.refused("\(description.name): the store keeps no runs")
        }
        let findings = Findings()
        let run = Run(
            owner: stage.unlockedOwner, indexes: slots, store: try stage.makeSideStore(0),
            options: options, clock: clock, onDiscrepancy: { findings.add($0) })
        return RunLanes(
            description: description, run: run, initial: stage.indexed.indexes.map { _ in 1 },
            number: 0, begunCheckpoints: 0, findings: findings)
    }

    /// What the run is limited to. Where it begins again, and its path leads nowhere by then, that
    /// is what it was: there is nobody who could name it anew.
    private func scope(of description: RunDescription) throws -> Scope? {
        guard let scope = description.scope else { return nil }
        let before = runs.first { $0.description.name == description.name }?.run.scope
        do { return try stage.scope(scope) } catch is StageError where before != nil {
            return before
        }
    }

    private func slots(of description: RunDescription) throws -> [IndexSlot] {
        let names = stage.indexed.indexes.map(\.name)
        let standard = stage.indexed.indexes.filter { $0.summary == nil }.map(\.name)
        let wanted = description.indexes.isEmpty ? standard : description.indexes
        return try wanted.map { name in
            guard let slot = names.firstIndex(of: name) else {
                throw StageError.refused("the store has no index \(name)")
            }
            return IndexSlot(slot)
        }
    }

    // MARK: What can go on

    /// Whether a step of the lane is possible and would do something.
    func canStep(_ lane: Int) -> Bool {
        switch lanes[lane] {
        case .writer: canWrite(lane)
        case .scanner(let name, let number):
            run(name).canScan(number - 1) && mayRead(name, number)
        case .feed(let name, let number): canPoll(name, number)
        case .assistant(let name): run(name).canHandle
        case .compare(let name, let number): run(name).canCompare(number - 1) && mayLook
        case .merger(let name): run(name).canMerge
        case .checkpoint(let name): holder == nil && run(name).nextCheckpointStep != nil
        case .coordinator(let name):
            holder == nil && run(name).canCoordinate && (!run(name).looksUp || mayLook)
        case .crash, .restart, .stop, .resume, .sideFile, .feedEnds:
            preconditionFailure("not a lane of steps")
        }
    }

    private func canWrite(_ number: Int) -> Bool {
        if let unlocked { return canWrite(number, on: unlocked) }
        let writer = writers[number]
        if let holder {
            guard holder == number else { return false }
            // Opening and closing are calls of their own, which wait for room when they are made.
            guard writer.part == .commit, writer.current.isOpenOrClose else { return true }
        }
        guard !writer.isDone else { return false }
        return runs.allSatisfy {
            !$0.isAttached || !$0.run.isQueueFull || !$0.description.isPatient
        }
    }

    /// The lanes among which the order matters now. While a transaction is under way only the
    /// scanners' steps meet it: all others commute with its parts, and are as well taken
    /// before or after it.
    var choices: [Int] {
        if let holder, canStep(holder) {
            return lanes.indices.filter { lane in
                if lane == holder { return true }
                switch lanes[lane] {
                case .scanner: return canStep(lane)
                // It may be what a scanner waits for.
                case .assistant(let name): return run(name).run.isQueueFull && canStep(lane)
                default: return false
                }
            }
        }
        return lanes.indices.filter { canStep($0) }
    }

    /// Whether all lanes have come to their ends.
    var isOver: Bool { writers.allSatisfy(\.isDone) && runs.allSatisfy(\.isOver) }

    func run(_ name: String) -> RunLanes {
        guard let run = runs.first(where: { $0.description.name == name }) else {
            preconditionFailure("the reader knows the runs")
        }
        return run
    }

    // MARK: Steps

    /// One step of a lane that can go on.
    func step(_ lane: Int) throws {
        let event: StepEvent
        observer?.willStep(lane, self)
        explorable?.beginStep()
        endedInStep = nil
        switch lanes[lane] {
        case .writer: event = try stepWriter(lane)
        case .scanner(let name, let number): event = run(name).scan(number - 1)
        case .assistant(let name): event = run(name).handle()
        case .compare(let name, let number): event = run(name).compare(number - 1)
        case .feed(let name, let number): event = poll(name, number)
        case .merger(let name): event = run(name).merge()
        case .checkpoint(let name): event = try stepCheckpoint(run(name))
        case .coordinator(let name): event = try coordinate(run(name))
        case .crash, .restart, .stop, .resume, .sideFile, .feedEnds:
            preconditionFailure("not a lane of steps")
        }
        observer?.stepped(lane, event, self)
    }

    private func stepWriter(_ number: Int) throws -> StepEvent {
        let transaction = writers[number].current
        let part = writers[number].part
        if let unlocked { return try stepWriter(number, on: unlocked) }
        guard !transaction.isRollback else { return rollBack(number, transaction, part) }
        do {
            switch part {
            case .begin:
                for run in runs where run.isAttached && run.run.isQueueFull {
                    run.refuseAdmission()
                }
                try stage.begin(transaction)
                holder = number
            case .commit: try stage.commit()
            case .report:
                try stage.report()
                holder = nil
            case .event, .change: preconditionFailure("parts of a store that nobody can lock")
            }
        } catch {
            // What a transaction needs may have been lost in a crash, or a call may fail.
            holder = nil
            guard hasCrashed && error is StageError || toleratesRefusals else { throw error }
            refused.append((number, writers[number].position))
            writers[number].skip()
            return .writer(part, transaction)
        }
        writers[number].advance()
        return .writer(part, transaction)
    }

    /// A rollback is one commit boundary of its own: all that happens, happens in its `commit`.
    /// One that is refused, or fails, has changed nothing, and the writer goes on.
    private func rollBack(
        _ number: Int, _ transaction: Transaction, _ part: WriterLane.Part
    ) -> StepEvent {
        switch part {
        case .begin: holder = number
        case .commit:
            let slots = stage.indexed.indexes.indices
                .filter { transaction.rolledBack.contains(stage.indexed.indexes[$0].name) }
                .map { IndexSlot($0) }
            do {
                rolledBack.formUnion(try Undo.rollBack(slots, of: stage.owner).map(\.index))
            } catch {
                refusedRollbacks += 1
            }
        case .report: holder = nil
        case .event, .change: preconditionFailure("parts of a store that nobody can lock")
        }
        writers[number].advance()
        return .writer(part, transaction)
    }

    /// A writer of a store that nobody can lock: locks, then each event before its change, and
    /// unlocks at its end.
    private func stepWriter(_ number: Int, on stage: UnlockedStage) throws -> StepEvent {
        let transaction = writers[number].current
        let part = writers[number].part
        switch part {
        case .begin: try stage.begin(transaction, of: number)
        case .event: stage.stamp(of: number)
        case .change: stage.make(of: number)
        case .report, .commit: stage.end(of: number)
        }
        let hasMore = part != .report && stage.hasMore(of: number)
        writers[number].advance(hasMore: hasMore)
        return .writer(part, transaction)
    }

    private func coordinate(_ lanes: RunLanes) throws -> StepEvent {
        let step = lanes.coordinator.next
        if step == .cut, unlocked == nil { try noteCut(lanes) }
        let untouchable = try lanes.isAborted ? standing(of: lanes) : nil
        let applied = lanes.run.applied
        (stage.indexed as? SteeredOwner)?.lastHold = SteeredOwner.Hold()
        let state = lanes.run.state
        let others = step == .prepare ? try interrupted() : [:]
        let event = lanes.coordinate()
        if lanes.isOver { endedInStep = lanes.description.name }
        try note(lanes, from: state)
        if !others.isEmpty { try noteSuperseded(others) }
        if step == .compared, unlocked == nil { try checkFound(lanes) }
        try checkFindings(lanes)
        try checkHold(lanes, applied)
        try checkUntouched(lanes, untouchable)
        if lanes.isOver { try checkDetached() }
        // As whoever resumes a run does: what can't go on is started again.
        if lanes.isOver, lanes.run.report.mustStartAgain { try resume(lanes.description.name) }
        return event
    }

    /// The store comes down and is opened again. All runs are lost.
    /// - Parameter commits: the process comes down within the last step, behind so many of the
    ///   commits that it made.
    func crash(isMachine: Bool, afterCommits commits: Int? = nil) throws {
        observer?.willCrash(self, isMachine: isMachine)
        if let commits, let explorable {
            try explorable.crash(afterCommits: commits)
        } else {
            try stage.crash(isMachine: isMachine)
        }
        hasCrashed = true
        if let holder { writers[holder].skip() }
        holder = nil
        if isMachine { for number in writers.indices { writers[number].end() } }
        for run in runs {
            if run.isAttached { moves.insert(RunMove(from: run.run.state, to: .crashed)) }
            let hasEnded = commits != nil && run.description.name == endedInStep
            run.lose(withMachine: isMachine, withItsEnd: hasEnded)
        }
        observer?.crashed(self)
    }

    /// Begins a run again that was lost or has ended.
    func restart(_ name: String) throws {
        let place = try place(ofEnded: name, "restarted")
        runs[place] = try begin(runs[place].description)
    }

    private func place(ofEnded name: String, _ what: String) throws -> Int {
        guard let place = runs.firstIndex(where: { $0.description.name == name }) else {
            preconditionFailure("the reader knows the runs")
        }
        guard runs[place].isOver else {
            throw StageError.refused("\(name) is \(what) while it is at work")
        }
        return place
    }

    /// Runs that a crash has ended and that nobody has begun again.
    var lost: [String] { runs.filter(\.isLost).map(\.description.name) }

    /// Runs that have ended so that they can go on, and that nobody has resumed.
    var suspended: [String] { runs.filter(\.isSuspended).map(\.description.name) }
}

// MARK: Resumable runs

/// A move of a run from one state to another.
struct RunMove: Hashable, Sendable {
    let from: RunState, to: RunState
}

extension Player {
    /// Whoever goes on with what has ended before its end: a resumable run resumes, any
    /// other begins again.
    func goOn(_ name: String) throws {
        try run(name).description.isResumable ? resume(name) : restart(name)
    }

    /// Goes on with a run from its checkpoint, or begins it again where that can't be; a run
    /// that has come to its end begins as a new one.
    func resume(_ name: String) throws {
        guard holder == nil else {
            throw StageError.refused("\(name) goes on while a transaction is under way")
        }
        let place = try place(ofEnded: name, "resumed")
        let lanes = runs[place], number = lanes.number
        guard lanes.description.isResumable else {
            throw StageError.refused("\(name) is not resumable: it can only be restarted")
        }
        let (record, commit) = try stage.owner.atCommitBoundary { boundary in
            (
                try boundary.requireJournal().runs().first { $0.number == number },
                boundary.lastCommit
            )
        }
        guard let record, record.state.isResumable || lanes.run.report.mustStartAgain else {
            return try restart(name)
        }
        try checkRecord(record, of: lanes)
        var checkpoint: Checkpoint?
        var store: (any SideStore)?
        if record.state.isResumable {
            do {
                let opened = try stage.openSideStore(number)
                if Keeping.refusal(
                    record, opened.checkpoint, lastCommit: commit, indexes: stage.owner.indexes)
                    == nil
                {
                    store = opened.store
                    checkpoint = opened.checkpoint
                }
            } catch is SideFileError {}
        }
        // One that has ended for good does not move: it is started again.
        if record.state.isResumable { moves.insert(RunMove(from: record.state, to: .prepared)) }
        observer?.resumes(lanes, checkpoint, self)
        runs[place] = try begin(
            lanes.description, going: (record, checkpoint), on: store,
            begunCheckpoints: lanes.begunCheckpoints)
    }

    /// Asks a run to end, so that it can go on. It does with its next step.
    func stop(_ name: String, isPause: Bool) throws {
        let lanes = run(name)
        guard !lanes.isOver else {
            throw StageError.refused("\(name) is stopped, and is not at work")
        }
        lanes.run.abort(
            AbortReason("asked for by the scenario", isPause ? .pause : .stop))
    }

    func stepCheckpoint(_ lanes: RunLanes) throws -> StepEvent {
        guard let step = lanes.nextCheckpointStep else {
            preconditionFailure("a lane that can go on")
        }
        let hasUnread = lanes.run.isUnreadBelowCursor
        lanes.stepCheckpoint(step)
        return .checkpointed(step, hasUnread: hasUnread)
    }

    /// The states of runs that can go on and are not at work, by number.
    private func interrupted() throws -> [UInt64: RunState] {
        guard runs.contains(where: { $0.number > 0 }) else { return [:] }
        let records = try stage.owner.atCommitBoundary { try $0.requireJournal().runs() }
        let found = records.filter { $0.state.isResumable && !$0.state.isWorking }
        return Dictionary(uniqueKeysWithValues: found.map { ($0.number, $0.state) })
    }

    /// Notes moves of runs that have given way to another.
    private func noteSuperseded(_ others: [UInt64: RunState]) throws {
        for record in try stage.owner.atCommitBoundary({ try $0.requireJournal().runs() })
        where record.state == .aborted {
            if let state = others[record.number] {
                moves.insert(RunMove(from: state, to: .aborted))
            }
        }
    }

    /// Notes a move, which must be one that there is, and of a resumable run looks whether
    /// its owner knows.
    func note(_ lanes: RunLanes, from state: RunState) throws {
        let next = lanes.run.state
        guard next != state else { return }
        moves.insert(RunMove(from: state, to: next))
        guard state.mayBecome(next) else {
            throw Violation(
                rule: "state", text: "\(next.rawValue) does not follow \(state.rawValue)")
        }
        // One that has not begun leaves what its owner knew of it.
        if state != .prepared || next.isWorking { try checkRecord(lanes) }
    }
}

extension Transaction {
    var isOpenOrClose: Bool { operations.contains(where: \.isOpenOrClose) }
}

/// What a step was, for those who watch.
enum StepEvent {
    case writer(WriterLane.Part, Transaction)
    case scanned(Scanner.Progress)
    case handled
    case polled(buffer: Int)
    case compared
    case merged
    case coordinated(Coordinator.Step)
    case checkpointed(RunLanes.CheckpointStep, hasUnread: Bool)
}

protocol Observer: AnyObject {
    func willStep(_ lane: Int, _ player: Player)
    func stepped(_ lane: Int, _ event: StepEvent, _ player: Player)
    func willCrash(_ player: Player, isMachine: Bool)
    func crashed(_ player: Player)
    /// A run is resumed, from `checkpoint` or again from the start.
    func resumes(_ run: RunLanes, _ checkpoint: Checkpoint?, _ player: Player)
}

/// A writer's transactions, and how far it has come.
struct WriterLane {
    /// `event` and `change` are of a store that nobody can lock, where `commit` is none.
    enum Part: String { case begin, event, change, commit, report }

    let transactions: [Transaction]
    private(set) var position = 0
    private(set) var part = Part.begin

    init(transactions: [Transaction]) { self.transactions = transactions }

    var isDone: Bool { position == transactions.count }
    var current: Transaction { transactions[position] }

    mutating func advance() {
        switch part {
        case .begin: part = .commit
        case .commit: part = .report
        case .report: skip()
        case .event, .change: preconditionFailure("parts of a store that nobody can lock")
        }
    }

    /// Of a store that nobody can lock.
    /// - Parameter hasMore: whether there is another change to be made.
    mutating func advance(hasMore: Bool) {
        switch part {
        case .begin, .change: part = hasMore ? .event : .report
        case .event: part = .change
        case .report, .commit: skip()
        }
    }

    mutating func skip() {
        part = .begin
        position += 1
    }

    mutating func end() {
        part = .begin
        position = transactions.count
    }
}

/// Time stands still: what a run fits to the time its steps took stays as it was set.
private let stillClock = RunClock { 0 }

extension RunDescription {
    var options: RunOptions {
        var options = RunOptions()
        options.strategy = strategy
        options.limits.window = window
        options.limits.sortBytes = spill
        options.chunkBytes = 256
        options.batchBytes = 512
        options.limits.queueBytes = queue
        options.patience = isPatient ? 1e9 : 1e-9
        options.batchEntries = loadBatch
        options.overlayBytes = overlay
        options.compareEntries = compare
        options.compareParts = parts
        options.patchEntries = patch
        options.candidates = candidates
        options.looks = looks
        options.reapEntries = reap
        options.keepsOld = keepsOld
        options.replayDeltas = replay
        options.holdTarget = 1
        return options
    }
}
