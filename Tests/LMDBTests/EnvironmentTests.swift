import Bytes
import Foundation
import LMDB
import TestSupport
import Testing
import Threads

@Suite(.temporaryDirectory) struct EnvironmentTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    @Test func `what was committed is there after closing and opening`() throws {
        do {
            let (environment, table) = try scratch.openTable(.init())
            try environment.write { try $0.put(table, 1, [1]) }
            try environment.sync()
        }
        let environment = try scratch.open(.init(isReadOnly: true))
        let table = try environment.table("t", create: false)!
        #expect(try environment.beginRead().value(table, 1) == [1])
    }

    @Test func `a file system that has fewer blocks than none has no room`() {
        var status = statvfs()
        (status.f_blocks, status.f_frsize) = (1000, 4096)
        let cases: [(available: UInt, bytes: UInt64)] = [
            (0, 0), (1, 4096), (1000, 4_096_000), (1001, 0), (0 &- 7, 0), (.max, 0),
        ]
        for (available, bytes) in cases {
            status.f_bavail = fsblkcnt_t(available)
            #expect(status.availableBytes == bytes)
        }
        (status.f_blocks, status.f_bavail) = (.max, .max)
        #expect(status.availableBytes == .max)
    }

    @Test func `a read-only environment refuses to write`() throws {
        _ = try scratch.openTable()
        let environment = try scratch.open(.init(isReadOnly: true))
        let error = #expect(throws: LMDBError.self) { try environment.write { _ in } }
        #expect(error?.code == .system(EACCES))
        #expect(error?.operation == "begin transaction")
        #expect(error?.object == scratch.path)
    }

    @Test func `a file that is not there can't be opened for reading`() throws {
        let error = #expect(throws: LMDBError.self) { try scratch.open(.init(isReadOnly: true)) }
        #expect(error?.code == .system(ENOENT))
        #expect(error?.operation == "open environment")
        #expect(error?.description.contains(scratch.path) == true)
    }

    @Test func `a file of something else is invalid`() throws {
        let text = String(repeating: "This is no database.\n", count: 1000)
        try text.write(toFile: scratch.path, atomically: true, encoding: .utf8)
        let error = #expect(throws: LMDBError.self) { try scratch.open() }
        #expect(error?.code == .invalid)
        #expect(try String(contentsOfFile: scratch.path, encoding: .utf8) == text)
    }

    @Test func `a file of another data format is a version mismatch`() throws {
        do { _ = try scratch.openTable() }
        // Page header 16 bytes, magic u32, version u32, in both meta pages.
        var bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: scratch.path)))
        for page in [0, 4096] {
            #expect(bytes[page + 16..<page + 20].elementsEqual([0xde, 0xc0, 0xef, 0xbe]))
            bytes[page + 20] = 77
        }
        try Data(bytes).write(to: URL(fileURLWithPath: scratch.path))
        let error = #expect(throws: LMDBError.self) { try scratch.open() }
        #expect(error?.code == .versionMismatch)
        #expect(error?.operation == "open environment")
    }

    @Test func `a full map is a typed error, loses nothing, and can be grown`() throws {
        let (environment, table) = try scratch.openTable(.init(mapSize: 1 << 18, isUnsynced: true))
        try environment.write { try $0.put(table, 0, [1]) }
        func fill(_ count: UInt64) throws {
            try environment.write { transaction in
                for number in 1...count {
                    try transaction.put(table, number, Array(repeating: 2, count: 1000))
                }
            }
        }
        let error = try #require(throws: LMDBError.self) { try fill(1000) }
        #expect(error.code == .mapFull)
        #expect(error.isNoSpace)
        #expect(error.operation == "put" && error.object == "t")
        #expect(try environment.beginRead().statistics(table).entries == 1)
        #expect(try environment.grow(to: 1 << 24))
        #expect(environment.statistics.mapSize == 1 << 24)
        try fill(1000)
        let reader = try environment.beginRead()
        #expect(try reader.statistics(table).entries == 1001)
        #expect(try reader.value(table, 0) == [1])
    }

    @Test func `the map is not grown while transactions use it`() throws {
        let (environment, table) = try scratch.openTable(.init(mapSize: 1 << 18, isUnsynced: true))
        do {
            let reader = try environment.beginRead()
            #expect(try !environment.grow(to: 1 << 20))
            #expect(try reader.value(table, 1) == nil)
        }
        let isGrown = try environment.write { _ in try environment.grow(to: 1 << 20) }
        #expect(!isGrown)
        #expect(environment.statistics.mapSize == 1 << 18)
        #expect(try environment.grow(to: 1 << 20))
        #expect(environment.statistics.mapSize == 1 << 20)
    }

    @Test func `errors of space are told from others`() {
        func error(_ code: LMDBError.Code) -> LMDBError {
            LMDBError(code: code, operation: "put", object: "t")
        }
        #expect(error(.mapFull).isNoSpace)
        #expect(error(.system(ENOSPC)).isNoSpace)
        #expect(error(.system(EDQUOT)).isNoSpace)
        #expect(!error(.system(EIO)).isNoSpace)
        #expect(!error(.readersFull).isNoSpace)
        #expect(
            error(.mapFull).description
                == "put t: MDB_MAP_FULL: Environment mapsize limit reached")
        #expect(error(.system(ENOSPC)).description == "put t: No space left on device")
    }

    @Test func `a thousand readers may read at once, one more is an error`() throws {
        let (environment, table) = try scratch.openTable(
            .init(maximumReaders: 1000, isUnsynced: true))
        try environment.write { try $0.put(table, 1, [1]) }
        var cursors = Readers()
        for _ in 0..<1000 { cursors.add(try environment.beginRead()) }
        #expect(try cursors.last.value(table, 1) == [1])
        let error = #expect(throws: LMDBError.self) { cursors.add(try environment.beginRead()) }
        #expect(error?.code == .readersFull)
        #expect(error?.operation == "begin transaction")
        try environment.write { try $0.put(table, 1, [2]) }
        cursors.removeAll()
        #expect(try environment.beginRead().value(table, 1) == [2])
        #expect(try environment.grow(to: 1 << 31), "none of them is left")
    }

    @Test func `readers see whole commits while a writer commits`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            for number in 0..<100 as Range<UInt64> { try transaction.put(table, number, [0]) }
        }
        try DedicatedThread.concurrently(5) { thread in
            if thread == 0 {
                for round in 1...200 as ClosedRange<UInt8> {
                    try environment.write { transaction in
                        for number in 0..<100 as Range<UInt64> {
                            try transaction.put(table, number, [round])
                        }
                    }
                }
                return
            }
            var last: UInt8 = 0
            for _ in 0..<200 {
                let values = Set(try environment.beginRead().entries(table).map { $0[1][0] })
                #expect(values.count == 1, "a commit was seen in part: \(values)")
                let value = values.first ?? 0
                #expect(value >= last, "an older commit than before")
                last = value
            }
        }
        #expect(try environment.beginRead().value(table, 99) == [200])
    }

    @Test func `writers on several threads take turns`() throws {
        let (environment, table) = try scratch.openTable()
        try environment.write { try $0.put(table, 0, [0, 0]) }
        try DedicatedThread.concurrently(4) { _ in
            for _ in 0..<100 {
                try environment.write { transaction in
                    let old = try transaction.value(table, 0)!
                    let number = (Int(old[0]) << 8 | Int(old[1])) + 1
                    try transaction.put(table, 0, [UInt8(number >> 8), UInt8(number & 255)])
                }
            }
        }
        #expect(try environment.beginRead().value(table, 0) == [1, 144])
    }
}

/// Read transactions can't be copied, so an array can't hold them.
private struct Readers {
    private final class Box {
        let transaction: ReadTransaction
        init(_ transaction: consuming ReadTransaction) { self.transaction = transaction }
    }

    private var boxes: [Box] = []

    mutating func add(_ transaction: consuming ReadTransaction) { boxes.append(Box(transaction)) }
    mutating func removeAll() { boxes.removeAll() }

    var last: ReadTransaction {
        _read { yield boxes[boxes.count - 1].transaction }
    }
}
