// What a measurement gives back: numbers by name, from one process to another as JSON.

internal import CBaseline
internal import Foundation

struct Measures: Codable, Sendable {
    var values: [String: Double] = [:]
    /// What a reader of the table must know.
    var notes: [String] = []

    subscript(name: String) -> Double {
        get { values[name] ?? .nan }
        set { values[name] = newValue }
    }
}

extension [Measures] {
    func median(_ name: String) -> Double { median { $0[name] } }

    func median(_ value: (Measures) -> Double) -> Double {
        let sorted = map(value).filter { !$0.isNaN }.sorted()
        guard !sorted.isEmpty else { return .nan }
        let middle = sorted.count / 2
        return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    }

    func maximum(_ name: String) -> Double {
        map { $0[name] }.filter { !$0.isNaN }.max() ?? .nan
    }
}

struct BenchError: Error, CustomStringConvertible {
    let description: String
    init(_ description: String) { self.description = description }
}

/// Seconds since some moment.
func monotonicSeconds() -> Double {
    Double(DispatchTime.now().uptimeNanoseconds) / 1e9
}

/// Runs `body` and tells how long it took, and how many CPUs others kept busy meanwhile: a
/// measurement that was disturbed says so itself.
func timed<R>(_ measures: inout Measures, _ name: String, _ body: () throws -> R) rethrows -> R {
    let start = monotonicSeconds(), busy = Machine.busySeconds, own = baseline_cpu()
    let result = try body()
    let seconds = monotonicSeconds() - start, cpu = baseline_cpu() - own
    measures[name] = seconds
    measures["cpu." + name] = cpu
    measures["others." + name] = max(0, Machine.busySeconds - busy - cpu) / seconds
    return result
}
