// From what was noted to a scenario.

internal import Synchronization
internal import Tidemark
public import Volume

extension Recorder {
    /// The scenario, once nobody writes any more.
    /// - Parameters:
    ///   - title: lines that say what it is.
    ///   - isExact: whether a replay comes to the very same contents.
    /// - Throws: where the recording has failed.
    public func finish(
        _ volume: Volume, title: [String], isExact: Bool = true
    ) throws -> Scenario {
        let state = state.withLock { $0 }
        if let failure = state.failure { throw failure }
        var scenario = Scenario()
        scenario.title = title
        scenario.store.blocks = blocks
        scenario.setup = setup
        scenario.writers = (0..<writers).map { number in
            Writer(name: writerName(number), transactions: transactions(state.events, number))
        }
        scenario.runs = named(state.runs)
        scenario.order = Order(state, scenario.runs, writerName).turns
        if isExact { scenario.expect.digest = try VolumeStage.contents(of: volume).digest }
        return scenario
    }

    private func writerName(_ number: Int) -> String { "w\(number + 1)" }

    private func transactions(_ events: [Event], _ number: Int) -> [Transaction] {
        events.compactMap { event in
            guard case .transaction(number, _) = event.what else { return nil }
            return Transaction(event.operations)
        }
    }

    private func named(_ runs: [RunDescription]) -> [RunDescription] {
        guard !runs.isEmpty else {
            // A scenario is about a run: here it looks at the end.
            var check = RunDescription()
            check.strategy = .check
            check.window = Recorder.window
            return [check]
        }
        guard runs.count > 1 else { return runs }
        return runs.enumerated().map { number, run in
            var run = run
            run.name = "run-\(number + 1)"
            return run
        }
    }
}

/// Turns in the order of events and windows.
private struct Order {
    private(set) var turns: [Turn] = []
    private let events: [Recorder.Event]
    private let runs: [RunDescription]
    private let writerName: (Int) -> String
    /// Appends of each load, by the event that began it.
    private var loads: [Int: Int] = [:]
    /// Batches of the load under way that are still to be told.
    private var batches = 0
    /// Runs whose comparisons have been told.
    private var compared: Set<Int> = []

    /// A moment between events: before the event of a number, or in the middle of it, when a
    /// transaction is visible and not yet reported.
    private struct Moment: Comparable {
        var event: Int
        var isInside = false

        static func < (a: Moment, b: Moment) -> Bool {
            a.event != b.event ? a.event < b.event : !a.isInside && b.isInside
        }
    }

    init(
        _ state: Recorder.State, _ runs: [RunDescription], _ writerName: @escaping (Int) -> String
    ) {
        events = state.events
        self.runs = runs
        self.writerName = writerName
        countLoads()
        var windows = turns(of: state.windows)[...]
        for number in events.indices {
            take(&windows, through: Moment(event: number))
            add(number, &windows)
        }
        take(&windows, through: Moment(event: events.count))
    }

    private mutating func take(
        _ windows: inout ArraySlice<(moment: Moment, turn: Turn)>, through moment: Moment
    ) {
        while let next = windows.first, next.moment <= moment {
            turns.append(next.turn)
            windows.removeFirst()
        }
    }

    private mutating func countLoads() {
        var begun: [Int: Int] = [:]
        for (number, event) in events.enumerated() {
            guard case .step(let run, let step) = event.what else { continue }
            if step == "begin load" { begun[run] = number }
            if step == "load", let number = begun[run] { loads[number, default: 0] += 1 }
        }
    }

    // MARK: Events

    private mutating func add(
        _ number: Int, _ windows: inout ArraySlice<(moment: Moment, turn: Turn)>
    ) {
        let inside = Moment(event: number, isInside: true)
        switch events[number].what {
        case .transaction(let writer, _):
            let lane = Turn.Lane.writer(writerName(writer))
            if let next = windows.first, next.moment <= inside {
                turns.append(Turn(lane, .step("commit")))
                take(&windows, through: inside)
                turns.append(Turn(lane, .step("report")))
            } else if let last = turns.last, last.lane == lane, case .steps(let count) = last.until
            {
                turns[turns.count - 1].until = .steps(count + 1)
            } else {
                turns.append(Turn(lane, .steps(1)))
            }
        case .step(let run, let step):
            if step == "begin load" { beginLoad(of: run, appends: loads[number] ?? 0) }
            if step == "load" {
                guard batches > 0 else { return }
                batches -= 1
            }
            turns.append(Turn(.coordinator(run: runs[run].name), .step(step)))
        }
    }

    /// How many deltas had been handled when the shadow was frozen for a load is not recorded.
    /// A replay handles all there are before the first; should it need fewer batches all the
    /// same, then the last ones are not told, and the commit takes them along.
    private mutating func beginLoad(of run: Int, appends: Int) {
        batches = max(0, appends - 2 - appends / 8)
        guard compared.insert(run).inserted else { return }
        let name = runs[run].name
        for _ in runs[run].indexes {
            turns.append(Turn(.coordinator(run: name), .step("compare")))
        }
        turns.append(Turn(.assistant(run: name), .end))
    }

    // MARK: Windows

    /// Where windows were looked at, opened and read, in order.
    private func turns(
        of windows: [Recorder.ReadWindow]
    ) -> [(moment: Moment, turn: Turn)] {
        var result: [(moment: Moment, turn: Turn)] = []
        var floor = Moment(event: 0)
        for (number, window) in windows.enumerated() {
            let lane = Turn.Lane.scanner(run: runs[window.run].name, number: 1)
            if let looked = window.looked {
                floor = max(floor, moment(of: looked, window, before: window.opened))
                result.append((floor, Turn(lane, .steps(1))))
            }
            floor = max(floor, moment(of: window.opened, window, before: .max))
            result.append((floor, Turn(lane, .opened(window.last))))
            let next = number + 1 < windows.count ? windows[number + 1] : nil
            let following = next?.run == window.run ? next?.opened : nil
            floor = max(floor, moment(of: window.read, window, before: following ?? .max))
            result.append((floor, Turn(lane, .read(window.last))))
        }
        return result
    }

    /// When `commit` was the last visible one. It had been reported, too, unless what came next
    /// knew of `known` only.
    private func moment(
        of commit: UInt64, _ window: Recorder.ReadWindow, before known: UInt64
    ) -> Moment {
        var event = window.place
        while event > 0, events[event - 1].commit > commit { event -= 1 }
        guard known < commit, event > 0, case .transaction = events[event - 1].what else {
            return Moment(event: event)
        }
        return Moment(event: event - 1, isInside: true)
    }
}
