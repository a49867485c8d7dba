// The explorer: all interleavings of a scenario's lanes, with equal states met once; a crash
// at every state; a fault at every call that can fail; walks at random where there is too
// much for all.
//
// Every order is executed from the start, by the code that runs in production: nothing of it
// is copied, undone or simulated. What makes that affordable is that a state is continued
// once: two orders that come to the same state have the same futures. Two states are the same
// if everything that further steps depend on is, where commit numbers count by their order
// alone (StateDigest). The number of interleavings is that of the paths through the graph of
// states; it is counted, not walked.
//
// Depth first: an execution goes on until it meets a state that is known; the next one
// repeats the way to the last branching, and takes another lane from there.

internal import Bytes
internal import Inspection
internal import Tidemark

/// What is to be explored, and how far.
public struct ExploreOptions: Sendable {
    /// States at the most; beyond it walks at random follow.
    public var states = 200_000
    /// Seconds at the most, for each part.
    public var seconds = Double.infinity
    public var crashes = true
    public var faults = true
    /// Walks at random, with seeds from `seed` on; those where not all orders could be tried.
    public var walks = 1000
    public var seed: UInt64 = 1
    /// Whether the walks are made even where all orders were tried.
    public var alwaysWalks = false

    public init() {}
}

/// What was explored of one scenario, and what was found.
public struct Exploration: Sendable {
    public struct Failure: Sendable {
        /// What does not hold.
        public let text: String
        /// How to see it again: the scenario with the order in which it failed.
        public let scenario: Scenario
    }

    /// Complete orders that were covered, each counted once.
    public internal(set) var interleavings = 0.0
    public internal(set) var states = 0
    public internal(set) var executions = 0
    public internal(set) var steps = 0
    public internal(set) var walks = 0
    /// States at which the store came down. Equal ones, of which a restart sees nothing else,
    /// were tried once: `crashesTried`.
    public internal(set) var crashes = 0
    public internal(set) var crashesTried = 0
    /// States at which a run was stopped, to go on.
    public internal(set) var stops = 0
    public internal(set) var faults = 0
    /// Whether there was time for all of them.
    public internal(set) var areFaultsComplete = false
    /// Whether all orders were tried.
    public internal(set) var isExhaustive = false
    public internal(set) var seconds = 0.0
    public internal(set) var failures: [Failure] = []
    /// How often each situation was met, in the order of `Situation.allCases`.
    public internal(set) var situations = [Int](repeating: 0, count: Situation.allCases.count)
}

final class Explorer {
    let scenario: Scenario
    let options: ExploreOptions
    private let stage: any ExplorableStage
    /// For crashes, which are tried while an execution goes on.
    private let spare: any ExplorableStage
    private let mutants: Mutants
    private let isOwnerMutant: Bool
    private let counter = SituationCounter()
    private let clock: RunClock
    private var result = Exploration()
    private var start: UInt64 = 0

    /// States that are known, with the number of ways from there to the end; below zero while
    /// they are being explored.
    private var known: [State: Double] = [:]
    private var path: [Branch] = []
    private var digest = StateDigest()
    /// States of the store after a crash, with what writers have left to do.
    private var knownCrashes: Set<State> = []

    struct State: Hashable {
        let a: UInt64, b: UInt64
    }

    /// A state on the way, and which of its lanes was taken.
    private struct Branch {
        let state: State
        let choices: [Int]
        /// What each run's comparison or load has seen at its beginning.
        let memories: [UInt64]
        var taken = 0
        var ways = 0.0
    }

    init(
        _ scenario: Scenario, on stage: any ExplorableStage, spare: any ExplorableStage,
        options: ExploreOptions,
        mutants: Mutants = Mutants(), isOwnerMutant: Bool = false, clock: RunClock = .system
    ) {
        self.scenario = scenario
        self.stage = stage
        self.spare = spare
        self.options = options
        self.mutants = mutants
        self.isOwnerMutant = isOwnerMutant
        self.clock = clock
    }

    /// Explores everything that the options ask for, up to the first failure.
    func explore() -> Exploration {
        let began = clock.now()
        start = began
        exploreOrders()
        start = clock.now()
        if result.failures.isEmpty, options.faults { exploreFaults() }
        start = clock.now()
        if result.failures.isEmpty, !result.isExhaustive || options.alwaysWalks { walk() }
        result.situations = counter.counts
        result.steps = counter.steps
        result.states = known.count
        result.seconds = Double(clock.now() - began) / 1e9
        return result
    }

    private var isOutOfTime: Bool { Double(clock.now() - start) / 1e9 > options.seconds }

    private func begin(
        _ faults: [Fault]? = nil, on stage: (any ExplorableStage)? = nil
    ) throws -> Player {
        let stage = stage ?? self.stage
        stage.rewind()
        stage.faults.begin(faults ?? scenario.faults)
        result.executions += 1
        return try Player(scenario, on: stage, mutants: mutants, isOwnerMutant: isOwnerMutant)
    }

    // MARK: All orders

    private func exploreOrders() {
        do {
            repeat {
                try execute()
            } while !path.isEmpty && known.count < options.states && !isOutOfTime
        } catch {
            fail(error, order: turns)
            return
        }
        result.isExhaustive = path.isEmpty
        // What has not been continued counts as one.
        for branch in path { result.interleavings += branch.ways }
    }

    /// Repeats the way, takes the last branching's next lane, and goes on from there.
    private func execute() throws {
        let player = try begin()
        for branch in path.dropLast() { try player.step(branch.choices[branch.taken]) }
        player.observer = counter
        if let last = path.last {
            for (run, memory) in zip(player.runs, last.memories) { run.memory = memory }
            try step(player, last.choices[last.taken])
        }
        while true {
            try player.check()
            let state = try state(of: player)
            if let ways = known[state] {
                guard ways >= 0 else {
                    throw Violation(
                        rule: "liveness", text: "the same state again: " + player.standing)
                }
                return ascend(ways)
            }
            let choices = player.choices
            if options.crashes, player.unlocked == nil {
                try exploreCrash(player)
                try exploreStops(player)
            }
            guard let first = choices.first else {
                try conclude(player)
                known[state] = 1
                return ascend(1)
            }
            known[state] = -1
            path.append(
                Branch(state: state, choices: choices, memories: player.runs.map(\.memory)))
            try step(player, first)
        }
    }

    private func step(_ player: Player, _ lane: Int) throws {
        guard case .coordinator(let name) = player.lanes[lane] else {
            return try player.step(lane)
        }
        let run = player.run(name)
        let step = run.coordinator.next
        try player.step(lane)
        switch step {
        case .cut, .beginLoad, .beginPatch, .refreeze, .judge:
            let state = try state(of: player)
            run.memory = state.a ^ state.b
        // From here on what was found, which is part of the state, says it all.
        case .compared
        where run.coordinator.next == .plan && run.neverPatches && !run.corrects:
            run.memory = 0
        case .commit: run.memory = 0
        default: break
        }
    }

    /// The ways from the last branching's lane are known: on to its next one, or up.
    private func ascend(_ ways: Double) {
        var ways = ways
        while let last = path.indices.last {
            path[last].ways += ways
            path[last].taken += 1
            if path[last].taken < path[last].choices.count { return }
            ways = path[last].ways
            known[path[last].state] = ways
            path.removeLast()
        }
        result.interleavings += ways
    }

    private func conclude(_ player: Player) throws {
        guard player.isOver else {
            throw Violation(rule: "liveness", text: "nothing can go on: " + player.standing)
        }
        try player.checkEnd()
        if scenario.faults.isEmpty { try player.checkRecovered() }
    }

    private func state(of player: Player) throws -> State {
        digest.removeAll()
        digest.add(stage.fingerprint)
        stage.describe(into: &digest)
        if hasResumable { stage.describeRuns(into: &digest) }
        try player.describe(into: &digest) { self.stage.fingerprint(of: $0) }
        let (a, b) = digest.finish()
        return State(a: a, b: b)
    }

    // MARK: Crashes

    /// The store comes down here, is opened again, the runs begin again, and all comes to its
    /// end. A restart sees the store and what writers have left, and nothing else.
    private func exploreCrash(_ player: Player) throws {
        for isMachine in [false, true] {
            result.crashes += 1
            counter.willCrash(player, isMachine: isMachine)
            digest.removeAll()
            digest.add(isMachine ? 1 : 0)
            digest.add(stage.crashFingerprint(isMachine: isMachine))
            for writer in player.writers { digest.add(writer.position) }
            digest.add(player.holder ?? -1)
            for run in player.runs { digest.add(run.isOver ? 1 : 0) }
            if hasResumable {
                stage.describeRunsAfterCrash(isMachine: isMachine, into: &digest)
                for run in player.runs { digest.add(run.begunCheckpoints) }
            }
            stage.faults.describe(into: &digest)
            let (a, b) = digest.finish()
            guard knownCrashes.insert(State(a: a, b: b)).inserted else { continue }
            try tryCrash(isMachine)
        }
        // Between the commits of one step: behind the last of them is where it stands now.
        for commits in 1..<max(1, stage.commitsInStep) {
            result.crashes += 1
            try tryCrash(false, afterCommits: commits)
        }
    }

    private func tryCrash(_ isMachine: Bool, afterCommits commits: Int? = nil) throws {
        let order = path.map { $0.choices[$0.taken] }
        result.crashesTried += 1
        do {
            let player = try begin(on: spare)
            for lane in order { try player.step(lane) }
            try player.crash(isMachine: isMachine, afterCommits: commits)
            player.observer = counter
            try player.check()
            for name in player.lost { try player.goOn(name) }
            try finish(player)
        } catch {
            let crash = Turn(.crash(isMachine: isMachine), .steps(1))
            var found = error
            // A file can't say this.
            if let commits {
                found = Violation(
                    rule: "\(error)",
                    text: "after a crash within the last step, behind its commit \(commits)")
            }
            throw Failed(error: found, scenario: scenario(turns + [crash]))
        }
    }

    private var hasResumable: Bool { scenario.runs.contains(where: \.isResumable) }

    private func finish(_ player: Player) throws {
        try player.finish { lane in
            try player.step(lane)
            try player.check()
        }
        try player.checkEnd()
        if scenario.faults.isEmpty { try player.checkRecovered() }
    }

    // MARK: Stops

    /// Each resumable run is stopped here, and goes on. What it goes on from, and the store,
    /// are all that it sees of what was before.
    private func exploreStops(_ player: Player) throws {
        guard hasResumable, player.holder == nil else { return }
        for run in player.runs where run.description.isResumable && run.isAttached && !run.isAborted
        {
            try tryStop(run.description.name)
        }
    }

    private func tryStop(_ name: String) throws {
        let order = path.map { $0.choices[$0.taken] }
        do {
            let player = try begin(on: spare)
            for lane in order { try player.step(lane) }
            try player.stop(name, isPause: result.stops % 2 == 1)
            player.observer = counter
            let coordinator = player.lanes.firstIndex(of: .coordinator(run: name)) ?? 0
            try player.step(coordinator)
            try player.check()
            result.stops += 1
            guard player.run(name).isSuspended else { return try finish(player) }
            digest.removeAll()
            digest.add(2)
            digest.add(spare.fingerprint)
            spare.describeRuns(into: &digest)
            try player.describe(into: &digest) { self.spare.fingerprint(of: $0) }
            let (a, b) = digest.finish()
            guard knownCrashes.insert(State(a: a, b: b)).inserted else { return }
            try player.resume(name)
            try finish(player)
        } catch {
            let stop = Turn(.stop(run: name, isPause: false), .steps(1))
            let step = Turn(.coordinator(run: name), .steps(1))
            let resume = Turn(.resume(run: name), .steps(1))
            throw Failed(error: error, scenario: scenario(turns + [stop, step, resume]))
        }
    }

    // MARK: Faults

    private func exploreFaults() {
        do {
            for fault in try calls() { try tryFault(scenario, [fault]) }
            for variant in variants() { try tryFault(variant, []) }
            result.areFaultsComplete = !isOutOfTime
        } catch {
            fail(error, order: [])
        }
    }

    /// What goes wrong without a call that fails: a queue that is full at once, with writers
    /// that wait and with writers that don't; each transaction taken back.
    private func variants() -> [Scenario] {
        var variants: [Scenario] = []
        // A queue that takes nothing takes nothing from the feed either, which loses everything.
        guard scenario.store.kind != .unlocked else { return [] }
        for isPatient in [true, false] {
            var variant = scenario
            for run in variant.runs.indices {
                variant.runs[run].queue = 1
                variant.runs[run].isPatient = isPatient
            }
            variants.append(variant)
        }
        for writer in scenario.writers.indices {
            for place in scenario.writers[writer].transactions.indices {
                let transaction = scenario.writers[writer].transactions[place]
                guard !transaction.isAborted, !transaction.isSync, !transaction.isOpenOrClose,
                    !transaction.isRollback
                else { continue }
                var variant = scenario
                variant.writers[writer].transactions[place].isAborted = true
                variants.append(variant)
            }
        }
        return variants
    }

    /// Every call that can fail, of the order in which everything comes to its end by itself.
    private func calls() throws -> [Fault] {
        let player = try begin()
        try player.finish { try player.step($0) }
        var faults: [Fault] = []
        for point in Fault.Point.allCases {
            let count = stage.faults.calls(of: point)
            for call in 0..<min(count, 200) {
                let causes = Fault.Cause.allCases
                faults.append(Fault(point, call: call + 1, cause: causes[call % causes.count]))
            }
        }
        return faults
    }

    /// In the order in which everything comes to its end by itself, and in two others.
    private func tryFault(_ scenario: Scenario, _ faults: [Fault]) throws {
        for seed in [nil, options.seed, options.seed &+ 1] where !isOutOfTime {
            try tryFault(scenario, faults, seed: seed)
        }
    }

    /// The run fails or not; writers never do, and once nothing fails any more a new run makes
    /// all well.
    private func tryFault(_ variant: Scenario, _ faults: [Fault], seed: UInt64?) throws {
        result.faults += 1
        stage.rewind()
        stage.faults.begin(scenario.faults + faults)
        result.executions += 1
        // What a transaction needs may be what another, taken back, was to bring.
        let player = try Player(
            variant, on: stage, mutants: mutants, isOwnerMutant: isOwnerMutant,
            toleratesRefusals: variant != scenario)
        player.observer = counter
        let walk = Walk(player, seed: seed)
        do {
            try walk.play()
            stage.faults.begin([])
            for run in scenario.runs { try walk.restart(run.name) }
            try walk.play()
            try player.checkRecovered()
        } catch {
            var failing = walk.scenario()
            failing.faults += faults
            failing.expect = failing.expectationsOfAnyEnd
            throw Failed(error: error, scenario: failing)
        }
    }

    // MARK: Walks

    private func walk() {
        for number in 0..<options.walks {
            guard !isOutOfTime else { return }
            let seed = options.seed &+ UInt64(number)
            do {
                try walk(seed)
            } catch {
                fail(error, order: [], seed: seed)
                return
            }
            result.walks += 1
            result.interleavings += 1
        }
    }

    private func walk(_ seed: UInt64) throws {
        let player = try begin()
        player.observer = counter
        let walk = Walk(player, seed: seed)
        do { try walk.play() } catch {
            throw Failed(error: error, scenario: walk.scenario())
        }
    }

    // MARK: Failures

    /// An error, and the scenario with the order in which it came about.
    struct Failed: Error {
        let error: any Error
        let scenario: Scenario
    }

    private func fail(_ error: any Error, order: [Turn], seed: UInt64? = nil) {
        let failed = error as? Failed ?? Failed(error: error, scenario: scenario(order))
        let origin = seed.map { " (SEED=\($0))" } ?? ""
        result.failures.append(
            Exploration.Failure(text: "\(failed.error)\(origin)", scenario: failed.scenario))
    }

    private func scenario(_ order: [Turn]) -> Scenario {
        var ordered = scenario
        ordered.order = order
        ordered.expect = ordered.expectationsOfAnyEnd
        for run in ordered.runs.indices { ordered.runs[run].expect = nil }
        return ordered
    }

    /// The way to where the exploration stands.
    private var turns: [Turn] {
        Turn.turns(
            path.map { $0.choices[$0.taken] }, Player.lanes(of: scenario),
            isUnlocked: scenario.store.kind == .unlocked)
    }
}

extension Player {
    func describe(
        into digest: inout StateDigest, snapshots: (any OwnerSnapshot) -> UInt64
    ) throws {
        for writer in writers {
            digest.add(writer.position)
            digest.add(writer.part == .begin ? 0 : writer.part == .commit ? 1 : 2)
        }
        for slot in rolledBack.sorted() { digest.add(slot.rawValue) }
        digest.add(refusedRollbacks)
        let isArmed = stage.faults.isArmed
        stage.faults.isArmed = false
        defer { stage.faults.isArmed = isArmed }
        stage.faults.describe(into: &digest)
        for run in runs { try run.describe(into: &digest, snapshots: snapshots) }
    }
}

extension SplitMix64 {
    mutating func next(below bound: Int) -> Int { Int.random(in: 0..<bound, using: &self) }
}
