// What is at work on a store, as metrics for Prometheus.

internal import Meters
package import Reports
internal import Tidemark

extension LiveStatus {
    /// - Parameter version: of the program.
    package func metrics(version: String) -> [MetricFamily] {
        processMetrics(version) + runMetrics + resultMetrics
    }

    // MARK: The process

    private func processMetrics(_ version: String) -> [MetricFamily] {
        var info = MetricFamily("tidemark_info", .gauge, "The process that serves the volume.")
        info.add(1, [("command", command), ("version", version)])
        var uptime = MetricFamily(
            "tidemark_uptime_seconds", .gauge, "How long the process has served the volume.")
        if let seconds { uptime.add(seconds) }
        var operations = MetricFamily(
            "tidemark_write_operations_total", .counter, "Operations that change the volume.")
        var writes = MetricFamily(
            "tidemark_write_duration_seconds", .histogram,
            "How long writers waited until what they asked for was answered.")
        if let writers {
            operations.add(Double(writers.count))
            writes.add(writers)
        }
        var requests = MetricFamily(
            "tidemark_mount_request_duration_seconds", .histogram,
            "How long the kernel's requests took, by kind.")
        for kind in mount?.requests ?? [] { requests.add(kind, [("operation", kind.name)]) }
        var atWork = MetricFamily("tidemark_runs", .gauge, "Runs at work.")
        atWork.add(Double(runs.count))
        return [info, uptime, operations, writes, requests, atWork]
    }

    // MARK: Runs

    private var runMetrics: [MetricFamily] {
        func family(
            _ name: String, _ kind: MetricFamily.Kind, _ help: String,
            _ add: (inout MetricFamily, RunProgress, MetricFamily.Labels) -> Void
        ) -> MetricFamily {
            var family = MetricFamily("tidemark_run_" + name, kind, help)
            for run in runs { add(&family, run.progress, [("run", "\(run.number)")]) }
            return family
        }
        return [
            family("phase", .gauge, "1 for the phase that the run is in.") { family, now, run in
                let index = now.index.map { [("index", $0)] } ?? []
                family.add(1, run + [("phase", now.phase.rawValue)] + index)
            },
            family("seconds", .gauge, "How long the run has been at work.") { family, now, run in
                family.add(now.seconds, run)
            },
            family("scanned_ratio", .gauge, "The part of the key space below the scan cursor.") {
                if let scanned = $1.scanned { $0.add(scanned, $2) }
            },
            family("phase_done_ratio", .gauge, "What is done of the phase.") { family, now, run in
                guard now.total > 0 else { return }
                family.add(min(Double(now.done) / Double(now.total), 1), run)
            },
            family("primary_records_total", .counter, "Primary records that were read.") {
                $0.add(Double($1.primaryRecords), $2)
            },
            family("hook_events_total", .counter, "Deltas of writers, by what became of them.") {
                $0.add(Double($1.applied), $2 + [("outcome", "applied")])
                $0.add(Double($1.elided), $2 + [("outcome", "elided")])
            },
            family("queue_bytes", .gauge, "What is queued of the deltas and of the scan.") {
                $0.add(Double($1.queuedBytes), $2)
            },
            family("queue_limit_bytes", .gauge, "From where on writers wait for the queue.") {
                $0.add(Double($1.limits.queueBytes), $2)
            },
            family("discrepancies", .gauge, "Discrepancies that the run has found.") {
                $0.add(Double($1.discrepancies), $2)
            },
            family("paused", .gauge, "1 if the run is paused.") {
                $0.add($1.limits.isPaused ? 1 : 0, $2)
            },
            family(
                "lock_hold_seconds", .summary, "How long the run held the owner's commit lock.",
                { $0.add($1.lockHolds, $2) }),
        ]
    }

    // MARK: What the last runs found

    private var resultMetrics: [MetricFamily] {
        var ended = MetricFamily(
            "tidemark_last_run_end_timestamp_seconds", .gauge,
            "When the last run about the index ended, since 1970.")
        var found = MetricFamily(
            "tidemark_last_run_found", .gauge,
            "Discrepancies that the last run about the index found.")
        var left = MetricFamily(
            "tidemark_last_run_left", .gauge, "Discrepancies that it left.")
        var told: Set<String> = []
        for record in (recorded ?? []).reversed() where record.state == .completed {
            for result in record.results where told.insert(result.name).inserted {
                let index = [("index", result.name)]
                if let time = record.ended { ended.add(time, index) }
                for (kind, count) in result.found.byKind {
                    found.add(Double(count), index + [("kind", kind)])
                }
                left.add(Double((result.recheck ?? result.found).total), index)
            }
        }
        return [ended, found, left]
    }
}

extension DiscrepancyCounts {
    fileprivate var byKind: [(String, Int)] {
        [("missing", missing), ("stray", stray), ("wrong", wrong)]
    }
}

extension MetricFamily {
    fileprivate mutating func add(_ activity: Activity, _ labels: Labels = []) {
        add(
            histogram: activity.within.map { ($0.seconds, $0.count) }, count: activity.recorded,
            sum: activity.seconds, labels)
    }

    fileprivate mutating func add(_ holds: RunReport.LockHolds?, _ labels: Labels) {
        guard let holds else { return }
        let quantiles = [
            (0.99, holds.percentile99), (0.999, holds.percentile999), (1, holds.maximum),
        ]
        add(
            quantiles: quantiles.map { ($0.0, Double($0.1) / 1e9) }, count: holds.count,
            sum: Double(holds.total) / 1e9, labels)
    }
}
