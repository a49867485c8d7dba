// Runs and pauses in turn while the writers write, so that both are measured in the same
// process under the same load.

internal import Bytes
internal import HostFiles
internal import Reports
internal import RunService
internal import Scenarios
internal import Synchronization
internal import Threads
internal import Tidemark
internal import Volume
internal import VolumeFormat

struct StressOptions: Sendable {
    var seconds = 10.0
    var writers = 1
    var seed: UInt64 = 0
    /// Repaired again and again; none: writers only.
    var slots: [IndexSlot] = []
    var strategy = Strategy.rebuild
    /// Mixed discrepancies that are planted in each index before each run.
    var damage = 0
    /// Whether all of it is recorded, for a scenario.
    var isRecorded = false
}

struct StressRun: Sendable {
    let damage: [String: DamageDone]
    let report: RunReport
}

struct StressResult: Sendable {
    var tally = StressTally()
    var runs: [StressRun] = []
    var seconds = 0.0
    /// Why it ended before its time.
    var failure: String?
    /// What came of it, where it was recorded.
    var scenario: Scenario?

    var status: ExitStatus {
        var status: ExitStatus = failure == nil ? .success : .operational
        for run in runs { status.formUnion(run.report.outcome.status) }
        return status
    }
}

struct StressCoordinator {
    let volume: Volume
    let options: StressOptions
    let handle: RunHandle
    let output: Output
    private let control = StressControl()

    init(_ volume: Volume, _ options: StressOptions, _ handle: RunHandle, _ output: Output) {
        self.volume = volume
        self.options = options
        self.handle = handle
        self.output = output
    }

    func run() throws -> StressResult {
        let recording = try makeWriters()
        let writers = recording.writers
        let start = monotonicNanoseconds()
        let threads = writers.map { writer in
            DedicatedThread(name: "writer-\(writer.number)") { writer.run() }
        }
        let total = UInt64(options.seconds)
        let control = control
        let watch = Watch(output) { progress in
            let elapsed = (monotonicNanoseconds() - start) / 1_000_000_000
            let words = control.isRunning.load(ordering: .relaxed) ? "run in progress" : "no run"
            progress.show("stress, \(words)", min(elapsed, total), of: total, "seconds")
        }
        var result = StressResult()
        let failure = coordinate(
            until: start + UInt64(options.seconds * 1e9), recording.recorder, &result)
        control.isStopped.store(true, ordering: .releasing)
        for thread in threads { thread.join() }
        watch.end()
        result.seconds = Double(monotonicNanoseconds() - start) / 1e9
        for writer in writers { result.tally.add(writer.tally) }
        result.failure = control.failure ?? failure
        do {
            result.scenario = try recording.recorder?.finish(volume, title: title)
        } catch {
            if result.failure == nil { result.failure = explanation(of: error) }
        }
        return result
    }

    private var title: [String] {
        let repairs = options.slots.map { volume.indexes[$0.rawValue].name }
        let words = repairs.isEmpty ? "" : ", and repairs of \(repairs.joined(separator: ", "))"
        return [
            "Recorded by tidemark stress: \(counted(options.writers, "writer")), seed "
                + "\(options.seed)\(words).",
            "Each transaction is a job of a writer, in the order in which they were done.",
        ]
    }

    // MARK: Writers

    private func makeWriters() throws -> (writers: [StressWriter], recorder: Recorder?) {
        let name = Array("stress-\(options.seed)".utf8)
        var random = SplitMix64(seed: options.seed)
        let existing = try ExistingTree(volume, leavingOut: name, random: &random)
        let root = try directory(.root, name)
        let shared = try directory(root, Array("shared".utf8))
        let homes = try (0..<options.writers).map { number in
            try directory(root, Array("writer-\(number)-\(freshNumber())".utf8))
        }
        let recorder = options.isRecorded ? try Recorder(volume, writers: options.writers) : nil
        let writers = homes.enumerated().map { number, home in
            StressWriter(
                number: number, volume: volume, control: control, seed: options.seed, home: home,
                shared: shared, existing: existing, of: options.writers, recorder: recorder)
        }
        return (writers, recorder)
    }

    /// A directory is new for each stress, also for a second one with the same seed.
    private func freshNumber() throws -> UInt64 { try volume.read().commit }

    /// The directory, made where it isn't there.
    private func directory(_ parent: InodeNumber, _ name: [UInt8]) throws -> InodeNumber {
        do {
            return try volume.perform { try $0.makeDirectory(parent, name).number }
        } catch VolumeError.exists {
            guard let target = try volume.read().lookup(parent, name), target.type == .directory
            else {
                throw CommandFailure("\(escapedName(name)) is not a directory; remove it first")
            }
            return target.child
        }
    }

    // MARK: Runs

    /// - Returns: why the stress ended early, if it did.
    private func coordinate(
        until deadline: UInt64, _ recorder: Recorder?, _ result: inout StressResult
    ) -> String? {
        var pause = min(2, options.seconds / 10)
        var sides = (withRun: 0.0, withoutRun: 0.0)
        defer {
            result.tally.withRun.seconds = sides.withRun
            result.tally.withoutRun.seconds = sides.withoutRun
        }
        if recorder == nil, let reason = resume(&result, &sides.withRun) { return reason }
        while true {
            let began = monotonicNanoseconds()
            let end = options.slots.isEmpty ? deadline : began + UInt64(pause * 1e9)
            let reason = rest(until: min(end, deadline))
            sides.withoutRun += seconds(since: began)
            if let reason { return reason }
            if monotonicNanoseconds() >= deadline { return nil }
            let start = monotonicNanoseconds()
            do {
                let damage = try plant(result.runs.count)
                control.isRunning.store(true, ordering: .relaxed)
                defer { control.isRunning.store(false, ordering: .relaxed) }
                var report = try repair(recorder)
                // For the run itself time stood still.
                if recorder != nil { report.seconds.total = seconds(since: start) }
                result.runs.append(StressRun(damage: damage, report: report))
            } catch {
                return explanation(of: error)
            }
            sides.withRun += seconds(since: start)
            pause = min(max(seconds(since: start), 0.05), 60)
            if let reason = handle.controls.stopReason { return reason }
            guard let last = result.runs.last?.report, last.outcome.status == .success else {
                return "run \(result.runs.count) did not end clean; see its report"
            }
        }
    }

    /// Resumes what an earlier process has left.
    private func resume(_ result: inout StressResult, _ seconds: inout Double) -> String? {
        do {
            for record in try volume.interruptedRuns() {
                output.note("run \(record.number) was interrupted, and is resumed")
                let start = monotonicNanoseconds()
                control.isRunning.store(true, ordering: .relaxed)
                defer { control.isRunning.store(false, ordering: .relaxed) }
                var execution = RunExecution(handle, of: record)
                execution.observer = observer(nil, volume, output, showsProgress: false)
                result.runs.append(StressRun(damage: [:], report: try execution.resume(record)))
                seconds += self.seconds(since: start)
                if let reason = handle.controls.stopReason { return reason }
            }
            return nil
        } catch {
            return explanation(of: error)
        }
    }

    private func seconds(since start: UInt64) -> Double {
        Double(monotonicNanoseconds() - start) / 1e9
    }

    /// Waits. Returns why not to go on, where there is a reason.
    private func rest(until end: UInt64) -> String? {
        while monotonicNanoseconds() < end {
            if let reason = Signals.stopRequest ?? handle.controls.stopReason { return reason }
            if control.isStopped.load(ordering: .acquiring) { return control.failure }
            sleep(milliseconds: 5)
        }
        return nil
    }

    /// Damages each index that is to be repaired.
    private func plant(_ number: Int) throws -> [String: DamageDone] {
        guard options.damage > 0 else { return [:] }
        var done: [String: DamageDone] = [:]
        for slot in options.slots {
            let name = volume.indexes[slot.rawValue].name
            // There are few counters of quota usage: about one for each owner.
            done[name] = try volume.damage(
                index: name, count: name == "quota" ? min(options.damage, 6) : options.damage,
                kind: .mixed,
                seed: options.seed &+ UInt64(number))
        }
        return done
    }

    private func repair(_ recorder: Recorder?) throws -> RunReport {
        var execution = RunExecution(handle, options.slots)
        execution.observer = observer(nil, volume, output, showsProgress: false)
        execution.options.strategy = options.strategy
        if let recorded = recorder?.beginRun(volume, options.slots, options.strategy) {
            execution.owner = recorded.owner
            execution.options = recorded.options
            execution.clock = recorded.clock
        }
        return try execution.perform()
    }
}
