// Workers that scan, check and rebuild.

internal import CBaseline
internal import Foundation
internal import Tidemark
internal import Volume

enum RunWorkers {
    /// `run VOLUME INDEX STRATEGY`, on an idle volume.
    static func run(_ arguments: Arguments) throws -> Measures {
        let volume = try Volume.open(try arguments.string(0))
        defer { try? volume.close() }
        guard let strategy = Strategy(rawValue: try arguments.string(2)) else {
            throw BenchError("no strategy \(try arguments.string(2))")
        }
        let slots = try slots(try arguments.string(1), volume)
        sync()
        var measures = Measures()
        let report = try timed(&measures, "wall") { try drive(volume, slots, strategy) }
        add(report, to: &measures)
        return measures
    }

    /// The indexes that `names` lists.
    static func slots(_ names: String, _ volume: Volume) throws -> [IndexSlot] {
        try names.split(separator: ",").map { name in
            guard let place = volume.indexes.firstIndex(where: { $0.name == name }) else {
                throw BenchError("no index \(name)")
            }
            return IndexSlot(place)
        }
    }

    /// One whole run, with the options that users get.
    static func drive(
        _ volume: Volume, _ slots: [IndexSlot], _ strategy: Strategy
    ) throws -> RunReport {
        var options = RunOptions()
        options.strategy = strategy
        let store = try SideFile(path: volume.runsDirectory + "/bench.side")
        let run = Run(
            owner: volume, indexes: slots, store: store, options: options, clock: .system)
        let report = RunDriver(run).drive()
        guard report.outcome == .clean || report.outcome == .repaired else {
            throw BenchError("the run ended \(report.outcome): \(report.reason ?? "")")
        }
        return report
    }

    static func add(_ report: RunReport, to measures: inout Measures) {
        let seconds = report.seconds
        measures["scan"] = seconds.scan
        measures["settle"] = seconds.settle
        measures["compare"] = seconds.compare
        measures["load"] = seconds.load
        measures["commit"] = seconds.commit
        measures["recheck"] = seconds.recheck
        measures["reap"] = seconds.reap
        measures["total"] = seconds.total
        measures["untilCommit"] =
            seconds.scan + seconds.settle + seconds.compare + seconds.load + seconds.commit
        measures["entries"] = Double(report.indexes.reduce(0) { $0 + $1.entries })
        measures["records"] = Double(report.primaryRecords)
        measures["peak"] = Double(report.peakAnonymousBytes)
        add(report.lockHolds, to: &measures)
    }

    static func add(_ holds: RunReport.LockHolds, to measures: inout Measures) {
        func larger(_ name: String, _ value: UInt64) {
            let known = measures.values[name] ?? 0
            measures[name] = max(known, Double(value) / 1e6)
        }
        larger("hold.max", holds.maximum)
        larger("hold.p999", holds.percentile999)
        larger("hold.p99", holds.percentile99)
        measures["hold.count"] = (measures.values["hold.count"] ?? 0) + Double(holds.count)
    }

    /// `scan VOLUME RECORDS`: windows of both indexes are opened, read and derived by one
    /// thread on one CPU, and dropped.
    static func scan(_ arguments: Arguments) throws -> Measures {
        guard baseline_pin(0) == 0 else { throw BenchError("the process can't be pinned to CPU 0") }
        let volume = try Volume.open(try arguments.string(0))
        defer { try? volume.close() }
        let records = try arguments.integer(1)
        let store = MemoryStore()
        let slots = volume.indexes.indices.map { IndexSlot($0) }
        let run = Run(
            owner: volume, indexes: slots, store: store, options: RunOptions(), clock: .system)
        try run.prepare()
        let scanner = run.makeScanner()
        // A run that has ended takes no items: what the scanner derives is dropped.
        run.finish(AbortReason("only its scan is measured"))
        var measures = Measures()
        try timed(&measures, "scan") { while try scanner.step() != .nothing {} }
        measures["windows"] = Double(scanner.windows)
        measures["rate"] = Double(records) / measures["scan"]
        return measures
    }
}
