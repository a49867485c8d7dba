// Side files and checkpoints that are not what was written, with right checksums and with wrong.

import Bytes
import Entries
import Feed
import Foundation
import LMDB
import TestSupport
import Testing
import Tidemark

@testable import Shadow
@testable import SideFile

@Suite(.temporaryDirectory) struct SideFileTests {
    private static let identity = SideFile.Identity(owner: (1, 2), run: 3)

    /// A side file with two sorted runs, and its checkpoint, which nobody has open.
    private func make(
        _ folder: String, _ change: (Checkpoint) -> Checkpoint = { $0 }
    ) throws -> String {
        let path = folder + "/side.mdb"
        let store = try SideFile(path: path, identity: Self.identity)
        for number: UInt32 in 1...2 {
            var chunks = ChunkList(limit: 2000)
            let batch = EntryBatch()
            for entry: UInt64 in 0..<200 {
                var key = KeyBytes()
                key.append(entry)
                batch.append(key: key.span, value: [1, 2, 3].rawSpan)
            }
            var position = 0
            while position < batch.byteCount {
                let record = batch.record(at: position)
                chunks.append(record)
                position += record.size
            }
            try store.append(chunks, to: number)
        }
        try store.stage(change(Self.checkpoint()))
        try store.makeDurable()
        return path
    }

    private static func checkpoint(
        commit: UInt64 = 9, runs: [[SortedRun]] = [[run(1), run(2)]], nextRun: UInt32 = 3,
        records: Int = 5, damage: Int = 0, damageCount: Int? = nil, void: SequenceNumber? = nil
    ) -> Checkpoint {
        Checkpoint(
            commit: commit,
            position: .init(cursor: KeyBytes([4]), unread: [], applied: 1, elided: 1),
            voids: void.map { [VoidRange(range: .all, sequence: $0)] } ?? [],
            runs: runs, nextRun: nextRun, primaryRecords: records, windows: 1,
            damage: (0..<damage).map { PrimaryDamage(object: "\($0)", problem: "lost") },
            damageCount: damageCount ?? damage, scope: nil)
    }

    private static func run(_ number: UInt32, entries: Int = 200) -> SortedRun {
        SortedRun(number: number, entries: entries, bytes: 4600)
    }

    /// What can be read of the file: entries, or the error of its damage.
    private func read(_ path: String) throws -> Result<Int, SideFileError> {
        do throws {
            let (file, checkpoint) = try SideFile.open(path: path, identity: Self.identity)
            var count = 0
            for reader in try file.readers(of: checkpoint.runs.joined().map(\.number)) {
                let batch = EntryBatch()
                try reader.readRest(into: batch)
                count += batch.count
            }
            return .success(count)
        } catch let error as SideFileError {
            return .failure(error)
        }
    }

    @Test func `what was written is read`() throws {
        #expect(try read(make(temporaryDirectory())) == .success(400))
    }

    @Test func `whatever is flipped in a page, the file is damaged or read as it was`() throws {
        let folder = try temporaryDirectory()
        let path = try make(folder)
        let whole = try Data(contentsOf: URL(filePath: path))
        var damaged = 0
        for page in 0..<whole.count / 4096 {
            // Heads of pages, the places of their nodes, and nodes at their ends.
            for offset in [0, 8, 10, 11, 12, 13, 14, 15, 16, 17, 19, 4000, 4060, 4088, 4095] {
                var bytes = whole
                bytes[page * 4096 + offset] ^= 0x41
                try bytes.write(to: URL(filePath: path))
                switch try read(path) {
                case .success(let count):
                    #expect(count == 400, "page \(page), offset \(offset)")
                case .failure(let error):
                    damaged += 1
                    switch error {
                    case .damaged, .damagedChunk: break
                    default: Issue.record("page \(page), offset \(offset): \(error)")
                    }
                }
            }
        }
        #expect(damaged > 20)
        try whole.prefix(whole.count / 2).write(to: URL(filePath: path))
        #expect(try read(path) == .failure(.damaged(path: path)))
    }

    @Test func `a chunk that holds no records is damaged, whatever its checksum`() throws {
        let path = try make(temporaryDirectory())
        let whole = try Data(contentsOf: URL(filePath: path))
        // Length of a key and of a value, too small, too large; a key that is not above the last.
        for (offset, lie) in [
            (8, 0), (8, 9), (8, 7), (9, 0xff), (10, 0), (10, 0xff), (11, 0x3f), (12 + 7, 0xff),
        ] as [(Int, UInt8)] {
            try whole.write(to: URL(filePath: path))
            let environment = try Environment(path: path, options: .init(mapSize: 1 << 30))
            try environment.write { transaction in
                let table = try #require(try transaction.table("run.1", create: false))
                var key: [UInt8] = [], value: [UInt8] = []
                try transaction.withCursor(table) { cursor in
                    _ = try cursor.first()
                    key = cursor.key.array
                    value = cursor.value.array
                }
                value.removeLast(4)
                value[offset] = lie
                let sum = CRC32C.checksum(key.rawSpan, value.rawSpan)
                for shift: UInt32 in [24, 16, 8, 0] {
                    value.append(UInt8(truncatingIfNeeded: sum >> shift))
                }
                try transaction.put(table, key.rawSpan, value.rawSpan)
            }
            try environment.sync()
            // The checkpoint is of another commit now.
            let meta = try MetaPage.read(path)
            let newest = try #require([meta.first, meta.second].compactMap { $0 }
                .max { $0.commit < $1.commit })
            try CheckpointFile(sideFile: path).write(
                .init(checkpoint: Self.checkpoint(), meta: newest), Self.identity)
            #expect(
                try read(path) == .failure(.damagedChunk(run: 1)), "\(offset), \(lie)")
        }
    }

    @Test(
        arguments: [
            ("as it was", checkpoint(), true),
            ("a commit beyond all bounds", checkpoint(commit: 1 << 44), false),
            ("a counter that ends", checkpoint(records: .max), false),
            ("a run that is still to come", checkpoint(nextRun: 2), false),
            ("numbers that end", checkpoint(nextRun: .max), false),
            ("a run twice", checkpoint(runs: [[run(1), run(1)]]), false),
            ("entries that nobody can count", checkpoint(runs: [[run(1, entries: .max)]]), false),
            ("a run that is not there", checkpoint(runs: [[run(5)]], nextRun: 6), false),
            ("damage that is not counted", checkpoint(damage: 3, damageCount: 2), false),
            ("more damage than is remembered", checkpoint(damage: 1001), false),
            ("a void of what has not happened", checkpoint(void: .end(of: 10)), false),
            ("a void", checkpoint(void: .end(of: 9)), true),
        ])
    func `a checkpoint that no run writes is damaged`(
        words: String, checkpoint: Checkpoint, isRight: Bool
    ) throws {
        let path = try make(temporaryDirectory()) { _ in checkpoint }
        switch try read(path) {
        case .success: #expect(isRight, "\(words)")
        case .failure(let error):
            #expect(!isRight, "\(words): \(error)")
            switch error {
            case .damaged: break
            default: Issue.record("\(words): \(error)")
            }
        }
    }
}
