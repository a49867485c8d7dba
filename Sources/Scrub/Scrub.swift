// The whole filesystem: looked at, repaired, and looked at again, while it stays in use.
//
//     survey → repairs, item by item → survey → … until nothing is wrong, or nothing makes
//     progress → the last call, without waiting → survey → … → report
//
// An item is repaired in ten rounds at the most. Whatever kills it, at whatever moment, each mend
// was one transaction: a scrub that is begun again goes on with what is left.

internal import Driver
public import RunService
internal import Threads
internal import Tidemark
public import Volume
internal import VolumeService
internal import VolumeFormat
public import VolumeVerify

public struct ScrubOptions: Sendable {
    public enum Mode: String, Sendable, CaseIterable {
        /// Nothing is changed.
        case check
        /// What could be better is made so; what is wrong is told.
        case optimise
        case repair
    }

    public var mode = Mode.repair
    public var preferences = Preferences()
    /// Rounds in which an item is repaired, at the most.
    public var tries = 10
    /// Defects that one survey remembers; the others wait for the next round.
    public var remembered = 1 << 17

    public init() {}
}

/// Who is told of a scrub while it works. Everything is called on the scrub's thread.
public struct ScrubObserver {
    /// Told of each mend that was tried.
    public var onMend: (Finding, Mend) -> Void = { _, _ in }
    /// Told of each defect that is left at the end.
    public var onRemnant: (ScrubRemnant) -> Void = { _ in }
    /// Told now and then how far a survey has come.
    public var onProgress: (_ phase: String, _ done: UInt64, _ total: UInt64) -> Void = { _, _, _ in
    }
    /// Asked now and then whether the scrub is to end, and why.
    public var stopRequest: () -> String? = { nil }
    /// Of the runs about indexes.
    public var run = RunObserver()

    public init() {}
}

/// The end of a scrub that somebody has asked for.
private struct ScrubStop: Error { let reason: String }

public struct Scrub: ~Copyable {
    private let volume: Volume
    private let handle: RunHandle
    private let options: ScrubOptions
    private var observer: ScrubObserver
    private var report = ScrubReport()
    /// What the last mends of this round have said, by finding.
    private var said: [Finding: Mend] = [:]
    private var isLastCall = false
    /// Its number in the journal, once it mends.
    private var number: UInt64?
    private var pace: Pacing

    private init(
        _ volume: Volume, _ handle: RunHandle, _ options: ScrubOptions, _ observer: ScrubObserver
    ) {
        self.volume = volume
        self.handle = handle
        self.options = options
        self.observer = observer
        pace = Pacing(handle.controls, observer.stopRequest)
        self.observer.stopRequest = { [pace] in pace.stopReason }
    }

    /// Scrubs the volume that this process has open.
    /// - Parameter handle: what steers it; its limits hold for surveys and runs alike.
    /// - Throws: where it could not be looked. What is found is in the report.
    public static func perform(
        _ volume: Volume, _ handle: RunHandle, _ options: ScrubOptions = ScrubOptions(),
        _ observer: ScrubObserver = ScrubObserver()
    ) throws -> ScrubReport {
        var scrub = Scrub(volume, handle, options, observer)
        let start = monotonicNanoseconds()
        do {
            try scrub.work()
        } catch let stop as ScrubStop {
            scrub.report.outcome = .stopped
            scrub.report.reason = stop.reason
        }
        if let number = scrub.number {
            scrub.report.journal = try? volume.scrubs().first { $0.number == number }
        }
        scrub.report.total = Double(monotonicNanoseconds() - start) / 1e9
        return scrub.report
    }

    /// Surveys of one scrub at the most, should mends undo each other.
    private static let rounds = 100

    private mutating func work() throws {
        var survey = try look()
        // Whatever ends it.
        defer { volume.end(survey) }
        while options.mode != .check, !survey.isClean {
            said = [:]
            let progress = try repair(survey)
            volume.end(survey)
            if progress == .none {
                // What only waited for its turn gets it now.
                if isLastCall { break }
                isLastCall = true
            }
            guard report.surveys < Scrub.rounds else { break }
            survey = try look()
        }
        conclude(survey)
    }

    // MARK: Check

    private mutating func look() throws -> Survey {
        let start = monotonicNanoseconds()
        let observer = observer
        pace.restart()
        var pace = pace
        let survey = try volume.survey(limit: options.remembered) { phase, done, total in
            observer.onProgress(phase, done, total)
            try pace.goOn(phase, done)
        }
        report.surveys += 1
        report.records = survey.records
        report.surveying += Double(monotonicNanoseconds() - start) / 1e9
        report.counts = survey.counts
        for place in report.items.indices {
            let wrong = self.wrong(report.items[place].item, survey)
            report.items[place].left = wrong
            if report.items[place].found == 0 { report.items[place].found = wrong }
        }
        return survey
    }

    /// How much is wrong with an item.
    private func wrong(_ item: ScrubItem, _ survey: Survey) -> UInt64 {
        var count = item.kinds.reduce(0) { $0 + (survey.counts[$1] ?? 0) }
        if let index = survey.indexes.first(where: { $0.name == item.index }) {
            count += index.discrepancies
        }
        return count
    }

    // MARK: Repair

    /// What a round of repairs has brought.
    private enum RoundProgress {
        case none
        /// Nothing was mended; somebody else has changed, or uses, what was to be.
        case changed
        case mended
    }

    private mutating func repair(_ survey: Survey) throws -> RoundProgress {
        var hasProgressed = false
        // What is mended in this round counts as wrong until the next survey has seen it.
        let dirty = Set(report.items.filter { $0.left > 0 }.map(\.item.name))
        let byItem = Dictionary(grouping: survey.findings) { finding -> String in
            if case .defect(let kind) = finding.kind { kind.item } else { "" }
        }
        var indexes: [String] = [], runs: [Int] = []
        for place in report.items.indices where report.items[place].left > 0 {
            let item = report.items[place].item
            if options.mode == .optimise, !item.kinds.contains(where: \.isOptimisation) {
                continue
            }
            guard report.items[place].tries < options.tries else {
                report.items[place].reason = "tried \(options.tries) times"
                continue
            }
            // Nothing is passed over, and no index rebuilt, while anything else can be mended: an
            // index is the witness of what is lost.
            let waits = item.needs + (isLastCall && !hasProgressed ? [] : item.after)
            if let other = waits.first(where: { dirty.contains($0) }) {
                report.items[place].state = .deferred
                report.items[place].reason = "waits for \(other)"
                continue
            }
            report.items[place].state = .failed
            report.items[place].reason = nil
            if let index = item.index {
                indexes.append(index)
                runs.append(place)
            } else if item.kinds == [.generationCounts] {
                indexes += ["rmap", "parents", "quota", "links"]
                runs.append(place)
            } else {
                let mended = try mend(item, byItem[item.name] ?? [], survey)
                report.items[place].mended += mended
                if mended > 0 { hasProgressed = true } else { report.items[place].tries += 1 }
            }
        }
        if hasProgressed { return .mended }
        // An index is rebuilt when nothing else can be mended, not when something can just now
        // not be.
        let isOvertaken = said.values.contains { $0.outcome == .changed || $0.outcome == .gone }
        guard !indexes.isEmpty, !isOvertaken || isLastCall else {
            return isOvertaken ? .changed : .none
        }
        for place in runs { report.items[place].tries += 1 }
        if try run(Set(indexes)) { return .mended }
        return isOvertaken ? .changed : .none
    }

    private mutating func mend(
        _ item: ScrubItem, _ findings: [Finding], _ survey: Survey
    ) throws -> UInt64 {
        pace.restart()
        let start = monotonicNanoseconds()
        defer { report.mending += Double(monotonicNanoseconds() - start) / 1e9 }
        let order = Dictionary(uniqueKeysWithValues: item.kinds.enumerated().map { ($1, $0) })
        var wanted: [(rank: Int, finding: Finding)] = []
        for finding in findings {
            guard case .defect(let kind) = finding.kind else { continue }
            if options.mode == .optimise, !kind.isOptimisation { continue }
            wanted.append((order[kind] ?? 0, finding))
        }
        wanted.sort { $0.rank < $1.rank }
        let ordered = wanted.map(\.finding)
        if !ordered.isEmpty, number == nil { number = try volume.beginScrub() }
        var done = 0, mended: UInt64 = 0
        while done < ordered.count {
            try pace.goOn()
            let results = try volume.mend(
                ordered[done...], of: survey, options.preferences, scrub: number)
            for (finding, mend) in zip(ordered[done...], results) {
                said[finding] = mend
                observer.onMend(finding, mend)
                guard mend.outcome == .mended, case .defect(let kind) = finding.kind else {
                    continue
                }
                mended += 1
                report.mended[kind, default: 0] += 1
                if mend.loses != nil { report.losses[kind, default: 0] += 1 }
            }
            done += results.count
        }
        return mended
    }

    /// A run that repairs indexes. It finds by itself what is wrong with them by now.
    /// - Returns: whether it has repaired any.
    private mutating func run(_ names: Set<String>) throws -> Bool {
        let start = monotonicNanoseconds()
        defer { report.running += Double(monotonicNanoseconds() - start) / 1e9 }
        // Of all of them together, since only such a run settles counts, and since they share the
        // pass over the records, which is most of the work.
        var execution = RunExecution(handle, volume.indexes.indices.map { .init($0) })
        execution.options.strategy = .auto
        execution.observer = observer.run
        // Its time is what the scrub has left.
        let controls = handle.controls, began = pace.began, stopRequest = observer.run.stopRequest
        execution.observer.stopRequest = {
            stopRequest?() ?? Pacing.overtime(controls, since: began)
        }
        let result = try execution.perform()
        report.runs.append(result)
        if result.outcome == .stopped || result.outcome == .aborted {
            if let reason = handle.controls.stopReason ?? observer.stopRequest() {
                throw ScrubStop(reason: reason)
            }
        }
        for place in report.items.indices {
            guard let index = report.items[place].item.index, names.contains(index) else {
                continue
            }
            let mended = result.indexes.first { $0.name == index }?.found.total ?? 0
            if hasMended(result, index) { report.items[place].mended += UInt64(mended) }
            if let reason = result.reason { report.items[place].reason = reason }
        }
        // Emptied tables go only when nobody looks at them any more.
        let observer = observer
        _ = try volume.finishReaping { observer.stopRequest() != nil }
        // Corrupt is what a run says that has mended an index, and left what no run mends.
        return result.outcome == .repaired
            || result.indexes.contains { hasMended(result, $0.name) }
    }

    private func hasMended(_ result: RunReport, _ index: String) -> Bool {
        result.outcome == .repaired
            || result.indexes.contains {
                $0.name == index && $0.found.total > 0 && $0.recheck?.total == 0
            }
    }

    // MARK: Report

    private mutating func conclude(_ survey: Survey) {
        for finding in survey.findings.prefix(ScrubReport.remembered) {
            let remnant = ScrubRemnant(finding: finding, mend: said[finding])
            report.left.append(remnant)
            observer.onRemnant(remnant)
        }
        for place in report.items.indices {
            report.items[place].state = state(report.items[place])
        }
        let wrong = report.items.filter { $0.left > 0 }
        if wrong.isEmpty, survey.isClean {
            report.outcome =
                report.mended.isEmpty && report.runs.isEmpty ? .clean : .repaired
        } else {
            let isOnlyWorse = survey.counts.allSatisfy { $0.key.isOptimisation }
                && survey.indexes.allSatisfy(\.isClean)
            report.outcome = isOnlyWorse ? .optimisable : .corrupt
        }
    }

    private func state(_ item: ScrubItemReport) -> ScrubItemReport.State {
        guard item.left > 0 else { return item.found > 0 ? .repaired : .clean }
        if report.counts.allSatisfy({
            !item.item.kinds.contains($0.key) || $0.key.isOptimisation
        }), item.item.index == nil, options.mode == .check {
            return .optimisable
        }
        if item.state == .deferred { return .deferred }
        if item.tries == 0 { return .corrupt }
        let mine = report.left.filter {
            guard case .defect(let kind) = $0.finding.kind else { return false }
            return kind.item == item.item.name
        }
        let outcomes = Set(mine.compactMap { $0.mend?.outcome })
        if !outcomes.isEmpty, outcomes.isSubset(of: [.undecided]) { return .undecided }
        return .failed
    }
}

/// Holds what a scrub does itself to the limits of its controls: as the driver does with a run.
private struct Pacing {
    private let controls: RunControls
    private let stopRequest: () -> String?
    private var phase = ""
    private var done: UInt64 = 0
    private var worked = monotonicNanoseconds()
    let began = monotonicNanoseconds()

    init(_ controls: RunControls, _ stopRequest: @escaping () -> String?) {
        self.controls = controls
        self.stopRequest = stopRequest
    }

    /// What was not paced here is not rested for.
    mutating func restart() { worked = monotonicNanoseconds() }

    /// Waits as long as the limits ask for.
    /// - Parameter records: that were read in this phase.
    /// - Throws: `ScrubStop` where the scrub is to end.
    mutating func goOn(_ phase: String = "", _ records: UInt64 = 0) throws {
        try checkStopped()
        while controls.limits.isPaused {
            controls.rest(seconds: 0.05, "pause")
            try checkStopped()
        }
        let limits = controls.limits
        let seconds = Double(monotonicNanoseconds() - worked) / 1e9
        var rest = seconds * (100 / Double(max(1, limits.share)) - 1)
        if phase != self.phase { (self.phase, done) = (phase, 0) }
        if let speed = limits.speedLimit, speed > 0, records > done {
            rest = max(rest, Double(records - done) / Double(speed) - seconds)
        }
        done = max(done, records)
        let end = monotonicNanoseconds() + UInt64(max(0, min(rest, 3600)) * 1e9)
        while monotonicNanoseconds() < end {
            controls.rest(
                seconds: min(0.05, Double(end - min(end, monotonicNanoseconds())) / 1e9), "pace")
            try checkStopped()
        }
        worked = monotonicNanoseconds()
    }

    private func checkStopped() throws {
        if let reason = stopReason { throw ScrubStop(reason: reason) }
    }

    /// Why the scrub is to end, where it is.
    var stopReason: String? {
        controls.stopReason ?? stopRequest() ?? Pacing.overtime(controls, since: began)
    }

    /// Where more time has passed than the limits allow.
    static func overtime(_ controls: RunControls, since began: UInt64) -> String? {
        guard let most = controls.limits.maximumSeconds,
            Double(monotonicNanoseconds() - began) / 1e9 >= most
        else { return nil }
        return "it was to take \(most) seconds at the most"
    }
}
