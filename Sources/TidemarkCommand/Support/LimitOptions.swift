// The limits of a run as options: of `repair`, `check` and `stress`, for their runs, and of
// `set`, for a run that is at work.

internal import ArgumentParser
internal import Tidemark
#if canImport(Glibc)
internal import Glibc
#endif

/// A number, or `none`.
struct NumberOrNone: ExpressibleByArgument {
    /// 0 stands for none, as in `LimitChange`.
    let value: Int

    init?(argument: String) {
        if argument == "none" {
            value = 0
        } else {
            guard let number = Int(argument), number > 0 else { return nil }
            value = number
        }
    }
}

/// Seconds, with or without `s`, `min` or `h` behind them; or `none`.
struct DurationOrNone: ExpressibleByArgument {
    let seconds: Double

    init?(argument: String) {
        if argument == "none" {
            seconds = 0
            return
        }
        let units: [(String, Double)] = [("min", 60), ("m", 60), ("h", 3600), ("s", 1), ("", 1)]
        guard let unit = units.first(where: { argument.hasSuffix($0.0) }),
            let number = Double(argument.dropLast(unit.0.count)), number.isFinite, number > 0
        else { return nil }
        seconds = number * unit.1
    }
}

struct LimitOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Primary records that the scan reads in a second, at the most; or none.",
            valueName: "n"))
    var speedLimit: NumberOrNone?

    @Option(
        help: ArgumentHelp(
            "The part of the time, in percent, that each of the run's threads may work.",
            valueName: "percent"))
    var share: Int?

    @Option(help: ArgumentHelp("Primary records of a window, at the most.", valueName: "n"))
    var window: Int?

    @Option(
        help: ArgumentHelp(
            "Memory for sorting and for the queue; a quarter of it is the queue's.",
            valueName: "size"))
    var memory: SizeArgument?

    @Option(
        help: ArgumentHelp(
            "What may be queued of the writers' changes before they wait.", valueName: "size"))
    var queue: SizeArgument?

    @Option(help: ArgumentHelp("Stop after so many discrepancies; or none.", valueName: "n"))
    var stopAfter: NumberOrNone?

    @Option(
        help: ArgumentHelp(
            "Stop after so long, pauses included: 90, 90s, 15min, 2h; or none.",
            valueName: "time"))
    var maxDuration: DurationOrNone?

    @Flag(
        inversion: .prefixedNo,
        help: "Yield to writers while they are at work; the default on a mount.")
    var background: Bool?

    var change: LimitChange {
        var change = LimitChange()
        change.speedLimit = speedLimit?.value
        change.share = share
        change.window = window
        change.memoryBytes = memory.map { Int(clamping: $0.bytes) }
        change.queueBytes = queue.map { Int(clamping: $0.bytes) }
        change.stopAfter = stopAfter?.value
        change.maximumSeconds = maxDuration?.seconds
        change.isBackground = background
        return change
    }

    func validate() throws {
        do throws(LimitChange.Refusal) {
            _ = try change.applied(to: RunLimits())
        } catch {
            throw ValidationError("\(error).")
        }
        let there = UInt64(clamping: sysconf(Int32(_SC_PHYS_PAGES)))
            .multipliedReportingOverflow(by: UInt64(clamping: sysconf(Int32(_SC_PAGESIZE))))
            .partialValue
        if let memory, memory.bytes > there {
            throw ValidationError("the memory is at most what this machine has: \(there) bytes.")
        }
    }

    /// The limits that a run begins with.
    func limits(from: RunLimits) throws -> RunLimits { try change.applied(to: from) }
}
