// Situations: what a race has to come to for its name to be deserved. They are counted while
// lanes are stepped; one that no scenario ever meets is a hole in the suite.

internal import Bytes
internal import Inspection
internal import Tidemark

public enum Situation: String, CaseIterable, Sendable {
    case splitDirectory = "window split inside a directory"
    case splitFile = "window split inside a file's extents"
    case emptyWindow = "window without a record"
    case openBeforeReport = "window opened between visible and reported"
    case readyBeforeReport = "window read between visible and reported"
    case lateRead = "window read after a later commit"
    case manyWindows = "several windows open at once"
    case reread = "records read again"
    case cutRefused = "cut deferred by records to be read again"
    case applied = "delta applied"
    case elided = "delta elided"
    case bothSides = "transaction on both sides of the cursor"
    case abortedTransaction = "transaction taken back while a run is at work"
    case reusedBelow = "inode number reused below the cursor"
    case reusedAbove = "inode number reused above the cursor"
    case reusedInside = "inode number reused inside an open window"
    case olderThanWindow = "delta older than window"
    case newerThanWindow = "delta newer than window"
    case severalRuns = "index in several sorted runs"
    case duringSettle = "delta between settle and cut"
    case duringCompare = "delta while the cut is compared"
    case beforeBatch = "delta for a load batch that is merged and not yet loaded"
    case duringLoad = "delta while a generation is loaded"
    case beforeCommit = "delta between the last load batch and the commit"
    case refrozen = "shadow frozen again during a load"
    case duringPatch = "delta between a patch's look and its transaction"
    case duringReap = "delta while the old generation is reaped"
    case damageTouched = "damaged entry changed by a writer during a run"
    case previousMaintained = "transaction with a previous generation"
    case rolledBack = "generation rolled back"
    case rolledForward = "rollback undone by a second one"
    case rollbackRefused = "rollback refused while a run is at work"
    case rollbackWithoutPrevious = "rollback refused without a previous generation"
    case fullQueue = "writer meets a full queue"
    case refused = "second run on an index refused"
    case twoRuns = "two runs at work at once"
    case unreadable = "primary record that can't be read"
    case abortedScanning = "run aborted while it scans"
    case abortedComparing = "run aborted between scan and load"
    case abortedLoading = "run aborted while it loads"
    case abortedCommitting = "run aborted at its commit"
    case reapingFailed = "reaping fails"
    case crashScanning = "crash while a run scans"
    case crashComparing = "crash between scan and load"
    case crashLoading = "crash while a run loads"
    case crashBeforeFlip = "crash between load and flip"
    case crashReaping = "crash between flip and the end of reaping"
    case crashHalfReaped = "crash in the middle of reaping"
    case crashVisible = "crash between visible and reported"
    case crashMachine = "failure of the machine"
    case checkpointSaved = "checkpoint saved"
    case checkpointUnread = "checkpoint begun with something to be read below the cursor"
    case checkpointLost = "crash between a checkpoint begun and saved"
    case stopped = "run stopped so that it can go on"
    case paused = "run paused so that it can go on"
    case resumedScanning = "run goes on with its scan"
    case resumedScanned = "run goes on behind its scan"
    case resumedLoading = "run goes on with a load"
    case resumedMended = "run goes on with an index mended"
    case resumedTwice = "run goes on a second time"
    case replayed = "delta of the hook log applied"
    case replayedAbove = "delta of the hook log elided"
    case writtenBetween = "transaction while a run is interrupted"
    case positionDiscarded = "position of a run discarded"
    case startedAgain = "run started again for want of a position"
    case superseded = "interrupted run gives way to another"
    case counterMoved = "delta between the comparison of counters and their correction"
    case resumedSummary = "run about a summary goes on"
    case scoped = "transaction while a run with a scope is at work"
    // Of stores that nobody can lock.
    case olderThanRead = "event older than the read of its key"
    case elidedBelow = "event elided below the cursor"
    case lossScanning = "loss told while a run scans"
    case lossComparing = "loss told while the index is compared"
    case lossBehindLook = "loss told between a look and its watermark"
    case lookedUpAgain = "key looked up again"
    case judgementDeferred = "judgement deferred by records to be read again"
    case comparisonDeferred = "comparison deferred by records that no judgement needed"
    case comparisonPaused = "comparison paused to judge its candidates"
    case unsettled = "key that never stands still"
}

final class SituationCounter: Observer {
    private(set) var counts = [Int](repeating: 0, count: Situation.allCases.count)
    private(set) var steps = 0

    private var applied = 0, elided = 0
    private var older = 0, losses = 0
    private var wasEmpty = true
    private var rereads = 0
    private var wasAborted = false
    private var refusedRollbacks = 0
    private var wasRolledBack: Set<IndexSlot> = []

    var met: [Situation] { zip(Situation.allCases, counts).filter { $0.1 > 0 }.map(\.0) }

    func count(_ situation: Situation) { counts[SituationCounter.place(situation)] += 1 }

    func add(_ other: [Int]) { for place in counts.indices { counts[place] += other[place] } }

    private static func place(_ situation: Situation) -> Int {
        places[situation.rawValue] ?? 0
    }

    private static let places = Dictionary(
        uniqueKeysWithValues: Situation.allCases.enumerated().map { ($1.rawValue, $0) })

    // MARK: Steps

    func willStep(_ lane: Int, _ player: Player) {
        applied = player.runs.reduce(0) { $0 + $1.run.applied }
        elided = player.runs.reduce(0) { $0 + $1.run.elided }
        if case .feed(let name, _) = player.lanes[lane] {
            (older, losses) = player.run(name).run.feedCounts
        }
        refusedRollbacks = player.refusedRollbacks
        wasRolledBack = player.rolledBack
        wasAborted = player.runs.contains { $0.isAborted && !$0.isOver }
        if case .scanner(let name, _) = player.lanes[lane] {
            rereads = player.run(name).run.rereads
        }
        if case .writer = player.lanes[lane], player.holder == nil,
            player.runs.contains(where: { $0.isAttached && $0.run.isQueueFull })
        {
            count(.fullQueue)
        }
    }

    func stepped(_ lane: Int, _ event: StepEvent, _ player: Player) {
        steps += 1
        switch event {
        case .writer(let part, let transaction): wrote(part, transaction, player)
        case .scanned(let progress): scanned(lane, progress, player)
        case .coordinated(let step): coordinated(lane, step, player)
        case .checkpointed(let step, let hasUnread): checkpointed(step, hasUnread)
        case .polled: polled(lane, player)
        case .handled, .compared, .merged: break
        }
        if player.runs.count > 1, player.runs.filter({ $0.isAttached && !$0.isAborted }).count > 1 {
            count(.twoRuns)
        }
    }

    private func scanned(_ lane: Int, _ progress: Scanner.Progress, _ player: Player) {
        guard case .scanner(let name, _) = player.lanes[lane] else { return }
        let run = player.run(name).run
        switch progress {
        case .opened:
            if let cursor = run.cursor, cursor.count > 9 {
                let kind: UInt8 = cursor.span.integer(at: 8)
                if kind == 2 { count(.splitDirectory) }
                if kind == 3, cursor.count == 18,
                    cursor.span.integer(at: 10, as: UInt64.self) > 0
                {
                    count(.splitFile)
                }
            }
            if run.rereads < rereads { count(.reread) }
            if run.openWindows > 1 { count(.manyWindows) }
            if isUnreported(player) { count(.openBeforeReport) }
        case .readied:
            if isUnreported(player) { count(.readyBeforeReport) }
            if run.isReadLate { count(.lateRead) }
        case .read where run.lastReadRecords == 0: count(.emptyWindow)
        case .looked, .read, .nothing: break
        }
    }

    private func isUnreported(_ player: Player) -> Bool {
        guard let holder = player.holder else { return false }
        return player.writers[holder].part == .report
    }

    private func wrote(_ part: WriterLane.Part, _ transaction: Transaction, _ player: Player) {
        if part == .commit { countReuse(player) }
        if transaction.isRollback {
            if part == .commit { countRollback(transaction, player) }
            return
        }
        guard player.unlocked == nil else { return }
        if part == .report, player.keepsGeneration { count(.previousMaintained) }
        if part == .report { countInterrupted(player) }
        guard part == .report, player.runs.contains(where: \.isAttached) else { return }
        if transaction.isAborted { count(.abortedTransaction) }
        let newApplied = player.runs.reduce(0) { $0 + $1.run.applied } > applied
        let newElided = player.runs.reduce(0) { $0 + $1.run.elided } > elided
        if newApplied { count(.applied) }
        if newElided { count(.elided) }
        if newApplied, newElided { count(.bothSides) }
        if player.runs.contains(where: { $0.isAttached && $0.run.scope != nil }) { count(.scoped) }
        for run in player.runs where run.isAttached && newApplied {
            if let situation = run.whereDeltasCome { count(situation) }
            if run.isAboutToCorrect { count(.counterMoved) }
        }
        if player.hasTouchedDamage() { count(.damageTouched) }
    }

    private func countRollback(_ transaction: Transaction, _ player: Player) {
        let names = transaction.rolledBack
        guard player.refusedRollbacks == refusedRollbacks else {
            let isBusy = player.runs.contains { run in
                run.isAttached && run.run.slots.contains { names.contains(player.name($0)) }
            }
            return count(isBusy ? .rollbackRefused : .rollbackWithoutPrevious)
        }
        count(.rolledBack)
        if wasRolledBack.contains(where: { names.contains(player.name($0)) }) {
            count(.rolledForward)
        }
    }

    private func countInterrupted(_ player: Player) {
        guard let records = player.records else { return }
        if records.contains(where: { $0.state.isResumable && !$0.state.isWorking }) {
            count(.writtenBetween)
        }
        if records.contains(where: { $0.state.isResumable && $0.logFrom == nil }) {
            count(.positionDiscarded)
        }
    }

    private func countReuse(_ player: Player) {
        for number in player.stage.reusedInodes {
            var key = KeyBytes()
            key.append(number)
            for run in player.runs where run.isAttached {
                guard let cursor = run.run.cursor else {
                    count(.reusedBelow)
                    continue
                }
                if run.isInOpenWindow(key) {
                    count(.reusedInside)
                } else {
                    count(key < cursor ? .reusedBelow : .reusedAbove)
                }
            }
        }
    }

    private func coordinated(_ lane: Int, _ step: Coordinator.Step, _ player: Player) {
        guard case .coordinator(let name) = player.lanes[lane] else { return }
        let lanes = player.run(name)
        if step == .replay {
            let newApplied = player.runs.reduce(0) { $0 + $1.run.applied } > applied
            let newElided = player.runs.reduce(0) { $0 + $1.run.elided } > elided
            if newApplied { count(.replayed) }
            if newElided { count(.replayedAbove) }
        }
        if lanes.isSuspended { count(lanes.run.state == .paused ? .paused : .stopped) }
        if step == .prepare, player.hasSuperseded { count(.superseded) }
        if lanes.isOver, lanes.run.report.outcome == .aborted {
            switch step {
            case .prepare: count(.refused)
            case .replay, .settle, .cut, .mark: count(.abortedScanning)
            case .judge, .lookUp: count(.abortedComparing)
            case .compare, .compared, .plan, .beginPatch, .beginLoad, .resumeLoad:
                count(.abortedComparing)
            case .drain, .load, .refreeze, .patch: count(.abortedLoading)
            case .commit: count(.abortedCommitting)
            case .reap, .end: break
            }
            return
        }
        if player.unlocked != nil { return looked(lanes, step) }
        switch step {
        case .cut:
            if lanes.coordinator.next == .settle { count(.cutRefused) }
            if lanes.run.report.outcome == .incomplete { count(.unreadable) }
            if lanes.run.sortedRuns > 1 { count(.severalRuns) }
            // Looking reads the side file, which is no call that is to fail.
            let isArmed = player.stage.faults.isArmed
            player.stage.faults.isArmed = false
            countOrders(lanes)
            player.stage.faults.isArmed = isArmed
        case .refreeze: count(.refrozen)
        case .reap where lanes.run.report.reason != nil: count(.reapingFailed)
        default: break
        }
    }

    // MARK: Stores that nobody can lock

    private func polled(_ lane: Int, _ player: Player) {
        guard case .feed(let name, _) = player.lanes[lane] else { return }
        let lanes = player.run(name), counts = lanes.run.feedCounts
        let newApplied = player.runs.reduce(0) { $0 + $1.run.applied } > applied
        let newElided = player.runs.reduce(0) { $0 + $1.run.elided } > elided
        if newApplied { count(.applied) }
        if newElided { count(.elided) }
        if counts.older > older { count(.olderThanRead) }
        if counts.losses > losses {
            switch lanes.coordinator.next {
            case .prepare, .settle: count(.lossScanning)
            case .judge: count(.lossBehindLook)
            default: count(.lossComparing)
            }
        }
        if newElided, lanes.run.isUnreadBelowCursor { count(.elidedBelow) }
    }

    private func looked(_ lanes: RunLanes, _ step: Coordinator.Step) {
        switch step {
        case .lookUp: count(.lookedUpAgain)
        case .judge:
            if lanes.coordinator.next == .mark {
                let isJudged = lanes.coordinator.behindMark == .compare
                count(isJudged ? .comparisonDeferred : .judgementDeferred)
            }
            if lanes.coordinator.next == .compare { count(.comparisonPaused) }
            if lanes.run.report.indexes.contains(where: { $0.unsettled > 0 }) {
                count(.unsettled)
            }
        case .cut where lanes.coordinator.next == .mark: count(.cutRefused)
        case .end where lanes.run.report.outcome == .incomplete: count(.unreadable)
        default: break
        }
    }

    private func checkpointed(_ step: RunLanes.CheckpointStep, _ hasUnread: Bool) {
        if step == .save { count(.checkpointSaved) }
        if step == .begin, hasUnread { count(.checkpointUnread) }
    }

    func resumes(_ lanes: RunLanes, _ checkpoint: Checkpoint?, _ player: Player) {
        guard let checkpoint else { return count(.startedAgain) }
        if lanes.corrects { count(.resumedSummary) }
        count(checkpoint.isScanned ? .resumedScanned : .resumedScanning)
        let number = lanes.number
        let record = try? player.stage.owner.atCommitBoundary { boundary in
            try boundary.requireJournal().runs().first { $0.number == number }
        }
        guard let record else { return }
        if record.loading != nil { count(.resumedLoading) }
        if record.results.contains(where: \.isMended) { count(.resumedMended) }
        if record.resumes > 0 { count(.resumedTwice) }
    }

    private func countOrders(_ lanes: RunLanes) {
        guard let orders = try? lanes.run.orders() else { return }
        if orders.deltaOlder { count(.olderThanWindow) }
        if orders.deltaNewer { count(.newerThanWindow) }
    }

    func crashed(_ player: Player) {}

    /// Before a crash: where it strikes.
    func willCrash(_ player: Player, isMachine: Bool) {
        if isMachine { count(.crashMachine) }
        if isUnreported(player) { count(.crashVisible) }
        for run in player.runs where run.isAttached {
            if run.run.checkpointUnderWay != nil { count(.checkpointLost) }
            switch run.coordinator.next {
            case .prepare: break
            case .mark, .judge, .lookUp: break
            case .replay, .settle, .cut:
                count(run.coordinator.isRecheck ? .crashReaping : .crashScanning)
            case .compare, .compared, .plan:
                count(run.coordinator.isRecheck ? .crashReaping : .crashComparing)
            case .beginLoad, .resumeLoad, .beginPatch: count(.crashComparing)
            case .drain, .load, .refreeze, .patch: count(.crashLoading)
            case .commit: count(.crashBeforeFlip)
            case .reap, .end: count(run.hasReaped ? .crashHalfReaped : .crashReaping)
            }
        }
    }
}

extension Player {
    /// Whether a generation of any index is kept.
    fileprivate var keepsGeneration: Bool {
        guard holder == nil else { return false }
        let slots = stage.indexed.indexes.indices
        let kept = try? stage.owner.atCommitBoundary { boundary in
            try slots.contains {
                try boundary.generations?.previousGeneration(of: IndexSlot($0)) != nil
            }
        }
        return kept ?? false
    }
}

extension Player {
    /// The records of runs; nil where none is kept, or where they can't be looked at now.
    fileprivate var records: [RunRecord]? {
        guard holder == nil, runs.contains(where: { $0.number > 0 }) else { return nil }
        return try? stage.owner.atCommitBoundary { try $0.journal?.runs() }
    }

    fileprivate var hasSuperseded: Bool {
        records?.contains { $0.state == .aborted && $0.reason?.contains("took its place") == true }
            ?? false
    }
}

extension RunLanes {
    /// The situation of a delta that is applied now.
    var whereDeltasCome: Situation? {
        switch coordinator.next {
        case .prepare, .replay, .settle, .end, .mark, .judge, .lookUp: nil
        case .cut: .duringSettle
        case .compare, .compared, .plan: .duringCompare
        case .beginPatch, .beginLoad, .resumeLoad: .duringCompare
        case .drain: hasMerged ? .beforeBatch : .duringLoad
        case .load, .refreeze: .duringLoad
        case .patch: .duringPatch
        case .commit: .beforeCommit
        case .reap: .duringReap
        }
    }

    /// Whether it has compared counters, and what they lack is still to be added.
    fileprivate var isAboutToCorrect: Bool {
        guard corrects, !coordinator.isRecheck else { return false }
        switch coordinator.next {
        case .plan, .beginPatch, .beginLoad, .drain, .patch, .load: return true
        default: return false
        }
    }
}
