// A small volume with a clock that stands still, for tests of operations.

import Bytes
import LMDB
import Synchronization
import TestSupport
import Threads
import VolumeFormat

@testable import Volume

/// A volume in a directory of its own.
final class SmallVolume {
    private(set) var volume: Volume
    let directory: String
    private let time: TestClock
    private let monotonicClock: @Sendable () -> Double

    /// A clock that only the test moves.
    final class TestClock: Sendable {
        let seconds = Atomic<Int64>(1_000)
    }

    /// - Parameter commitDelay: seconds for which changes wait for their commit.
    init(
        blocks: UInt64 = 256, blockSize: UInt32 = 512, metadataLimit: Int = 1 << 40,
        commitDelay: Double = 0, monotonicClock: @escaping @Sendable () -> Double = monotonicSeconds
    ) throws {
        directory = try temporaryDirectory()
        var options = CreateOptions(size: blocks * UInt64(blockSize))
        options.blockSize = blockSize
        options.reservedAtStart = 2
        options.reservedAtEnd = 1
        time = TestClock()
        try Volume.create(directory + "/v", options: options)
        self.monotonicClock = monotonicClock
        volume = try SmallVolume.open(
            directory + "/v", time, metadataLimit, commitDelay, monotonicClock)
    }

    deinit {
        try? volume.close()
    }

    private static func open(
        _ path: String, _ time: TestClock, _ metadataLimit: Int, _ commitDelay: Double,
        _ monotonicClock: @escaping @Sendable () -> Double
    ) throws -> Volume {
        var options = OpenOptions()
        options.monotonicClock = monotonicClock
        options.metadataLimit = metadataLimit
        options.groupCommitSeconds = commitDelay
        // No durable point comes by itself: it would end the open group, and settle what was freed.
        options.durableSeconds = 1e6
        options.clock = {
            Timestamp(seconds: time.seconds.load(ordering: .relaxed), nanoseconds: 7)
        }
        return try Volume.open(path, options: options)
    }

    func reopen() throws {
        let (limit, commitDelay) = (volume.core.metadataLimit, volume.core.groupCommitSeconds)
        try volume.close()
        volume = try SmallVolume.open(directory + "/v", time, limit, commitDelay, monotonicClock)
    }

    var now: Int64 {
        get { time.seconds.load(ordering: .relaxed) }
        set { time.seconds.store(newValue, ordering: .relaxed) }
    }

    func snapshot() throws -> VolumeSnapshot { try volume.read() }

    @discardableResult
    func create(_ name: String, in dir: InodeNumber = .root) throws -> InodeNumber {
        try volume.perform { try $0.create(dir, Array(name.utf8)).number }
    }

    @discardableResult
    func makeDirectory(_ name: String, in dir: InodeNumber = .root) throws -> InodeNumber {
        try volume.perform { try $0.makeDirectory(dir, Array(name.utf8)).number }
    }

    func write(_ n: InodeNumber, _ offset: UInt64, _ bytes: [UInt8]) throws {
        try volume.write(n, at: offset, bytes.span.bytes)
    }

    func inode(_ n: InodeNumber) throws -> InodeRecord? { try snapshot().inode(n) }
}

func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

/// The error number of what `body` throws; nil where it returns.
func errnoOf(_ body: () throws -> Void) throws -> Int32? {
    do {
        try body()
        return nil
    } catch let error as VolumeError {
        return error.errno
    }
}
