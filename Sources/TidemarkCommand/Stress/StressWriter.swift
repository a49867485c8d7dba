// One writer of a stress: a thread that sends job after job, each of about sixteen
// operations of a realistic mix, and waits for each to be acknowledged.
//
// It works in a directory of its own, in one that all writers share, so that names collide,
// and with a part of what was in the volume before: that is renamed, linked and given
// other attributes, but its contents are left alone. What it makes is bounded: beyond a
// certain number of files it deletes as many as it makes.

internal import Bytes
internal import Meters
internal import HostFiles
internal import Scenarios
internal import Synchronization
internal import Threads
internal import Volume
internal import VolumeFormat

final class StressWriter: @unchecked Sendable {
    /// A name that the writer knows. Others may have changed it meanwhile, in the shared
    /// directory: then an operation answers that, and is counted.
    struct Known {
        var directory: InodeNumber
        var name: [UInt8]
        /// nil where another's file came here by an exchange.
        var inode: InodeNumber?
    }

    static let jobOperations = 16
    static let mostFiles = 1500
    static let mostDirectories = 100
    /// Names of the shared directory.
    static let sharedNames: UInt64 = 512
    /// One job in so many is followed by a write of contents.
    private static let dataInterval = 64

    let number: Int
    let volume: Volume
    let control: StressControl
    let shared: InodeNumber
    var random: SplitMix64
    var tally = StressTally()
    var files: [Known] = []
    /// Directories of its own; the first is the one in which it works and is never removed.
    var directories: [Known]
    var existing: [ExistingName]
    let existingDirectories: [InodeNumber]
    let recorder: Recorder?
    private var serial: UInt64 = 0
    /// Jobs so far.
    private var jobs = 0

    init(
        number: Int, volume: Volume, control: StressControl, seed: UInt64, home: InodeNumber,
        shared: InodeNumber, existing: ExistingTree, of writers: Int, recorder: Recorder?
    ) {
        self.number = number
        self.recorder = recorder
        self.volume = volume
        self.control = control
        self.shared = shared
        random = SplitMix64(seed: seed &+ UInt64(number) &* 0x9e37_79b9)
        directories = [Known(directory: shared, name: [], inode: home)]
        self.existing = existing.names.enumerated().compactMap {
            $0.offset % writers == number ? $0.element : nil
        }
        existingDirectories = existing.directories
    }

    /// Runs until it is stopped, or something fails that must not.
    func run() {
        do {
            while !control.isStopped.load(ordering: .acquiring) {
                try job()
                jobs += 1
                // A scenario has no contents.
                if recorder == nil, jobs % StressWriter.dataInterval == 0 { try writeData() }
                if let failure = recorder?.failure { throw failure }
            }
        } catch {
            // What was noted of a group that failed has not happened.
            if error is VolumeError { recorder?.lose() }
            control.fail("writer \(number): \(explanation(of: error))")
        }
    }

    private func job() throws {
        let isRunning = control.isRunning.load(ordering: .relaxed)
        let start = monotonicNanoseconds()
        try volume.perform { operations in
            for _ in 0..<StressWriter.jobOperations { try self.operate(&operations) }
        }
        let elapsed = max(monotonicNanoseconds() - start, 1)
        let side: WritableKeyPath<StressTally, StressSide> = isRunning ? \.withRun : \.withoutRun
        tally[keyPath: side].operations += StressWriter.jobOperations
        tally[keyPath: side].latencies.record(elapsed)
        control.operations.add(StressWriter.jobOperations, ordering: .relaxed)
    }

    private func operate(_ operations: inout Operations) throws {
        let kind = choose()
        do {
            if let operation = try perform(kind, &operations) {
                recorder?.note(
                    operation, writer: number, job: jobs, commit: operations.commitUnderWay)
            }
            tally.kinds[kind, default: 0] += 1
        } catch let error as VolumeError {
            guard let answer = error.expectedAnswer else { throw error }
            tally.refusals[answer, default: 0] += 1
        }
    }

    /// Contents of a file, on this thread.
    private func writeData() throws {
        guard let inode = files.randomElement(using: &random)?.inode else { return }
        let count = Int.random(in: 1...16384, using: &random)
        let offset = UInt64.random(in: 0..<(1 << 20), using: &random)
        let byte = UInt8.random(in: 0...255, using: &random)
        let bytes = [UInt8](repeating: byte, count: count)
        let start = monotonicNanoseconds()
        do {
            try volume.write(inode, at: offset, bytes.span.bytes)
            tally.dataWrites += 1
            tally.dataBytes += count
            tally.dataLatencies.record(max(monotonicNanoseconds() - start, 1))
        } catch let error as VolumeError {
            // What had the inode's number may be something else by now.
            if case .invalid = error { return }
            guard let answer = error.expectedAnswer else { throw error }
            tally.refusals[answer, default: 0] += 1
        }
    }

    /// What to do next: more is made where there is little, and deleted where there is much.
    private func choose() -> StressOperation {
        let making: [StressOperation] = [
            .create, .create, .create, .create, .makeDirectory, .symlink, .makeNode, .link,
        ]
        let removing: [StressOperation] = [
            .unlink, .unlink, .unlink, .unlink, .unlink, .removeDirectory, .renameReplacing,
        ]
        let part = UInt64.random(in: 0..<100, using: &random)
        let fill = Double(files.count) / Double(StressWriter.mostFiles)
        switch part {
        case 0..<30:
            let isMaking =
                Double.random(in: 0..<1, using: &random) > fill * 0.5 + (fill > 1 ? 1 : 0)
            return (isMaking ? making : removing).randomElement(using: &random) ?? .create
        case 30..<50:
            let moving: [StressOperation] = [
                .rename, .rename, .renameAcross, .renameAcross, .renameDirectory, .exchange,
            ]
            return moving.randomElement(using: &random) ?? .rename
        case 50..<80:
            let mapping: [StressOperation] = [
                .extend, .truncate, .allocate, .allocate, .allocate, .punch, .punch, .zero,
            ]
            return mapping.randomElement(using: &random) ?? .allocate
        case 80..<90:
            let changing: [StressOperation] = [
                .setAttribute, .removeAttribute, .setMode, .setOwner,
            ]
            return changing.randomElement(using: &random) ?? .setMode
        default:
            let known: [StressOperation] = [.renameExisting, .linkExisting, .changeExisting]
            return known.randomElement(using: &random) ?? .renameExisting
        }
    }

    /// A name that nobody has had.
    func newName() -> [UInt8] {
        serial += 1
        // Of lengths as they are found, now and then a long one.
        var name = Array("f\(number)-\(serial)-".utf8)
        let length = UInt64.random(in: 0..<64, using: &random) == 0 ? 255 : 24
        while name.count < length, UInt64.random(in: 0..<8, using: &random) > 0 || length == 255 {
            name.append(UInt8(ascii: "a") + UInt8.random(in: 0..<26, using: &random))
        }
        return name
    }

    func sharedName() -> [UInt8] {
        Array("s\(UInt64.random(in: 0..<StressWriter.sharedNames, using: &random))".utf8)
    }

    func ownDirectory() -> InodeNumber {
        directories[Int.random(in: directories.indices, using: &random)].inode ?? shared
    }
}
