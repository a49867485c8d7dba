// Runs of a volume that somebody else resumes.

import Foundation
import Synchronization
import TestSupport
import Testing
import Threads
import Tidemark
import Volume
import VolumeFormat
import VolumeService

@testable import RunService

@Suite struct InterruptedRunTests {
    private func withVolume<R>(_ body: (Volume) throws -> R) throws -> R {
        try withDirectory { directory in
            let path = directory + "/volume"
            try Volume.create(path, options: CreateOptions(size: 64 << 20))
            let volume = try Volume.open(path)
            try volume.perform { operations in
                for number in 0..<300 {
                    _ = try operations.create(.root, Array("file-\(number)".utf8))
                }
            }
            defer { try? volume.close() }
            return try body(volume)
        }
    }

    /// A repair that was paused, and that its process suspends.
    private func suspend(_ volume: Volume) throws {
        let registry = RunRegistry(volume, command: "test")
        var limits = RunLimits()
        // So slow that it does not come to its end.
        limits.speedLimit = 1
        let outcome = Monitor<Result<RunReport.Outcome, any Error>?>(nil)
        _ = DedicatedThread(name: "suspended") { [limits] in
            let ended = Result {
                try registry.withHandle(limits) { handle in
                    var execution = RunExecution(handle, [IndexSlot(0), IndexSlot(1)])
                    execution.options.strategy = .rebuild
                    return try execution.perform().outcome
                }
            }
            outcome.withLock(notify: true) { $0 = ended }
        }
        // From its first step on the volume remembers it.
        _ = try eventually { try volume.runs().first }
        let controls = try #require(registry.state.withLock { $0.handles.first }).controls
        controls.pause(true)
        var change = LimitChange()
        change.speedLimit = 0
        try controls.change(change)
        registry.close("its process ends")
        #expect(try outcome.wait(seconds: patience) { $0 }?.get() == .stopped)
    }

    @Test func `whoever serves a volume resumes what its process has left`() throws {
        try withVolume { volume in
            try suspend(volume)
            let interrupted = try volume.interruptedRuns()
            #expect(interrupted.map(\.number) == [1])
            let results = Mutex<[ResumedRun.Summary]>([])
            let registry = RunRegistry(volume, command: "mount", servesPrograms: true)
            let thread = registry.resumeInterrupted(
                RunObserver(), willResume: { _ in },
                onResult: { run in results.withLock { $0.append(.init(run)) } },
                onEnd: { #expect($0 == nil) })
            // It rests as it did.
            _ = try eventually { registry.endPause(nil) }
            thread.join()
            #expect(results.withLock { $0 } == [.init(number: 1, outcome: .clean)])
            #expect(try volume.interruptedRuns().isEmpty)
            #expect(throws: RunServiceError.hasEnded(1, .completed)) {
                try volume.resumableRun(1)
            }
            #expect(throws: RunServiceError.nothingToResume(volume.path)) {
                try volume.resumableRun(nil)
            }
            #expect(throws: RunServiceError.unknownRun(2, volume.path)) {
                try volume.resumableRun(2)
            }
        }
    }

    @Test func `a run whose side file is gone starts again, and says why`() throws {
        try withVolume { volume in
            try suspend(volume)
            try FileManager.default.removeItem(atPath: volume.sideFilePath(run: 1))
            let events = Mutex<[String]>([])
            let record = try volume.resumableRun(nil)
            let registry = RunRegistry(volume, command: "resume")
            let report = try registry.withHandle(record.resumeLimits(with: registry)) { handle in
                var execution = RunExecution(handle, of: record)
                execution.observer.onEvent = { event in
                    events.withLock { $0.append("\(event)") }
                }
                return try execution.resume(record)
            }
            #expect(report.outcome == .clean)
            let told = events.withLock { $0 }
            #expect(told.count == 1 && told[0].hasSuffix("it is restarted"), "\(told)")
        }
    }
}

extension ResumedRun {
    fileprivate struct Summary: Equatable {
        let number: UInt64
        let outcome: RunReport.Outcome?

        init(number: UInt64, outcome: RunReport.Outcome?) {
            self.number = number
            self.outcome = outcome
        }

        init(_ run: ResumedRun) {
            number = run.record.number
            outcome = try? run.result.get().outcome
        }
    }
}
