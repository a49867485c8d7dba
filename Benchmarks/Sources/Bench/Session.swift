// One benchmark session: volumes, measurements in turn, table.

internal import Foundation

final class Session {
    private let options: BenchOptions
    private let directory: String
    private var table = Table()
    /// Rebuilds of `rmap` on an idle volume, by size.
    private var rebuilds: [Int: [Measures]] = [:]
    /// CPUs that others kept busy, at the most, and during what.
    private var disturbance = (cpus: 0.0, during: "")
    private var postgresText = "not measured"

    private var rounds: Int { options.rounds }
    private var largest: Int { options.sizes.max() ?? 0 }

    init(_ options: BenchOptions) throws {
        self.options = options
        directory = options.directory ?? NSTemporaryDirectory() + "tidemark-bench-\(getpid())"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true,
            attributes: [.posixPermissions: 0o755])
    }

    func run() throws {
        defer {
            if options.directory == nil { try? FileManager.default.removeItem(atPath: directory) }
        }
        let machine = Machine.description()
        if options.groups.contains("creates") { try creates() }
        for size in options.sizes {
            let volume = try generate(size)
            if options.groups.contains("scan") { try scan(volume, size) }
            if options.groups.contains("rebuild") { try rebuild(volume, size) }
            if options.groups.contains("writers") { try writers(volume, size) }
            if options.directory == nil { try FileManager.default.removeItem(atPath: volume) }
        }
        growth()
        print("\(Machine.date), \(machine).\n")
        print("PostgreSQL: \(postgresText).\n")
        print(
            "Busiest company: other processes and the kernel's own threads kept "
                + "\(disturbance.cpus.shown(2)) CPUs busy during \(disturbance.during).\n")
        print(table.markdown)
        tell("\(table.failed) targets missed")
    }

    private func worker(_ name: String, _ arguments: [String]) throws -> Measures {
        let measures: Measures
        do {
            measures = try Subprocess.worker(name, arguments)
        } catch {
            throw BenchError("\(name): \(error)")
        }
        for (key, value) in measures.values where key.hasPrefix("others.") {
            if value > disturbance.cpus, !["generate", "verify"].contains(name) {
                disturbance = (value, ([name] + arguments.dropFirst()).joined(separator: " "))
            }
        }
        let shown = measures.values.sorted { $0.key < $1.key }
            .map { "\($0.key) \($0.value.shown(3))" }.joined(separator: ", ")
        tell("  \(([name] + arguments).joined(separator: " ")): \(shown)")
        return measures
    }

    private func generate(_ size: Int) throws -> String {
        let path = "\(directory)/volume-\(size.shortened)"
        if FileManager.default.fileExists(atPath: path) { return path }
        tell("generating \(size.shortened) extents and as many names")
        _ = try worker("generate", [path + ".new", "\(size)", "1"])
        if options.verifies { _ = try worker("verify", [path + ".new"]) }
        try FileManager.default.moveItem(atPath: path + ".new", toPath: path)
        return path
    }

    // MARK: Rows

    private func creates() throws {
        let count = options.isQuick ? 100_000 : 1_000_000
        var none: [Measures] = [], idle: [Measures] = [], scattered: [Measures] = []
        var kept: [Measures] = []
        for _ in 0..<rounds {
            none.append(try worker("creates", [directory, "\(count)", "grouped", "none"]))
            idle.append(try worker("creates", [directory, "\(count)", "grouped", "idle"]))
            scattered.append(try worker("creates", [directory, "\(count)", "scattered", "none"]))
            kept.append(try worker("creates", [directory, "\(count)", "grouped", "kept"]))
        }
        let branch = try worker("branch", [])["nanoseconds"]
        let rate = none.median("rate")
        table.add(
            .atLeast(
                "Creates on one thread, \(count.shortened) in 1,000 directories, one after another",
                100_000, rate, unit: "/s"))
        table.add(
            .info("The same, each in a random directory", scattered.median("rate").shown(0) + "/s"))
        table.add(
            .info(
                "Creates as in the first row, while an old generation of each index is kept",
                kept.median("rate").shown(0) + "/s"))
        // An operation tests two flags, a commit some more and two empty lists: four tests
        // for each operation is more than there are.
        let cost = 4 * branch / (1e9 / rate) * 100
        let difference = (rate / idle.median("rate") - 1) * 100
        table.add(
            .atMost(
                "Cost of hooks when no run is in progress, of a create", 1, cost, unit: " %",
                digits: 3,
                more: " (four flag tests of \(branch.shown(2)) ns; with a hook attached that "
                    + "wants nothing, which does more: \(difference.shown(1)) %)"))
    }

    private func scan(_ volume: String, _ size: Int) throws {
        let runs = try (0..<rounds).map { _ in try worker("scan", [volume, "\(size * 2)"]) }
        table.add(
            .atLeast(
                "Scan and derive, both indexes, one CPU, \((size * 2).shortened) records",
                1_000_000, runs.median("rate"), unit: "/s"))
    }

    private func rebuild(_ volume: String, _ size: Int) throws {
        var rmap: [Measures] = [], checks: [Measures] = [], append: [Measures] = []
        var parents: [Measures] = [], parentsAppend: [Measures] = [], indexed: [Double] = []
        let postgres = options.groups.contains("postgres") ? try startPostgres(volume) : nil
        defer { postgres?.stop() }
        for _ in 0..<rounds {
            rmap.append(try worker("run", [volume, "rmap", "rebuild"]))
            append.append(try worker("append", [volume, "rmap"]))
            if let postgres {
                sync()
                indexed.append(try postgres.createIndex())
                tell("  create index concurrently: \(indexed[indexed.count - 1].shown(3))")
            }
            checks.append(try worker("run", [volume, "rmap", "check"]))
            parents.append(try worker("run", [volume, "parents", "rebuild"]))
            parentsAppend.append(try worker("append", [volume, "parents"]))
        }
        rebuilds[size] = rmap
        addRebuild("rmap", size, rmap, append, isTarget: size == largest)
        if let postgres {
            let median = indexed.sorted()[indexed.count / 2]
            table.add(
                .atMost(
                    "The same, to CREATE INDEX CONCURRENTLY", 0.5,
                    rmap.median("untilCommit") / median, isTarget: size == largest,
                    more: " (\(median.shown(2)) s)"))
            let roomy = try postgres.createIndex(memory: "1GB")
            table.add(
                .info(
                    "CREATE INDEX CONCURRENTLY with maintenance_work_mem 1 GB, "
                        + "\(size.shortened), once", "\(roomy.shown(2)) s"))
        }
        addRebuild("parents", size, parents, parentsAppend, isTarget: false)
        let withoutLoad = rmap.median { $0["untilCommit"] - $0["load"] }
        table.add(
            .atMost(
                "Check alone, `rmap`, \(size.shortened), to the rebuild without its load", 1.03,
                checks.median("total") / withoutLoad,
                more: " (\(checks.median("total").shown(2)) s; 0.03 is what runs differ by)"))
        addHolds("idle", size, rmap + parents + checks)
        table.add(
            .atMost(
                "Peak anonymous memory of a run, \(size.shortened)", 256,
                (rmap + parents + checks).maximum("peak") / 1_048_576, unit: " MiB", digits: 0))
    }

    private func startPostgres(_ volume: String) throws -> Postgres {
        let postgres = try Postgres(directory: directory + "/postgres")
        postgresText = "version \(postgres.version), \(postgres.settings)"
        let file = directory + "/rows"
        defer { try? FileManager.default.removeItem(atPath: file) }
        do {
            _ = try worker("rows", [volume, file])
            try postgres.load(URL(fileURLWithPath: file))
        } catch {
            postgres.stop()
            throw error
        }
        return postgres
    }

    private func addRebuild(
        _ index: String, _ size: Int, _ runs: [Measures], _ append: [Measures], isTarget: Bool
    ) {
        func phase(_ name: String) -> String { "\(name) \(runs.median(name).shown(2))" }
        let phases = ["scan", "settle", "compare", "load", "commit"].map(phase)
        table.add(
            .info(
                "Rebuild of `\(index)`, \(size.shortened), idle volume, until the commit",
                "\(runs.median("untilCommit").shown(2)) s (\(phases.joined(separator: ", ")))"))
        table.add(
            .info(
                "The same with recheck and reap",
                "\(runs.median("total").shown(2)) s (\(phase("recheck")), \(phase("reap")))"))
        table.add(
            .atMost(
                "Until the commit, to a raw append in C", 4,
                runs.median("untilCommit") / append.median("append"), isTarget: isTarget,
                more: " (append \(append.median("append").shown(2)) s)"))
    }

    private func addHolds(_ when: String, _ size: Int, _ runs: [Measures]) {
        let count = runs.reduce(0) { $0 + $1["hold.count"] }
        table.add(
            .atMost(
                "Hold of the commit lock, 99.9th percentile, \(size.shortened), \(when)", 5,
                runs.maximum("hold.p999"), unit: " ms", more: " (worst run; \(Int(count)) holds)"))
        table.add(
            .atMost(
                "Hold of the commit lock, longest, \(size.shortened), \(when)", 20,
                runs.maximum("hold.max"), unit: " ms"))
    }

    private func writers(_ volume: String, _ size: Int) throws {
        let seconds = options.isQuick ? 2 : 8
        for number in [1, 2] {
            let who = "\(number) writer\(number > 1 ? "s" : "")"
            let what = "Throughput that \(who) kept during runs, \(size.shortened)"
            do {
                let measures = try worker(
                    "mixed", [volume, "\(number)", "\(seconds)", "\(rounds)"])
                addWriters(who, what, size, measures)
            } catch {
                // The volume is right all the same; the row says what went wrong.
                table.add(Row(what: what, target: "≥ 80 %", measured: "\(error)", verdict: .fail))
            }
        }
    }

    private func addWriters(_ who: String, _ what: String, _ size: Int, _ measures: Measures) {
        table.add(
            .atLeast(
                what, 80, measures["kept"] * 100, unit: " %",
                more: " (\(measures["idle"].shown(0)) operations/s without, "
                    + "\(measures["busy"].shown(0)) with; a run of both indexes took "
                    + "\(measures["total"].shown(1)) s)"))
        addHolds(who, size, [measures])
        table.add(
            .atMost(
                "Peak anonymous memory with \(who), \(size.shortened)", 256,
                measures["peak"] / 1_048_576, unit: " MiB", digits: 0))
        table.add(
            .info(
                "Growth of the metadata file meanwhile",
                "\((measures["grown"] / 1_073_741_824).shown(2)) GiB"))
    }

    /// What ten times as many entries cost, each.
    private func growth() {
        guard let small = options.sizes.min(), small < largest, let few = rebuilds[small],
            let many = rebuilds[largest]
        else { return }
        func each(_ runs: [Measures]) -> Double {
            runs.median { $0["untilCommit"] / $0["entries"] }
        }
        table.add(
            .atMost(
                "Cost per entry at \(largest.shortened), to \(small.shortened)", 1.3,
                each(many) / each(few),
                more: " (\((each(many) * 1e9).shown(0)) ns to \((each(few) * 1e9).shown(0)) ns)"))
    }
}
