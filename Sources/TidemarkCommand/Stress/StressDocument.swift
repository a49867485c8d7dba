// The report of a stress.

internal import Meters
internal import Reports
internal import RunService
internal import Tidemark
internal import Volume

extension StressResult {
    func members(_ options: StressOptions) -> [(String, JSONValue)] {
        var members: [(String, JSONValue)] = [("seed", .unsigned(options.seed))]
        members.append(("outcome", status.isEmpty ? "clean" : "failed"))
        if let failure { members.append(("reason", .string(failure))) }
        members.append(("seconds", .object([("total", .number(seconds))])))
        members.append(("writers", tally.json(options.writers)))
        members.append(("runs", .array(runs.map(\.json))))
        return members
    }

    func print(_ target: String, _ options: StressOptions, to output: Output) {
        output.line(
            "\(target): \(counted(options.writers, "writer")), \(duration(seconds)), seed "
                + "\(options.seed): \(grouped(tally.kinds.values.reduce(0, +))) operations, "
                + "\(grouped(tally.refusals.values.reduce(0, +))) refused as they may be")
        side("without a run", tally.withoutRun, output)
        if !options.slots.isEmpty { side("with a run", tally.withRun, output) }
        if let ratio = tally.ratio {
            output.line("  throughput with a run: \(decimal(ratio * 100, 1)) % of that without")
        }
        if tally.dataWrites > 0 {
            output.line(
                "  contents: \(counted(tally.dataWrites, "write")), "
                    + "\(binarySize(tally.dataBytes)), " + tally.dataLatencies.text)
        }
        if output.isVerbose {
            for kind in StressOperation.allCases {
                output.line("    \(padded(kind.rawValue, -16)) \(grouped(tally.kinds[kind] ?? 0))")
            }
        }
        for (number, run) in runs.enumerated() {
            output.line("  run \(number + 1): \(run.text)")
        }
        if !runs.isEmpty {
            let longest = runs.map(\.report.lockHolds.maximum).max() ?? 0
            output.line("  longest hold of the commit lock: \(duration(Double(longest) / 1e9))")
        }
        if let failure { output.error("\(target): \(failure)") }
    }

    private func side(_ words: String, _ side: StressSide, _ output: Output) {
        output.line(
            "  \(padded(words, -14)) \(grouped(Int(side.operationsPerSecond))) operations/s; jobs "
                + "of \(StressWriter.jobOperations): \(side.latencies.text)")
    }
}

extension StressRun {
    var text: String {
        var text = report.outcome.rawValue
        let planted = damage.values.reduce(0) { $0 + $1.missing + $1.stray + $1.wrong }
        if planted > 0 { text += ", \(grouped(planted)) discrepancies planted" }
        text += ", \(grouped(report.discrepancies)) found, \(duration(report.seconds.total))"
        text += ", \(grouped(report.applied)) deltas applied"
        if let reason = report.reason { text += ": \(reason)" }
        return text
    }

    var json: JSONValue {
        var members: [(String, JSONValue)] = []
        if !damage.isEmpty {
            let counts = damage.sorted { $0.key < $1.key }.map { name, done in
                (
                    name,
                    JSONValue.object([
                        ("missing", .integer(done.missing)), ("stray", .integer(done.stray)),
                        ("wrong", .integer(done.wrong)),
                    ])
                )
            }
            members.append(("damage", .object(counts)))
        }
        return .object(members + report.members)
    }
}

extension StressTally {
    func json(_ writers: Int) -> JSONValue {
        .object([
            ("count", .integer(writers)),
            ("operationsPerJob", .integer(StressWriter.jobOperations)),
            (
                "operations",
                .object(StressOperation.allCases.map { ($0.rawValue, .integer(kinds[$0] ?? 0)) })
            ),
            (
                "refused",
                .object(refusals.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) })
            ),
            ("withoutRun", withoutRun.json), ("withRun", withRun.json),
            ("throughputRatio", ratio.map { .number($0) } ?? .null),
            (
                "dataWrites",
                .object([
                    ("count", .integer(dataWrites)), ("bytes", .integer(dataBytes)),
                    ("latencyMicroseconds", dataLatencies.json),
                ])
            ),
        ])
    }
}

extension StressSide {
    var json: JSONValue {
        .object([
            ("seconds", .number(seconds)), ("operations", .integer(operations)),
            ("operationsPerSecond", .number(operationsPerSecond)),
            ("latencyMicroseconds", latencies.json),
        ])
    }
}

extension Latencies {
    fileprivate func seconds(_ percentile: Double) -> Double {
        Double(self.percentile(percentile)) / 1e9
    }

    fileprivate var json: JSONValue {
        .object([
            ("p50", .number(seconds(50) * 1e6)), ("p99", .number(seconds(99) * 1e6)),
            ("p999", .number(seconds(99.9) * 1e6)), ("max", .number(seconds(100) * 1e6)),
            ("count", .integer(count)),
        ])
    }

    fileprivate var text: String {
        guard count > 0 else { return "none" }
        return "half within \(duration(seconds(50))), 99 % \(duration(seconds(99))), "
            + "99.9 % \(duration(seconds(99.9))), longest \(duration(seconds(100)))"
    }
}
