// Durable points: what is left of a volume after the system has come down.

import Bytes
import Foundation
import LMDB
import Synchronization
import TestSupport
import Testing
import Threads
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct EngineDurableTests {
    private static let pageSize = 4096

    /// Random changes to names and extents.
    private func churn(_ volume: Volume, _ count: Int, _ random: inout SplitMix64) throws {
        for _ in 0..<count {
            try volume.perform { operations in
                for _ in 0..<Int.random(in: 1...40, using: &random) {
                    let key = name(Int.random(in: 0..<400, using: &random))
                    if try operations.dirent(.root, key) != nil {
                        try operations.unlink(.root, key)
                    } else {
                        let inode = try operations.create(.root, key).number
                        try operations.begin()
                        try operations.map(inode: inode, blocks: 1)
                        var record = try #require(try operations.inode(inode))
                        record.blocks = 1
                        try operations.put(record, inode)
                    }
                }
            }
        }
    }

    private func read(_ path: String) throws -> [UInt8] {
        [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
    }

    private func write(_ path: String, _ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    /// A copy of the volume as a failure of the system may leave it: of the pages written
    /// since `older`, any are on the disk and the others are as they were.
    private func copyTorn(
        _ path: String, to copy: String, older: [UInt8], _ random: inout SplitMix64
    ) throws {
        try FileManager.default.createDirectory(
            atPath: copy + "/runs", withIntermediateDirectories: true)
        for name in ["durable", "lock", "data"] {
            try FileManager.default.copyItem(atPath: path + "/" + name, toPath: copy + "/" + name)
        }
        var torn = try read(path + "/meta.mdb")
        // The metas, pages 0 and 1, are torn like any others.
        for start in stride(from: 0, to: torn.count, by: Self.pageSize)
        where Bool.random(using: &random) {
            for index in start..<min(start + Self.pageSize, torn.count) {
                torn[index] = index < older.count ? older[index] : 0
            }
        }
        try write(copy + "/meta.mdb", torn)
    }

    @Test(arguments: 1...25)
    func `after a failure of the system the volume is as at the last durable point`(
        seed: UInt64
    ) throws {
        try withDirectory { directory in
            var random = SplitMix64(seed: seed)
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            var expected: [String: [[UInt8]: [UInt8]]] = [:]
            try withOpen(path, { $0.durableSeconds = 1000 }) { volume in
                for _ in 0..<Int.random(in: 1...4, using: &random) {
                    try churn(volume, Int.random(in: 0...20, using: &random), &random)
                    try volume.sync()
                }
                expected = try volume.contents()
                let older = try read(path + "/meta.mdb")
                try churn(volume, Int.random(in: 0...60, using: &random), &random)
                try copyTorn(path, to: directory + "/copy", older: older, &random)
            }
            let other = { (options: inout OpenOptions) in options.bootIdentity = "another" }
            try withOpen(directory + "/copy", other) { volume in
                #expect(try volume.contents() == expected, "SEED=\(seed)")
                try churn(volume, 20, &random)
                let derived = try volume.derived()
                #expect(try volume.liveEntries("parents") == derived.parents, "SEED=\(seed)")
                #expect(try volume.liveEntries("rmap") == derived.rmap, "SEED=\(seed)")
            }
        }
    }

    @Test(arguments: 1...10)
    func `a torn durable point falls back to the one before it`(seed: UInt64) throws {
        try withDirectory { directory in
            var random = SplitMix64(seed: seed)
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            try withOpen(path, { $0.durableSeconds = 1000 }) { volume in
                try churn(volume, 10, &random)
                try volume.sync()
                let expected = try volume.contents()
                let older = try read(path + "/meta.mdb")
                let before = try read(path + "/durable")
                try churn(volume, 10, &random)
                try volume.sync()
                let after = try read(path + "/durable")
                // The second point's slot is cut anywhere, as if its write had been torn.
                let changed = before.indices.filter { before[$0] != after[$0] }
                let cut = Int.random(in: changed.first!...changed.last!, using: &random)
                var durable = after
                for index in cut..<(changed.last! + 1) { durable[index] = before[index] }
                try copyTorn(path, to: directory + "/copy", older: older, &random)
                try write(directory + "/copy/durable", durable)
                let other = { (options: inout OpenOptions) in options.bootIdentity = "another" }
                try withOpen(directory + "/copy", other) { copy throws in
                    #expect(try copy.contents() == expected, "SEED=\(seed)")
                }
            }
        }
    }

    @Test func `after the death of the process alone nothing acknowledged is lost`() throws {
        try withDirectory { directory in
            var random = SplitMix64(seed: 1)
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            try withOpen(path, { $0.durableSeconds = 1000 }) { volume in
                try churn(volume, 30, &random)
                let expected = try volume.contents()
                // The kernel has every page; only the process's own state is gone.
                let now = try read(path + "/meta.mdb")
                try copyTorn(path, to: directory + "/copy", older: now, &random)
                try withOpen(directory + "/copy") { copy throws in
                    #expect(try copy.contents() == expected)
                }
            }
        }
    }

    @Test func `a volume that was closed needs no recovery, whatever has happened since`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            var random = SplitMix64(seed: 2)
            var expected: [String: [[UInt8]: [UInt8]]] = [:]
            try withOpen(path) { volume in
                try churn(volume, 10, &random)
                expected = try volume.contents()
            }
            let other = { (options: inout OpenOptions) in
                options.bootIdentity = "another"
                options.mode = .readOnly
            }
            try withOpen(path, other) { volume throws in
                #expect(try volume.contents() == expected)
            }
        }
    }

    @Test func `what needs recovery is not opened for reading only`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            try withOpen(path) { volume in
                var random = SplitMix64(seed: 2)
                let older = try read(path + "/meta.mdb")
                try copyTorn(path, to: directory + "/copy", older: older, &random)
            }
            var options = OpenOptions(mode: .readOnly)
            options.bootIdentity = "another"
            #expect(throws: VolumeError.needsRecovery(path: directory + "/copy")) {
                try Volume.open(directory + "/copy", options: options)
            }
        }
    }

    @Test func `changes become durable by themselves, and an idle volume writes nothing`() throws {
        let clock = ManualClock()
        func options(_ options: inout OpenOptions) {
            options.durableSeconds = 10
            options.manualClock = clock
        }
        /// Lets time pass until the volume looks whether a point is due, and waits until it has.
        func pass() throws {
            _ = try #require(clock.untilWaiting(["durable"], within: patience))
            clock.advance(by: 2)
            _ = try #require(clock.untilWaiting(["durable"], within: patience))
        }
        try withVolume(open: options) { volume in
            try pass()
            _ = try volume.perform { try $0.create(.root, name(1)) }
            let commit = try volume.read().commit
            #expect(volume.durableCommit < commit)
            for _ in 0..<5 { try pass() }
            #expect(volume.durableCommit == commit)
            let before = try read(volume.path + "/durable")
            for _ in 0..<20 { try pass() }
            #expect(try read(volume.path + "/durable") == before)
        }
    }

    @Test func `sync covers what was acknowledged before it, from many threads`() throws {
        try withVolume(open: { $0.durableSeconds = 1000 }) { volume in
            let failures = Mutex(0)
            DispatchQueue.concurrentPerform(iterations: 4) { thread in
                for number in 0..<10 {
                    do {
                        _ = try volume.perform { try $0.create(.root, name(thread * 100 + number)) }
                        let commit = try volume.read().commit
                        try volume.sync()
                        if volume.durableCommit < commit { failures.withLock { $0 += 1 } }
                    } catch {
                        failures.withLock { $0 += 1 }
                    }
                }
            }
            #expect(failures.withLock { $0 } == 0)
        }
    }

    @Test func `without any whole durable point a volume is not opened`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            try write(path + "/durable", [UInt8](repeating: 3, count: 8192))
            let error = #expect(throws: VolumeError.self) { try Volume.open(path) }
            #expect(error?.errno == EIO)
        }
    }

    @Test func `a volume that could not be synced takes no changes, and is still read`() throws {
        try withDirectory { directory in
            let path = directory + "/v"
            try Volume.create(path, options: CreateOptions(size: 16 << 20))
            let volume = try Volume.open(path)
            _ = try volume.perform { try $0.create(.root, name(1)) }
            // Where the point should be written, there is what takes no writes.
            var durable = stat(), other = stat()
            try #require(stat(path + "/durable", &durable) == 0)
            var held: Int32 = 3
            while fstat(held, &other) != 0 || other.st_ino != durable.st_ino
                || other.st_dev != durable.st_dev
            {
                held += 1
                try #require(held < 65536, "the file is not held open")
            }
            let refusing = open("/dev/null", O_RDONLY)
            #expect(dup2(refusing, held) == held)
            close(refusing)
            let error = #expect(throws: VolumeError.self) { try volume.sync() }
            #expect(error?.description.contains("takes no more changes") == true)
            #expect(throws: VolumeError.self) { try volume.perform { _ in } }
            #expect(try volume.records(TableName.dirents).count == 1)
            try volume.close()
        }
    }
}
