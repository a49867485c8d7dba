// A walk: lanes stepped in an order that a seed chooses, with every check after every step.

internal import Bytes
internal import Tidemark

final class Walk {
    let player: Player
    private var random: SplitMix64?
    /// How often the store comes down, per step; every fourth time the whole machine.
    var crashRate = 0.0
    /// What was done so far: steps of lanes, and turns that are none.
    private var done: [Move] = []
    private(set) var crashes = 0
    private(set) var stops = 0

    private enum Move {
        case step(Int, WriterLane.Part?, position: Int)
        case turn(Turn)
    }

    /// Steps after which a walk that has not ended never will.
    private static let bound = 100_000

    /// - Parameter seed: nil: always the last of the lanes that can go on, which brings the
    ///   runs to their ends before the writers.
    init(_ player: Player, seed: UInt64?) {
        self.player = player
        random = seed.map { SplitMix64(seed: $0) }
    }

    /// Walks until all lanes have come to their ends.
    func play() throws {
        try player.check()
        for _ in 0..<Walk.bound {
            if player.isOver, player.suspended.isEmpty { return try player.checkEnd() }
            try stopNowAndThen()
            try crashNowAndThen()
            let choices = player.choices
            guard !choices.isEmpty else {
                throw Violation(rule: "liveness", text: "nothing can go on: " + player.standing)
            }
            let lane = choices[random?.next(below: choices.count) ?? choices.count - 1]
            note(lane)
            try player.step(lane)
            try player.check()
        }
        throw Violation(rule: "liveness", text: "no end after \(Walk.bound) steps")
    }

    /// Resumable runs are stopped now and then, and go on a little later.
    private func stopNowAndThen() throws {
        guard player.holder == nil else { return }
        for name in player.suspended where player.isOver || !(random?.next(below: 4) ?? 0 > 0) {
            try goOn(name)
        }
        guard crashRate > 0, let dice = random?.next(below: 1_000_000),
            Double(dice) < crashRate * 1e6
        else { return }
        let working = player.runs.filter {
            $0.description.isResumable && $0.isAttached && !$0.isAborted
        }
        guard let run = working.first else { return }
        let name = run.description.name, isPause = dice % 2 == 0
        stops += 1
        done.append(.turn(Turn(.stop(run: name, isPause: isPause), .steps(1))))
        try player.stop(name, isPause: isPause)
    }

    private func crashNowAndThen() throws {
        guard crashRate > 0, let dice = random?.next(below: 1_000_000),
            Double(dice) < crashRate * 1e6, player.runs.contains(where: { !$0.isOver })
        else { return }
        try crash(isMachine: dice % 4 == 0)
    }

    func crash(isMachine: Bool) throws {
        crashes += 1
        done.append(.turn(Turn(.crash(isMachine: isMachine), .steps(1))))
        try player.crash(isMachine: isMachine)
        try player.check()
        for name in player.lost { try goOn(name) }
    }

    /// A resumable run resumes, any other begins again.
    private func goOn(_ name: String) throws {
        guard player.run(name).description.isResumable else { return try restart(name) }
        done.append(.turn(Turn(.resume(run: name), .steps(1))))
        try player.resume(name)
    }

    func restart(_ name: String) throws {
        done.append(.turn(Turn(.restart(run: name), .steps(1))))
        try player.restart(name)
    }

    private func note(_ lane: Int) {
        guard case .writer = player.lanes[lane] else {
            return done.append(.step(lane, nil, position: 0))
        }
        let writer = player.writers[lane]
        done.append(.step(lane, writer.part, position: writer.position))
    }

    /// The scenario with the order in which it was walked through, without what was refused.
    func scenario() -> Scenario {
        var scenario = player.scenario
        // What had not begun has no part in it, and may be impossible in another order.
        for (lane, writer) in player.writers.enumerated() {
            let begun = writer.position + (writer.part == .begin ? 0 : 1)
            scenario.writers[lane].transactions.removeSubrange(begun...)
        }
        let refused = player.refused
        for (lane, position) in refused.sorted(by: { $0.position > $1.position }) {
            scenario.writers[lane].transactions.remove(at: position)
        }
        var order: [Turn] = []
        for move in done {
            switch move {
            case .turn(let turn): order.append(turn)
            case .step(let lane, let part?, let position):
                if refused.contains(where: { $0 == (lane, position) }) { continue }
                order.append(Turn(player.lanes[lane], .step(part.rawValue)))
            case .step(let lane, nil, _): Turn.append(player.lanes[lane], to: &order)
            }
        }
        let isIdle = { (writer: Writer) in writer.transactions.isEmpty }
        scenario.writers.removeAll(where: isIdle)
        scenario.order = order
        scenario.expect = scenario.expectationsOfAnyEnd
        for run in scenario.runs.indices { scenario.runs[run].expect = nil }
        return scenario
    }
}

extension Scenario {
    /// Where calls fail, the store comes down, or runs are in each other's way, a run may end in
    /// any way: what must hold is checked after every step all the same.
    var expectationsOfAnyEnd: Expectations {
        var expectations = Expectations()
        let hasCrash = order.contains {
            switch $0.lane {
            case .crash, .stop, .sideFile: true
            default: false
            }
        }
        if writers.contains(where: { $0.transactions.contains(where: \.isRollback) })
            || runs.contains(where: { $0.scope != nil }) || store.kind == .unlocked
        {
            expectations.isExact = false
        }
        guard hasCrash || !faults.isEmpty || runs.count > 1 || store.kind == .unlocked else {
            return expectations
        }
        let outcomes: [RunReport.Outcome] = [
            .clean, .repaired, .corrupt, .incomplete, .aborted, .stopped, .unsettled,
        ]
        expectations.run.outcomes = outcomes.map(\.rawValue)
        expectations.isExact = false
        return expectations
    }
}

extension Turn {
    /// One more step of a lane that is no writer's.
    static func append(_ lane: Lane, to turns: inout [Turn]) {
        if let last = turns.last, last.lane == lane, case .steps(let count) = last.until {
            turns[turns.count - 1] = Turn(lane, .steps(count + 1))
        } else {
            turns.append(Turn(lane, .steps(1)))
        }
    }

    /// Single steps of lanes as turns, where no transaction is refused.
    static func turns(_ order: [Int], _ lanes: [Lane], isUnlocked: Bool = false) -> [Turn] {
        var turns: [Turn] = []
        var parts: [Int: Int] = [:]
        for lane in order {
            guard lanes[lane].isWriter else {
                append(lanes[lane], to: &turns)
                continue
            }
            guard !isUnlocked else {
                turns.append(Turn(lanes[lane], .step(anyPart)))
                continue
            }
            let names = ["begin", "commit", "report"]
            turns.append(Turn(lanes[lane], .step(names[parts[lane, default: 0] % 3])))
            parts[lane, default: 0] += 1
        }
        return turns
    }
}
