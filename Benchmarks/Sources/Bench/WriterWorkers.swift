// Workers that write: creates at full speed, what hooks cost, and what writers keep while a
// run is at work.

internal import Bytes
internal import CBaseline
internal import Foundation
internal import Synchronization
internal import Tidemark
internal import Volume
internal import VolumeFormat

/// A hook that wants nothing: whatever it costs, having no hook costs less.
private final class IdleHook: CommitHook {
    func wants(_ index: IndexSlot) -> Bool { false }
    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {}
    func admit(within seconds: Double) -> Bool { true }
}

/// A hook that wants everything, and drops it.
private final class WantingHook: CommitHook {
    func wants(_ index: IndexSlot) -> Bool { true }
    func committed(
        _ commit: UInt64, by origin: CommitOrigin, deltas: borrowing DeltaBatch
    ) {}
    func admit(within seconds: Double) -> Bool { true }
}

enum WriterWorkers {
    /// `creates DIRECTORY COUNT ORDER HOOK`: COUNT creates in 1,000 directories of a new
    /// volume, by one `perform`. ORDER is `grouped`, one directory after another, or
    /// `scattered`; HOOK is `none` or `idle`; `wanting`: one that wants all deltas; `logged`:
    /// that, and a run that can go on, for which all deltas are logged; or `kept`: no hook, but
    /// of each index an old generation is kept.
    static func creates(_ arguments: Arguments) throws -> Measures {
        let path = try arguments.string(0) + "/creates"
        let count = try arguments.integer(1), directories = 1000
        let isGrouped = try arguments.string(2) == "grouped"
        try Volume.create(path)
        let volume = try Volume.open(path)
        defer {
            try? volume.close()
            try? FileManager.default.removeItem(atPath: path)
        }
        let parents = try volume.perform { operations in
            try (0..<directories).map {
                try operations.makeDirectory(.root, Array("directory-\($0)".utf8)).number
            }
        }
        var random = SystemRandomNumberGenerator()
        let names = (0..<count).map { number in
            Array((String(random.next() % 0xffff_ffff, radix: 36) + "-\(number)").utf8)
        }
        let places = (0..<count).map {
            isGrouped ? $0 * directories / count : Int.random(in: 0..<directories)
        }
        if try arguments.string(3) == "idle" {
            try volume.atCommitBoundary { $0.attach(IdleHook()) }
        }
        let hook = try arguments.string(3)
        if hook == "kept" { try keepOld(volume) }
        if hook == "wanting" || hook == "logged" {
            try volume.atCommitBoundary { $0.attach(WantingHook()) }
        }
        if hook == "logged" { try log(volume) }
        sync()
        var measures = Measures()
        try timed(&measures, "creates") {
            try volume.perform { operations in
                for number in 0..<count {
                    try operations.create(parents[places[number]], names[number])
                }
            }
        }
        measures["rate"] = Double(count) / measures["creates"]
        return measures
    }

    /// From here on all deltas are logged, for a run that nobody goes on with.
    private static func log(_ volume: Volume) throws {
        try volume.atCommitBoundary { boundary in
            try boundary.requireJournal().keepLog()
            var record = RunRecord(
                number: try boundary.requireJournal().newRunNumber(),
                indexes: volume.indexes.map(\.name),
                strategy: .rebuild)
            record.logFrom = boundary.lastCommit
            try boundary.requireJournal().store(record)
        }
    }

    /// Replaces the generation of each index of entries by a copy, and keeps it.
    private static func keepOld(_ volume: Volume) throws {
        // A summary is loaded by corrections, and link counts have no generation of their own.
        for slot in try slotsOfAll(volume) where volume.indexes[slot.rawValue].summary == nil {
            try volume.atCommitBoundary { boundary in
                let number = try boundary.requireGenerations().createGeneration(of: slot)
                let batch = EntryBatch()
                _ = try boundary.snapshot().entries(
                    of: slot, from: KeyBytes(), limit: .max, into: batch)
                try boundary.requireGenerations().append(batch, to: number, of: slot, end: nil)
                try boundary.requireGenerations().activate(
                    generation: number, of: slot, keepsOld: true)
            }
        }
    }

    /// `branch`: nanoseconds that testing a flag takes, which is all that an operation does
    /// for hooks when there are none.
    static func branch(_ arguments: Arguments) throws -> Measures {
        let tests = 1_000_000_000
        var measures = Measures()
        measures["tests"] = timed(&measures, "whole") { baseline_branches(tests) }
        measures["nanoseconds"] = measures["tests"] / Double(tests) * 1e9
        return measures
    }

    /// `mixed VOLUME WRITERS SECONDS ROUNDS`: writers at full speed, in turn without a run
    /// and with rebuilds of both indexes, again and again.
    static func mixed(_ arguments: Arguments) throws -> Measures {
        let path = try arguments.string(0)
        let volume = try Volume.open(path)
        watchSize(path)
        let writers = try arguments.integer(1)
        let seconds = Double(try arguments.integer(2)), rounds = try arguments.integer(3)
        let load = try WriterLoad(volume, writers: writers)
        load.start()
        var measures = Measures()
        Thread.sleep(forTimeInterval: seconds / 2)
        let sizeBefore = metadataBytes(path)
        var idle: [Double] = [], busy: [Double] = [], ratios: [Double] = []
        var reports: [RunReport] = []
        let slots = try slotsOfAll(volume)
        func rate(_ body: () throws -> Void) rethrows -> Double {
            let start = monotonicSeconds(), before = load.operations
            try body()
            return Double(load.operations - before) / (monotonicSeconds() - start)
        }
        idle.append(rate { Thread.sleep(forTimeInterval: seconds) })
        for _ in 0..<rounds {
            busy.append(
                try rate {
                    let start = monotonicSeconds()
                    repeat {
                        reports.append(try RunWorkers.drive(volume, slots, .rebuild))
                    } while monotonicSeconds() - start < seconds
                })
            idle.append(rate { Thread.sleep(forTimeInterval: seconds) })
            // Against the mean of before and after: the volume changes under the writers.
            let around = (idle[idle.count - 2] + idle[idle.count - 1]) / 2
            ratios.append(busy[busy.count - 1] / around)
        }
        try load.stop()
        measures["grown"] = metadataBytes(path) - sizeBefore
        try volume.close()
        measures["idle"] = idle.sorted()[idle.count / 2]
        guard !busy.isEmpty else { return measures }
        measures["busy"] = busy.sorted()[busy.count / 2]
        measures["kept"] = ratios.sorted()[ratios.count / 2]
        measures["runs"] = Double(reports.count)
        measures["peak"] = Double(reports.map(\.peakAnonymousBytes).max() ?? 0)
        measures["total"] = reports.map(\.seconds.total).reduce(0, +) / Double(reports.count)
        measures["applied"] = Double(reports.map(\.applied).reduce(0, +))
        for report in reports { RunWorkers.add(report.lockHolds, to: &measures) }
        return measures
    }

    /// Should the metadata grow beyond all bounds, the measurement ends before the disk is
    /// full.
    private static func watchSize(_ volume: String) {
        let bound = 24.0 * 1_073_741_824 + metadataBytes(volume)
        Thread.detachNewThread {
            while metadataBytes(volume) < bound { Thread.sleep(forTimeInterval: 0.1) }
            tell("the metadata file has grown by more than 24 GiB: given up")
            exit(4)
        }
    }

    private static func metadataBytes(_ volume: String) -> Double {
        let file = try? FileManager.default.attributesOfItem(atPath: volume + "/meta.mdb")
        return (file?[.size] as? NSNumber)?.doubleValue ?? .nan
    }

    private static func slotsOfAll(_ volume: Volume) throws -> [IndexSlot] {
        volume.indexes.indices.map { IndexSlot($0) }
    }
}

/// Threads that change a volume as fast as they can: files are created and given blocks,
/// renamed, and unlinked, 64 operations to a `perform`, in directories of their own.
final class WriterLoad: Sendable {
    private let volume: Volume
    private let directories: [[InodeNumber]]
    private let count = Atomic<Int>(0)
    private let isStopped = Atomic<Bool>(false)
    private let failure = Mutex<(any Error)?>(nil)
    private let group = DispatchGroup()

    private static let operationsPerJob = 64
    private static let liveFiles = 20_000

    init(_ volume: Volume, writers: Int) throws {
        self.volume = volume
        let stamp = Int(monotonicSeconds() * 1e6)
        directories = try volume.perform { operations in
            try (0..<writers).map { writer in
                let top = try operations.makeDirectory(.root, Array("w\(writer)-\(stamp)".utf8))
                return try (0..<64).map {
                    try operations.makeDirectory(top.number, Array("\($0)".utf8)).number
                }
            }
        }
    }

    /// Operations acknowledged so far.
    var operations: Int { count.load(ordering: .relaxed) }

    func start() {
        for number in directories.indices {
            group.enter()
            let thread = Thread { [self] in
                do {
                    var writer = Writer(directories[number])
                    while !isStopped.load(ordering: .relaxed) {
                        let done = try writer.job(volume, WriterLoad.operationsPerJob)
                        count.add(done, ordering: .relaxed)
                    }
                } catch {
                    failure.withLock { $0 = error }
                }
                group.leave()
            }
            thread.start()
        }
    }

    /// Waits for the writers' end.
    func stop() throws {
        isStopped.store(true, ordering: .relaxed)
        group.wait()
        if let error = failure.withLock({ $0 }) { throw error }
    }

    private struct Writer {
        let directories: [InodeNumber]
        /// Files that exist, the oldest from `head` on: directory and number, which is the name.
        private var live: [(directory: Int, number: Int)] = []
        private var head = 0
        private var next = 0
        private var random = SystemRandomNumberGenerator()

        init(_ directories: [InodeNumber]) { self.directories = directories }

        private func name(_ number: Int) -> [UInt8] { Array("some-file-\(number)".utf8) }

        mutating func job(_ volume: Volume, _ wanted: Int) throws -> Int {
            var writer = self
            defer { self = writer }
            return try volume.perform { operations in
                var done = 0
                while done < wanted { done += try writer.operation(&operations) }
                return done
            }
        }

        private mutating func operation(_ operations: inout Operations) throws -> Int {
            if live.count - head > WriterLoad.liveFiles {
                let old = live[head]
                head += 1
                if head > WriterLoad.liveFiles {
                    live.removeFirst(head)
                    head = 0
                }
                try operations.unlink(directories[old.directory], name(old.number))
                return 1
            }
            next += 1
            if next % 4 == 0, head < live.count {
                let place = Int.random(in: head..<live.count, using: &random)
                let file = live[place]
                let target = Int.random(in: directories.indices, using: &random)
                try operations.rename(
                    directories[file.directory], name(file.number), to: directories[target],
                    name(next))
                live[place] = (target, next)
                return 1
            }
            let directory = Int.random(in: directories.indices, using: &random)
            let inode = try operations.create(directories[directory], name(next)).number
            live.append((directory, next))
            let size = UInt64.random(in: 1...16, using: &random) * VolumeWorkers.blockSize
            try operations.reserve(inode, [0..<size], .written, size: size)
            return 2
        }
    }
}
