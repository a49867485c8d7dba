// A small volume with a clock that stands still, for tests of operations.

import Bytes
import LMDB
import Synchronization
import VolumeFormat

@testable import Volume

#if canImport(Glibc)
import Glibc
#endif

/// A volume in a directory of its own, which goes with it.
final class SmallVolume {
    private(set) var volume: Volume
    let directory: String
    private let time: TestClock

    /// A clock that only the test moves.
    final class TestClock: Sendable {
        let seconds = Atomic<Int64>(1_000)
    }

    /// - Parameter gather: seconds for which changes wait for their commit.
    init(
        blocks: UInt64 = 256, blockSize: UInt32 = 512, metadataLimit: Int = 1 << 40,
        gather: Double = 0
    ) throws {
        directory = try makeTemporaryDirectory()
        var options = CreateOptions(size: blocks * UInt64(blockSize))
        options.blockSize = blockSize
        options.reservedAtStart = 2
        options.reservedAtEnd = 1
        time = TestClock()
        try Volume.create(directory + "/v", options: options)
        volume = try SmallVolume.open(directory + "/v", time, metadataLimit, gather)
    }

    deinit {
        try? volume.close()
        removeTree(directory)
    }

    private static func open(
        _ path: String, _ time: TestClock, _ metadataLimit: Int, _ gather: Double
    ) throws -> Volume {
        var options = OpenOptions()
        options.metadataLimit = metadataLimit
        options.gatherSeconds = gather
        // A durable point ends the open group: none is to come by itself.
        if gather > 0 { options.durableSeconds = 1e6 }
        options.clock = {
            Timestamp(seconds: time.seconds.load(ordering: .relaxed), nanoseconds: 7)
        }
        return try Volume.open(path, options: options)
    }

    func reopen() throws {
        let (limit, gather) = (volume.core.metadataLimit, volume.core.gatherSeconds)
        try volume.close()
        volume = try SmallVolume.open(directory + "/v", time, limit, gather)
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

func makeTemporaryDirectory() throws -> String {
    var template = Array("/tmp/tidemark-operations-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else {
        throw VolumeError.io(operation: "make", object: "a temporary directory", errno: errno)
    }
    return template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
}

/// Deletes a directory and all in it.
func removeTree(_ path: String) {
    if let directory = opendir(path) {
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { removeTree(path + "/" + name) }
        }
        closedir(directory)
        rmdir(path)
    } else {
        unlink(path)
    }
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
