// Runs as a process serves them, of a store that is no volume.

import Catalogue
import Control
import Foundation
import Reports
import Synchronization
import TestSupport
import Testing
import Threads
import Tidemark

@testable import RunService

/// A run on a thread of its own, which rests until it is told otherwise.
private final class Served: Sendable {
    let registry: RunRegistry
    let report = Monitor<Result<RunReport, any Error>?>(nil)

    init(_ store: any RunStore, _ strategy: Strategy = .rebuild) {
        registry = RunRegistry(store, command: "test")
        var limits = RunLimits()
        limits.isPaused = true
        _ = DedicatedThread(name: "served") { [limits, registry, report] in
            let result = Result {
                try registry.withHandle(limits) { handle in
                    var execution = RunExecution(handle, [IndexSlot(0)])
                    execution.options.strategy = strategy
                    return try execution.perform()
                }
            }
            report.withLock(notify: true) { $0 = result }
        }
    }

    func ended() throws -> RunReport {
        try eventually("end of the run") { report.withLock { $0 } }.get()
    }
}

@Suite struct RegistryTests {
    @Test func `a run is told of, changed and let go through the control socket`() throws {
        try withDirectory { directory in
            let store = try CatalogueStore(directory)
            let served = Served(store)
            let server = try ControlServer(folder: directory, table: served.registry.controlTable)
            defer { server.close() }
            var client = try ControlClient(folder: directory)
            let live = try eventually {
                let live = try client.ask(RunVerbs.status, Nothing())
                return live.runs.isEmpty ? nil : live
            }
            #expect(live.command == "test" && live.limits.isPaused)
            #expect(live.runs.map(\.indexes) == [[store.indexes[0].name]])
            #expect(live.writers == nil && live.mount == nil)

            var change = LimitChange()
            change.share = 55
            let changed = try client.ask(RunVerbs.set, SteerRequest(change: change))
            #expect(changed.runs.first?.progress.limits.share == 55)
            #expect(throws: ControlError.self) {
                try client.ask(RunVerbs.pause, SteerRequest(run: 4711))
            }
            change.share = 0
            #expect(throws: ControlError.self) {
                try client.ask(RunVerbs.set, SteerRequest(change: change))
            }
            _ = try client.ask(RunVerbs.resume, SteerRequest(run: live.runs[0].number))
            #expect(try served.ended().outcome == .clean)
            #expect(served.registry.live.runs.isEmpty)
        }
    }

    @Test func `a stop ends the run and says who asked for it`() throws {
        try withDirectory { directory in
            let served = Served(try CatalogueStore(directory))
            let server = try ControlServer(folder: directory, table: served.registry.controlTable)
            defer { server.close() }
            var client = try ControlClient(folder: directory)
            _ = try eventually { served.registry.live.runs.first }
            let live = try client.ask(RunVerbs.stop, SteerRequest())
            #expect(live.stopReason?.contains("process \(getpid())") == true)
            let report = try served.ended()
            #expect(report.outcome == .stopped && report.reason == live.stopReason)
        }
    }

    @Test func `a closed registry suspends its runs and registers nobody`() throws {
        try withDirectory { directory in
            let served = Served(try CatalogueStore(directory))
            _ = try eventually { served.registry.live.runs.first }
            served.registry.close("the test closes it")
            #expect(try served.ended().outcome == .stopped)
            #expect(served.registry.isClosing)
            #expect(
                throws: RunServiceError.closed(directory, why: "the test closes it")
            ) {
                try served.registry.withHandle(RunLimits()) { _ in }
            }
        }
    }

    @Test func `a run is resumed by one at a time`() throws {
        try withDirectory { directory in
            let registry = RunRegistry(try CatalogueStore(directory, count: 1), command: "test")
            try registry.resuming(7) {
                #expect(throws: RunServiceError.isResumed(7)) { try registry.resuming(7) {} }
                try registry.resuming(8) {}
            }
            try registry.resuming(7) {}
        }
    }

    @Test func `runs beside programs are in the background unless told otherwise`() throws {
        try withDirectory { directory in
            let store = try CatalogueStore(directory, count: 1)
            let mount = RunRegistry(store, command: "mount", servesPrograms: true)
            let alone = RunRegistry(store, command: "repair")
            #expect(mount.defaultLimits().isBackground)
            #expect(!alone.defaultLimits().isBackground)
            var record = RunRecord(number: 1, indexes: ["a"], strategy: .auto)
            record.limits = RunLimits()
            record.limits?.isPaused = true
            record.limits?.stopAfter = 3
            record.limits?.share = 40
            let limits = record.resumeLimits(with: mount)
            #expect(limits.isBackground && !limits.isPaused && limits.stopAfter == nil)
            #expect(limits.share == 40)
        }
    }

    @Test func `a discrepancy is told in words, whoever asks`() throws {
        try withDirectory { directory in
            let store = try CatalogueStore(directory)
            store.catalogue.damage(IndexSlot(0)) { $0.removeAll() }
            let found = Mutex<LiveRun?>(nil)
            let registry = RunRegistry(store, command: "test")
            let report = try registry.withHandle(RunLimits()) { handle in
                var execution = RunExecution(handle, [IndexSlot(0)])
                execution.observer.onDiscrepancy = { _ in
                    guard let run = registry.live.runs.first, run.firstDiscrepancy != nil else {
                        return
                    }
                    found.withLock { $0 = run }
                }
                return try execution.perform()
            }
            #expect(report.outcome == .corrupt)
            let run = try #require(found.withLock { $0 })
            #expect(run.firstDiscrepancy?.index == store.indexes[0].name)
            #expect(run.firstDiscrepancy?.kind == .missing)
            #expect(run.progress.firstDiscrepancy == nil)
        }
    }
}
