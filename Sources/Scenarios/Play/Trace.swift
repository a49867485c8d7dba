// The trace of a replay, for people: the lanes side by side, one line for each step, and on
// the left how far the scan has come.

internal import Bytes
internal import Inspection
internal import Tidemark

final class Trace: Observer {
    private(set) var lines: [String] = []
    private var widths: [Int]
    private var rows: [(cursor: String, lane: Int?, text: String)] = []
    private let titles: [String]
    private var applied = 0, elided = 0

    init(_ player: Player) {
        titles = player.lanes.map(\.text)
        widths = titles.map(\.count)
    }

    func willStep(_ lane: Int, _ player: Player) {
        applied = player.runs.reduce(0) { $0 + $1.run.applied }
        elided = player.runs.reduce(0) { $0 + $1.run.elided }
    }

    func stepped(_ lane: Int, _ event: StepEvent, _ player: Player) {
        add(lane, text(event, player), player)
    }

    func willCrash(_ player: Player, isMachine: Bool) {}

    func resumes(_ run: RunLanes, _ checkpoint: Checkpoint?, _ player: Player) {
        let from = checkpoint == nil ? "begins again" : "goes on from its checkpoint"
        add(nil, "\(run.description.name) \(from)", player)
    }

    func crashed(_ player: Player) { add(nil, "the store comes down and is opened again", player) }

    private func add(_ lane: Int?, _ text: String, _ player: Player) {
        let cursors = player.runs.map { run in
            run.isAttached ? run.run.cursor.map { player.text(of: $0) } ?? "end" : "-"
        }
        rows.append((cursors.joined(separator: " "), lane, text))
        if let lane { widths[lane] = max(widths[lane], text.count) }
        render()
    }

    private func text(_ event: StepEvent, _ player: Player) -> String {
        switch event {
        case .writer(.begin, let transaction):
            return (transaction.isAborted ? "to be aborted: " : "") + transaction.text
        case .writer(.commit, let transaction):
            return transaction.isAborted ? "aborted" : "visible"
        case .writer(.event, _): return "event"
        case .writer(.change, _): return "change"
        case .writer(.report, _) where player.unlocked != nil: return "end"
        case .polled(let buffer): return "poll \(buffer)"
        case .writer(.report, _):
            let newApplied = player.runs.reduce(0) { $0 + $1.run.applied } - applied
            let newElided = player.runs.reduce(0) { $0 + $1.run.elided } - elided
            let words = [(newApplied, "applied"), (newElided, "elided")].filter { $0.0 != 0 }
            return "reported" + words.map { ", \($0.0) \($0.1)" }.joined()
        case .scanned(let progress): return progress.rawValue
        case .handled: return "handle"
        case .compared: return "compare"
        case .merged: return "merge"
        case .checkpointed(let step, _): return step.rawValue
        case .coordinated(let step):
            let run = player.runs.first { $0.coordinator.next != .prepare } ?? player.runs[0]
            guard run.isOver else { return step.rawValue }
            return "\(step.rawValue): \(run.run.report.outcome.rawValue)"
        }
    }

    private func render() {
        let first = max(6, rows.map(\.cursor.count).max() ?? 0)
        // A lane in which nothing happened takes no column.
        let used = titles.indices.filter { lane in rows.contains { $0.lane == lane } }
        func line(_ cursor: String, _ cells: (Int) -> String) -> String {
            let columns = used.map { cells($0).padded(to: widths[$0]) }
            return ([cursor.padded(to: first)] + columns).joined(separator: " │ ").trimmedEnd
        }
        lines = [line("cursor") { titles[$0] }]
        lines += rows.map { row in
            guard let lane = row.lane else {
                return row.cursor.padded(to: first) + " ╳ " + row.text
            }
            return line(row.cursor) { $0 == lane ? row.text : "" }
        }
    }
}

extension Transaction {
    var text: String {
        if !rolledBack.isEmpty { return "rollback " + rolledBack.joined(separator: " ") }
        return isSync ? "sync" : operations.map { words($0) }.joined(separator: "; ")
    }
}

extension String {
    func padded(to width: Int) -> String {
        self + String(repeating: " ", count: max(0, width - count))
    }

    var trimmedEnd: String {
        var text = self
        while text.last == " " { text.removeLast() }
        return text
    }
}

extension Player {
    /// A primary key as a place: `3`, `3:name`, `3@8`.
    func text(of key: KeyBytes) -> String {
        guard key.count >= 8 else { return "start" }
        let object: UInt64 = key.span.integer(at: 0)
        if scenario.store.kind != .tree {
            return "\(object):" + String(decoding: key.array.dropFirst(8), as: UTF8.self)
        }
        guard key.count > 9 else { return "\(object)" }
        switch key.span.integer(at: 8, as: UInt8.self) {
        case 2: return "\(object):" + String(decoding: key.array.dropFirst(9), as: UTF8.self)
        case 3 where key.count == 18:
            return "\(object)@\(key.span.integer(at: 10, as: UInt64.self))"
        default: return "\(object)"
        }
    }
}
