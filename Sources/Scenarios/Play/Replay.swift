// A replay: the lanes of a scenario in the order that its file says, with every check after
// every step, and the file's expectations at the end.
//
// The coordinator takes along what it waits for: told to go on to its commit, it lets the
// scanners, the parts of a comparison and the merger do their steps, in this order. So an
// order says only what the race is about. When it is over, runs that a crash has ended begin
// again; then runs come to their ends, and then writers to theirs.

internal import Bytes
internal import Inspection
internal import Tidemark

/// What came of playing a scenario once.
public struct ReplayResult: Sendable {
    /// `memory` or `volume`.
    public internal(set) var stage = ""
    /// What was not as it must be; empty: it passed.
    public internal(set) var failures: [String] = []
    public internal(set) var steps = 0
    /// Situations that were met, by name.
    public internal(set) var situations: [String] = []
    /// The lanes side by side, a line for each step.
    public internal(set) var trace: [String] = []
    public internal(set) var seconds = 0.0
    /// Moves of runs from one state to another, each once.
    var moves: Set<RunMove> = []

    /// Why it could not be played at all: no room for a volume, for example. That says nothing
    /// of the scenario.
    public internal(set) var obstacle: String?

    public var isPassed: Bool { failures.isEmpty && obstacle == nil }
}

struct Replay {
    let player: Player
    private let counter = SituationCounter()
    private let trace: Trace?
    /// Steps from one check to the next.
    private let interval: Int

    init(_ player: Player, isTraced: Bool) {
        self.player = player
        interval = max(1, player.scenario.operationCount / 256)
        trace = isTraced ? Trace(player) : nil
        player.observer = ObserverPair(counter, trace)
    }

    /// Plays to the end and looks at what came of it.
    func play() -> ReplayResult {
        var result = ReplayResult()
        do {
            try player.check()
            for turn in player.scenario.order { try take(turn) }
            try finish()
            try player.check()
            try player.checkEnd()
            result.failures = try unmet()
        } catch let violation as Violation {
            result.failures = [violation.description]
        } catch {
            result.failures = ["\(error)"]
        }
        result.moves = player.moves
        result.steps = counter.steps
        result.situations = counter.met.map(\.rawValue)
        result.trace = trace?.lines ?? []
        return result
    }

    /// A look at everything costs as much as there is to see: a recording, which has thousands
    /// of records and steps, is not looked at after each.
    private func step(_ lane: Int) throws {
        try player.step(lane)
        if counter.steps.isMultiple(of: interval) { try player.check() }
    }

    // MARK: Turns

    private func take(_ turn: Turn) throws {
        do {
            switch turn.lane {
            case .crash(let isMachine):
                try player.crash(isMachine: isMachine)
                try player.check()
            case .restart(let name): try player.restart(name)
            case .stop(let name, let isPause): try player.stop(name, isPause: isPause)
            case .resume(let name): try player.resume(name)
            case .feedEnds(let reason): player.unlocked?.endFeeds(reason)
            case .sideFile(let name, let isLost):
                try player.stage.harmSideStore(player.run(name).number, isLost: isLost)
            default: try take(turn, lane: lane(of: turn))
            }
        } catch let error as StageError {
            throw StageError.refused("line \(turn.line): \(error)")
        }
    }

    private func lane(of turn: Turn) throws -> Int {
        guard let lane = player.lanes.firstIndex(of: turn.lane) else {
            throw StageError.refused("there is no lane for \(turn.lane)")
        }
        return lane
    }

    private func take(_ turn: Turn, lane: Int) throws {
        switch turn.until {
        case .steps(let count):
            if case .writer = turn.lane {
                for _ in 0..<count { try write(lane, through: .report) }
            } else {
                for _ in 0..<count { try need(lane) }
            }
        case .end:
            if case .coordinator(let name) = turn.lane {
                while !player.run(name).isOver { try coordinate(name, lane) }
            } else {
                while player.canStep(lane) { try step(lane) }
            }
        case .step(let name): try take(turn.lane, lane, step: name)
        case .opened(let place): try scan(lane, turn.lane, place) { !$0 }
        case .read(let place): try scan(lane, turn.lane, place) { $0 }
        }
    }

    private func need(_ lane: Int) throws {
        guard player.canStep(lane) else {
            throw StageError.refused("the lane \(player.lanes[lane].text) can't go on")
        }
        try step(lane)
    }

    private func take(_ turn: Turn.Lane, _ lane: Int, step name: String) throws {
        switch turn {
        case .writer where name == Turn.anyPart: try need(lane)
        case .writer: try write(lane, through: WriterLane.Part(rawValue: name) ?? .report)
        case .assistant(let run): try player.run(run).run.spill()
        case .checkpoint(let run):
            while true {
                let next = player.run(run).nextCheckpointStep
                try need(lane)
                if next?.rawValue == name { return }
            }
        case .coordinator(let run):
            var done: Coordinator.Step?
            while done?.rawValue != name {
                guard !player.run(run).isOver else {
                    throw StageError.refused("\(run) came to its end without a step \(name)")
                }
                done = try coordinate(run, lane)
            }
        default: throw StageError.refused("\(turn.text) has no step \(name)")
        }
    }

    private func write(_ lane: Int, through last: WriterLane.Part) throws {
        while true {
            let part = player.writers[lane].part
            try need(lane)
            if part == last { return }
        }
    }

    /// - Parameter isIdle: whether the scanner must also have read what it has opened.
    private func scan(
        _ lane: Int, _ turn: Turn.Lane, _ place: Place, _ isEnough: (Bool) -> Bool
    ) throws {
        guard case .scanner(let name, let number) = turn else {
            throw StageError.refused("only a scanner comes to a place")
        }
        let end = try player.stage.end(of: place)
        let run = player.run(name)
        while true {
            let isBeyond = run.run.cursor.map { !($0 < end) } ?? true
            let isIdle = run.isIdle(number - 1)
            if isBeyond, isEnough(false) || isIdle { return }
            try need(lane)
        }
    }

    /// One step of the coordinator, or of what it waits for.
    /// - Returns: the step, where it was the coordinator's own.
    @discardableResult
    private func coordinate(_ name: String, _ lane: Int) throws -> Coordinator.Step? {
        if player.canStep(lane) {
            let next = player.run(name).coordinator.next
            try step(lane)
            return next
        }
        let serving = player.lanes.indices.filter { player.lanes[$0].serves(name) }
        // A full queue is emptied where a scanner waits for that.
        let assistant = player.lanes.indices.filter { player.lanes[$0] == .assistant(run: name) }
        let helpers = serving + assistant
        guard let helper = helpers.first(where: { player.canStep($0) }) else {
            throw StageError.refused(
                "\(name) can't go on: "
                    + (player.holder == nil
                        ? "nothing that it waits for can" : "a transaction is under way"))
        }
        try step(helper)
        return nil
    }

    // MARK: The end

    private func finish() throws {
        if player.unlocked != nil { return try player.finish { try step($0) } }
        if let holder = player.holder { try write(holder, through: .report) }
        for name in player.lost { try player.goOn(name) }
        try player.finish { try step($0) }
    }

    private func unmet() throws -> [String] {
        var unmet: [String] = []
        let expect = player.scenario.expect
        for run in player.runs {
            let words = try run.unmet(run.description.expect ?? expect.run, player)
            unmet += words.map { player.runs.count > 1 ? "\(run.description.name): \($0)" : $0 }
        }
        for slot in player.watched {
            let differences = try player.differences(slot)
            if expect.isExact, !differences.isEmpty {
                unmet.append("\(player.name(slot)) differs at \(differences.count) entries")
            }
        }
        unmet += try unmetUndo(expect)
        if let limit = expect.longestHold, let owner = player.stage.indexed as? SteeredOwner {
            let longest = Double(owner.longestHold) / 1e6
            if longest > limit {
                unmet.append(
                    "a hold of the commit lock took \(longest) ms of processor time, "
                        + "not \(limit) at most")
            }
        }
        let met = Set(counter.met.map(\.rawValue))
        for name in expect.meets where !met.contains(name) { unmet.append("never met: \(name)") }
        if let digest = expect.digest, try player.stage.digest() != digest {
            unmet.append("the contents are others: digest \(try player.stage.digest())")
        }
        return unmet
    }
}

extension Replay {
    /// What was expected of rollbacks, and of what they leave.
    private func unmetUndo(_ expect: Expectations) throws -> [String] {
        var unmet: [String] = []
        if let refused = expect.refused, !refused.contains(player.refusedRollbacks) {
            unmet.append(
                "\(player.refusedRollbacks) rollbacks were refused, expected \(refused.text)")
        }
        for slot in player.watched {
            guard let bounds = expect.left[player.name(slot)] else { continue }
            let differences = try player.differences(slot)
            for kind in Discrepancy.Kind.allCases {
                let count = differences.count { $0.kind == kind }
                guard let bound = bounds[kind], !bound.contains(count) else { continue }
                unmet.append(
                    "\(player.name(slot)) is left with \(count) \(kind.rawValue), "
                        + "expected \(bound.text)")
            }
        }
        return unmet
    }
}

extension Player {
    /// Lets all lanes come to their ends: the runs, each with what it waits for, then the
    /// writers; and whatever can still go on.
    func finish(_ step: (Int) throws -> Void) throws {
        var bound = 1_000_000
        while !isOver {
            let order = lanes.indices.reversed()
            let next = order.first { !lanes[$0].isWriter && canStep($0) }
            guard let lane = next ?? order.first(where: { canStep($0) }) else {
                throw Violation(rule: "liveness", text: "nothing can go on: " + standing)
            }
            try step(lane)
            bound -= 1
            guard bound > 0 else {
                throw Violation(rule: "liveness", text: "no end after a million steps")
            }
        }
    }

    /// Where everybody stands, in words.
    var standing: String {
        runs.map { "\($0.description.name) before \($0.coordinator.next.rawValue)" }
            .joined(separator: ", ")
    }

    func differences(_ slot: IndexSlot) throws -> [Difference] {
        let isArmed = stage.faults.isArmed
        stage.faults.isArmed = false
        defer { stage.faults.isArmed = isArmed }
        return try Player.differences(stage, slot)
    }
}

extension RunLanes {
    /// What the run was expected to come to, and did not.
    func unmet(_ expect: RunExpectations, _ player: Player) throws -> [String] {
        let report = run.report
        var unmet: [String] = []
        let outcomes = expect.outcomes.isEmpty ? ["clean", "repaired"] : expect.outcomes
        let reason = report.reason.map { " (\($0))" } ?? ""
        if !outcomes.contains(report.outcome.rawValue) {
            unmet.append(
                "outcome \(report.outcome.rawValue)\(reason), expected "
                    + outcomes.joined(separator: " or "))
        }
        if let words = expect.reason, report.reason?.contains(words) != true {
            unmet.append("reason \(report.reason ?? "none"), expected one with: \(words)")
        }
        for (what, number, bounds) in [
            ("applied", report.applied, expect.applied), ("elided", report.elided, expect.elided),
            ("windows", report.windows, expect.windows),
        ] {
            if let bounds, !bounds.contains(number) {
                unmet.append("\(what) \(number), expected \(bounds.text)")
            }
        }
        for index in report.indexes { unmet += self.unmet(index, expect) }
        if let bounds = expect.unsettled {
            let number = report.indexes.reduce(0) { $0 + $1.unsettled }
            if !bounds.contains(number) {
                unmet.append("unsettled \(number), expected \(bounds.text)")
            }
        }
        if let bounds = expect.losses, !bounds.contains(report.losses) {
            unmet.append("losses \(report.losses), expected \(bounds.text)")
        }
        for (name, number) in expect.generations.sorted(by: { $0.key < $1.key }) {
            guard let slot = player.stage.indexed.indexes.firstIndex(where: { $0.name == name })
            else { continue }
            let active = try player.stage.activeGeneration(IndexSlot(slot))
            if active != number {
                unmet.append("generation \(active) of \(name), expected \(number)")
            }
        }
        return unmet
    }

    private func unmet(_ index: IndexReport, _ expect: RunExpectations) -> [String] {
        let found = index.found
        let counts: [Discrepancy.Kind: Int] = [
            .missing: found.missing, .stray: found.stray, .wrong: found.wrong,
        ]
        return (expect.found[index.name] ?? [:]).sorted { $0.key.rawValue < $1.key.rawValue }
            .compactMap { kind, bounds in
                let number = counts[kind] ?? 0
                guard !bounds.contains(number) else { return nil }
                return "\(index.name): \(number) \(kind.rawValue), expected \(bounds.text)"
            }
    }
}

extension Scenario {
    var operationCount: Int {
        writers.flatMap(\.transactions).reduce(setup.count) { $0 + $1.operations.count }
    }
}

extension Turn.Lane {
    var isWriter: Bool {
        if case .writer = self { return true }
        return false
    }

    /// Whether a coordinator waits for it.
    func serves(_ run: String) -> Bool {
        switch self {
        case .scanner(let name, _), .compare(let name, _), .merger(let name),
            .feed(let name, _):
            name == run
        default: false
        }
    }

    /// As a column is called.
    var text: String {
        switch self {
        case .writer(let name): name
        case .scanner(let run, let number): Turn.Lane.name(run, "scanner", number)
        case .assistant(let run): Turn.Lane.name(run, "assistant")
        case .compare(let run, let number): Turn.Lane.name(run, "compare", number)
        case .merger(let run): Turn.Lane.name(run, "merger")
        case .feed(let run, let number): Turn.Lane.name(run, "feed", number)
        case .feedEnds: "feed ends"
        case .checkpoint(let run): Turn.Lane.name(run, "checkpoint")
        case .coordinator(let run): run
        case .crash(let isMachine): isMachine ? "crash: machine" : "crash"
        case .restart(let run): "restart: \(run)"
        case .stop(let run, let isPause): (isPause ? "pause: " : "stop: ") + run
        case .resume(let run): "resume: \(run)"
        case .sideFile(let run, let isLost): (isLost ? "lose: " : "spoil: ") + run
        }
    }

    private static func name(_ run: String, _ lane: String, _ number: Int = 1) -> String {
        (run == "run" ? "" : run + " ") + lane + (number == 1 ? "" : " \(number)")
    }
}

/// Tells two observers.
final class ObserverPair: Observer {
    private let first: any Observer
    private let second: (any Observer)?

    init(_ first: any Observer, _ second: (any Observer)?) {
        self.first = first
        self.second = second
    }

    func willStep(_ lane: Int, _ player: Player) {
        first.willStep(lane, player)
        second?.willStep(lane, player)
    }

    func stepped(_ lane: Int, _ event: StepEvent, _ player: Player) {
        first.stepped(lane, event, player)
        second?.stepped(lane, event, player)
    }

    func willCrash(_ player: Player, isMachine: Bool) {
        first.willCrash(player, isMachine: isMachine)
        second?.willCrash(player, isMachine: isMachine)
    }

    func crashed(_ player: Player) {
        first.crashed(player)
        second?.crashed(player)
    }

    func resumes(_ run: RunLanes, _ checkpoint: Checkpoint?, _ player: Player) {
        first.resumes(run, checkpoint, player)
        second?.resumes(run, checkpoint, player)
    }
}
