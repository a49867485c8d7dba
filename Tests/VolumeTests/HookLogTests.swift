// The hook log where it has to give way: to its bound, and to writers who need its room.

import Bytes
import Glibc
import TestSupport
import Testing
import Tidemark
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct HookLogTests {
    private func make(_ volume: Volume, _ name: String) throws {
        _ = try volume.perform { try $0.create(.root, Array(name.utf8), NewInode()) }
    }

    /// Enters a run whose position is the last commit.
    private func enroll(_ volume: Volume, _ number: UInt64, _ index: String) throws -> RunRecord {
        var record = RunRecord(number: number, indexes: [index], strategy: .rebuild)
        record.state = .scanning
        return try volume.atCommitBoundary { [record] boundary in
            try boundary.requireJournal().keepLog()
            var record = record
            record.logFrom = boundary.lastCommit
            try boundary.requireJournal().store(record)
            return record
        }
    }

    private func stored(_ volume: Volume, _ number: UInt64) throws -> RunRecord? {
        try volume.read().runs().first { $0.number == number }
    }

    @Test func `a position that was given up does not come back with the run's next record`()
        throws
    {
        try withVolume(open: { $0.hookLogBytes = 256 << 10 }) { volume in
            let first = try enroll(volume, 1, "parents")
            try make(volume, "between")
            var second = try enroll(volume, 2, "rmap")
            var made = 0
            while try stored(volume, 1)?.logFrom != nil {
                try make(volume, "file \(made)")
                made += 1
                if made.isMultiple(of: 16) {
                    // The second keeps up with the log.
                    second = try volume.atCommitBoundary { [second] boundary in
                        var record = second
                        record.logFrom = boundary.lastCommit
                        try boundary.requireJournal().store(record)
                        return record
                    }
                }
                try #require(made < 20_000, "the log never came to its bound")
            }
            #expect(try stored(volume, 2)?.logFrom == second.logFrom)
            // The first does not know of it, and stores its record again.
            try volume.atCommitBoundary { try $0.requireJournal().store(first) }
            #expect(try stored(volume, 1)?.logFrom == nil)
            #expect(try stored(volume, 2)?.logFrom == second.logFrom)
        }
    }

    /// Makes files until there is no room.
    private func fill(logging: Bool) throws -> Int {
        try withVolume(open: { $0.metadataLimit = 4 << 20 }) { volume in
            if logging { _ = try enroll(volume, 1, "parents") }
            var made = 0
            do {
                while true {
                    try volume.perform { operations in
                        for _ in 0..<32 {
                            let name = Array("file number \(made)".utf8)
                            _ = try operations.create(.root, name, NewInode())
                            made += 1
                        }
                    }
                }
            } catch let error as VolumeError {
                #expect(error.errno == ENOSPC, "\(error)")
            }
            if logging { #expect(try stored(volume, 1)?.logFrom == nil) }
            // It stays usable.
            for number in 0..<made / 2 {
                try volume.perform { try $0.unlink(.root, Array("file number \(number)".utf8)) }
            }
            try make(volume, "another")
            return made
        }
    }

    @Test func `writers have the room that the log has taken`() throws {
        let without = try fill(logging: false), with = try fill(logging: true)
        #expect(with >= without * 97 / 100, "\(with) files with the log, \(without) without")
    }
}
