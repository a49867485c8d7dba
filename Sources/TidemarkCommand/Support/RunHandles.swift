// How a command takes part in what runs runs: who it tells, and with whom it registers.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import RunService
internal import Synchronization
internal import Tidemark
internal import Volume
internal import VolumeService

extension TidemarkSubcommand {
    /// Registers while `body` works with the handle: with the process that serves the volume, where
    /// that is this one, or else with a registry of its own, which others can ask meanwhile.
    func withHandle<R>(
        _ volume: Volume, _ limits: LimitOptions, _ output: Output,
        from before: (RunRegistry?) -> RunLimits = { $0?.defaultLimits() ?? RunLimits() },
        _ body: (RunHandle) throws -> R
    ) throws -> R {
        let registry = output.served?.registry
        let limits = try limits.limits(from: before(registry))
        if let registry { return try registry.withHandle(limits, body) }
        return try RunRegistry.withOwnHandle(
            volume, command: Self._commandName, limits, output.events, body)
    }
}

extension Output {
    /// Prints the report; of a run that did not do what it was for, an error too where nothing else
    /// is printed.
    func show(_ report: RunReport, of target: String, isDryRun: Bool) {
        lines(report.lines(target, isDryRun: isDryRun, isVerbose: isVerbose))
        guard isQuiet, report.outcome.status.contains(.operational) else { return }
        let why = report.reason.map { ": \($0)" } ?? ""
        error("\(target): \(report.outcome.rawValue)\(why)")
    }

    /// Tells of the events of a run.
    var events: RunObserver {
        var observer = RunObserver()
        observer.onEvent = { [self] event in
            if event.isDetail { detail("\(event)") } else { note("\(event)") }
        }
        return observer
    }
}

/// Tells of a run as the command's options ask for it: events and progress on standard error,
/// discrepancies with `--list` and `--verbose`. A signal stops the run, but for one in a process
/// that serves a mount, whose signals are not the run's.
func observer(
    _ list: LineList?, _ volume: Volume, _ output: Output, showsProgress: Bool = true
) -> RunObserver {
    let indexes = volume.indexes
    let isPrinted = output.isVerbose && !output.isJSON
    let progress = Progress(output, isOn: showsProgress)
    var observer = output.events
    observer.onProgress = { progress.draw($0.line) }
    observer.onEnd = { progress.finish() }
    if output.served == nil { observer.stopRequest = { Signals.stopRequest } }
    guard let list else { return observer }
    observer.onDiscrepancy = { discrepancy in
        let report = DiscrepancyReport(discrepancy, of: indexes[discrepancy.index.rawValue])
        if list.isWanted { list.add(report.json) }
        if isPrinted { output.line(report.text) }
    }
    return observer
}

/// Of a run that another command makes on its way.
func runObserver(_ volume: Volume, _ output: Output) -> RunObserver {
    observer(nil, volume, output)
}
