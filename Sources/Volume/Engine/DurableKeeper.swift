// Makes durable points: at once when somebody waits for one (fsync), and otherwise a few
// seconds after the first change, or when the data area was written much, or the metadata
// have grown: a point pins the pages of its commit, so that they grow until the next. An
// idle volume makes none.
//
// The order is the whole point:
// 1. At a commit boundary: pin the last commit s, copy its meta page.
// 2. Sync the data area, then the environment: all pages of s are on the disk.
// 3. Write the copy into the slot that does not hold the last point, and sync it.
// 4. Let go of the last point's pin: its pages may be used again.
// A failure before 3 is complete leaves the last point whole and pinned.

internal import LMDB
internal import Logging
internal import Synchronization
internal import Threads
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

final class DurableKeeper: Sendable {
    private struct State {
        /// Calls of `sync` so far, and how many of them are answered.
        var requested: UInt64 = 0
        var answered: UInt64 = 0
        var isClosed = false
    }

    /// What the last point covered. Only whoever makes points touches it: the opener, then
    /// the keeper's thread, then the closer.
    private struct Last {
        var pin: PinnedCommit?
        var number: UInt64
        var dataWritten: UInt64 = 0
        var time = 0.0
    }

    private let core: VolumeCore
    private let file: DurableFile
    private let boot: String
    private let seconds: Double
    private let bytes: UInt64
    private let clock: ManualClock?
    private let state = Monitor(State())
    private let last: Mutex<Last>
    private let thread = Mutex<DedicatedThread?>(nil)

    init(_ core: VolumeCore, _ file: DurableFile, lastNumber: UInt64, _ options: OpenOptions) {
        self.core = core
        self.file = file
        boot = options.bootIdentity ?? kernelBootIdentity()
        seconds = options.durableSeconds
        bytes = options.durableBytes
        clock = options.manualClock
        last = Mutex(Last(number: lastNumber))
    }

    /// Makes points from here on.
    func start() {
        let started = DedicatedThread(name: "volume sync") { self.run() }
        thread.withLock { $0 = started }
    }

    /// Ends the thread; points are then made by hand.
    func stop() {
        state.withLock(notify: true) { $0.isClosed = true }
        thread.withLock { $0.take() }?.join()
    }

    /// Waits for a point that covers everything acknowledged before the call.
    func sync() throws {
        guard let ticket = request() else { throw VolumeError.closed(core.path) }
        state.wait { $0.answered >= ticket ? () : nil }
        try core.checkNotStopped()
    }

    /// Asks for a point that covers everything acknowledged before the call.
    /// - Returns: nil where no more points are made.
    func request() -> UInt64? {
        state.withLock(notify: true) {
            guard !$0.isClosed else { return nil }
            $0.requested += 1
            return $0.requested
        }
    }

    func isAnswered(_ ticket: UInt64, within seconds: Double) -> Bool {
        state.wait(seconds: seconds) { $0.answered >= ticket ? () : nil } != nil
    }

    func isAnswered(_ ticket: UInt64, until deadline: Deadline) -> Bool {
        state.wait(until: deadline) { $0.answered >= ticket ? () : nil } != nil
    }

    private func run() {
        while true {
            // Looking five times in the time allowed, and due at four fifths of it.
            let requested: UInt64?? = state.wait(seconds: seconds / 5, on: clock, "durable") {
                if $0.requested > $0.answered { return .some($0.requested) }
                return $0.isClosed ? .some(nil) : .none
            }
            switch requested {
            case .some(.some(let ticket)):
                if isDirty { makePointOrStop() }
                core.hasAskedForPoint.store(false, ordering: .relaxed)
                state.withLock(notify: true) { $0.answered = ticket }
            case .some(.none): return
            case .none: if isDue { makePointOrStop() }
            }
        }
    }

    private var now: Double { clock.map { Double($0.now()) / 1e9 } ?? monotonicSeconds() }

    private var isDirty: Bool {
        let dataWritten = core.data.written.load(ordering: .acquiring)
        return core.hasAcknowledged.load(ordering: .acquiring)
            || core.environment.statistics.lastTransaction != core.durableCommit
            || last.withLock { $0.dataWritten != dataWritten }
    }

    private var isDue: Bool {
        guard isDirty else {
            last.withLock { $0.time = now }
            return false
        }
        let data = core.data.written.load(ordering: .relaxed)
        return last.withLock {
            data - $0.dataWritten > bytes || now - $0.time >= seconds * 0.8
        }
    }

    /// After a failed sync nobody can say what is on the disk: no more changes.
    private func makePointOrStop() {
        guard core.stopped.withLock({ $0 }) == nil else { return }
        do {
            try makePoint { [core] in
                try core.atBoundary { _ in try PinnedCommit(core.environment) }
            }
        } catch {
            core.stop("a durable point could not be made: \(error)")
        }
    }

    /// Makes a point while no transaction can be under way.
    func makePointAlone(isClean: Bool) throws {
        try makePoint(isClean: isClean) { [core] in try PinnedCommit(core.environment) }
    }

    private func makePoint(isClean: Bool = false, _ pin: () throws -> PinnedCommit) throws {
        let dataWritten = core.data.written.load(ordering: .acquiring)
        // Less than what the pin covers, if a group commits in between: never more.
        let written = core.metadataWritten.load(ordering: .relaxed)
        let pinned = try pin()
        try core.data.sync()
        try core.environment.sync()
        let number = last.withLock { $0.number + 1 }
        try file.write(
            DurablePoint(number: number, isClean: isClean, boot: boot, meta: pinned.meta))
        last.withLock {
            $0 = Last(
                pin: pinned, number: number, dataWritten: dataWritten, time: now)
        }
        core.writtenAtPoint.store(written, ordering: .relaxed)
        core.lastDurable.store(pinned.commit, ordering: .releasing)
    }
}
