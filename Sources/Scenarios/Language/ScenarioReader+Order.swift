// The turns of `order`.
//
// A turn is a lane with what it does: `scanner: opened low`. A lane of a run bears the run's
// name in front where there are several: `x scanner 2: 3`, `x: cut`.

internal import Yams

extension ScenarioReading {
    func turn(_ node: Node, _ scenario: Scenario) throws(ScenarioError) -> Turn {
        let line = source.spot(node).line
        guard node.mapping != nil else {
            var words = try Words(node, source, what: "a turn: `LANE: STEPS`")
            let word = try words.next("a lane")
            try words.finish()
            if word.raw == "crash" { return Turn(.crash(isMachine: false), .steps(1), line: line) }
            guard word.raw == "restart" || Turn.runEvents.contains(word.raw) else {
                let events = ["crash", "restart"] + Turn.runEvents
                let hint = choices(events, for: word.raw)
                throw words.error(word, expected: "a turn: `LANE: STEPS`, \(hint)")
            }
            guard scenario.runs.count == 1 else {
                throw words.error(word, expected: "`\(word.raw): RUN`, for there are several")
            }
            return Turn(event(word.raw, scenario.runs[0].name), .steps(1), line: line)
        }
        let (key, value) = try pair(node, "a turn: `LANE: STEPS`")
        if let lane = try event(key, value, scenario) { return Turn(lane, .steps(1), line: line) }
        let lane = try lane(key, scenario)
        return Turn(lane, try until(value, lane, scenario.store.kind), line: line)
    }

    /// What a word means that is followed by the name of a run.
    private func event(_ word: String, _ run: String) -> Turn.Lane {
        switch word {
        case "stop": .stop(run: run, isPause: false)
        case "pause": .stop(run: run, isPause: true)
        case "resume": .resume(run: run)
        case "lose": .sideFile(run: run, isLost: true)
        case "spoil": .sideFile(run: run, isLost: false)
        default: .restart(run: run)
        }
    }

    /// `crash: machine`, `restart: RUN` and the like.
    private func event(
        _ key: Node, _ value: Node, _ scenario: Scenario
    ) throws(ScenarioError) -> Turn.Lane? {
        guard let word = key.scalar?.string else { return nil }
        if word == "crash" {
            return .crash(isMachine: try name(value, "what crashes", of: ["machine"]) == "machine")
        }
        if word == "feed ends", scenario.store.kind == .unlocked {
            return .feedEnds(try text(value, "why"))
        }
        guard word == "restart" || Turn.runEvents.contains(word) else { return nil }
        return event(word, try name(value, "a run", of: scenario.runs.map(\.name)))
    }

    // MARK: Lanes

    private func lane(_ node: Node, _ scenario: Scenario) throws(ScenarioError) -> Turn.Lane {
        var words = try Words(node, source, what: "a lane")
        let first = try words.next("a lane")
        if scenario.writers.contains(where: { $0.name == first.raw }) {
            try words.finish()
            return .writer(first.raw)
        }
        if let run = scenario.runs.first(where: { $0.name == first.raw }) {
            guard let part = words.nextIfAny() else { return .coordinator(run: run.name) }
            return try lane(part, of: run, &words, scenario)
        }
        guard scenario.runs.count == 1 else {
            throw words.error(first, expected: unknownLane(first.raw, scenario))
        }
        return try lane(first, of: scenario.runs[0], &words, scenario)
    }

    /// A lane of a run, of which `part` is the name.
    private func lane(
        _ part: Word, of run: RunDescription, _ words: inout Words, _ scenario: Scenario
    ) throws(ScenarioError) -> Turn.Lane {
        let lane: Turn.Lane
        switch part.raw {
        case "scanner":
            lane = .scanner(
                run: run.name, number: try number(&words, run.scanners, "scanners", run))
        case "compare":
            lane = .compare(run: run.name, number: try number(&words, run.parts, "parts", run))
        case "assistant": lane = .assistant(run: run.name)
        case "feed" where scenario.store.kind == .unlocked:
            lane = .feed(
                run: run.name,
                number: try number(&words, scenario.store.buffers, "buffers", run))
        case "merger": lane = .merger(run: run.name)
        case "checkpoint":
            guard run.isResumable else {
                throw words.error(
                    part, expected: "it for a resumable run: `resumable: true`")
            }
            lane = .checkpoint(run: run.name)
        default: throw words.error(part, expected: unknownLane(part.raw, scenario))
        }
        try words.finish()
        return lane
    }

    /// The number behind `scanner` or `compare`; 1 where there is none.
    private func number(
        _ words: inout Words, _ count: Int, _ what: String, _ run: RunDescription
    ) throws(ScenarioError) -> Int {
        guard let word = words.nextIfAny() else { return 1 }
        guard let number = decimal(word.raw), (1...UInt64(count)).contains(number) else {
            throw words.error(
                word, expected: "a number from 1 to \(count): \(run.name) has \(count) \(what)")
        }
        return Int(number)
    }

    private func unknownLane(_ word: String, _ scenario: Scenario) -> String {
        var lanes = scenario.writers.map(\.name)
        let parts = ["scanner", "assistant", "compare", "merger", "checkpoint"]
        lanes += scenario.runs.map(\.name)
        if scenario.runs.count == 1 { lanes += parts }
        let several =
            scenario.runs.count == 1 ? "" : ", and behind a run \(choices(parts, for: ""))"
        return "a lane: \(choices(lanes, for: word))\(several)"
    }

    // MARK: Steps

    private func until(
        _ node: Node, _ lane: Turn.Lane, _ kind: StoreDescription.Kind
    ) throws(ScenarioError) -> Turn.Until {
        let text = try text(node, expected(lane))
        if let steps = decimal(text) {
            guard (1...1_000_000).contains(steps) else {
                throw source.error(node, quoted(text), expected: "steps, 1 to 1000000")
            }
            return .steps(Int(steps))
        }
        if text == "end" { return .end }
        switch lane {
        case .writer where Turn.writerSteps.contains(text): return .step(text)
        case .coordinator where Turn.coordinatorSteps.contains(text): return .step(text)
        case .assistant where text == "spill": return .step(text)
        case .checkpoint where Turn.checkpointSteps.contains(text): return .step(text)
        case .assistant where text == "all": return .end
        case .scanner: return try scanned(node, kind, lane)
        default:
            let hint = nearest(to: text, among: steps(lane)).map { "; did you mean \($0)?" }
            throw source.error(node, quoted(text), expected: expected(lane) + (hint ?? ""))
        }
    }

    private func scanned(
        _ node: Node, _ kind: StoreDescription.Kind, _ lane: Turn.Lane
    ) throws(ScenarioError) -> Turn.Until {
        var words = try Words(node, source, what: expected(lane))
        let first = try words.next("steps")
        guard first.raw == "opened" || first.raw == "read" else {
            throw words.error(first, expected: expected(lane))
        }
        let place = try words.place(kind)
        try words.finish()
        return first.raw == "opened" ? .opened(place) : .read(place)
    }

    /// The steps of a lane that have names.
    private func steps(_ lane: Turn.Lane) -> [String] {
        switch lane {
        case .writer: Turn.writerSteps + ["end"]
        case .coordinator: Turn.coordinatorSteps + ["end"]
        case .assistant: ["all", "spill", "end"]
        case .checkpoint: Turn.checkpointSteps + ["end"]
        default: ["end"]
        }
    }

    private func expected(_ lane: Turn.Lane) -> String {
        if case .scanner = lane {
            return "a number of steps, `opened PLACE`, `read PLACE` or end"
        }
        return "a number of steps, \(choices(steps(lane), for: ""))"
    }
}
