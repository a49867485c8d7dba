// What is left of a process that liblmdb leads into a damaged page.

import Bytes
import Foundation
import LMDB
import TestSupport
import Testing

@Suite(.temporaryDirectory) struct FailStopTests {
    /// A file of a few hundred pages, closed.
    private static func make() throws -> Scratch {
        let scratch = try Scratch()
        let (environment, table) = try scratch.openTable()
        try environment.write { transaction in
            for number: UInt64 in 0..<2000 {
                try transaction.put(table, number, [UInt8](repeating: 1, count: 200))
            }
        }
        return scratch
    }

    private static func walk(_ path: String) throws {
        FailStop.install(message: "what to do next\n")
        let environment = try Environment(path: path, options: .init(isReadOnly: true))
        let table = try environment.table("t", create: false)!
        let file = FileHandle(forWritingAtPath: path)!
        try damage(file)
        let transaction = try environment.beginRead()
        var cursor = try transaction.cursor(table)
        while try cursor.next() {}
        exit(0)
    }

    nonisolated(unsafe) private static var damage: (FileHandle) throws -> Void = { _ in }

    @Test func `an assert of liblmdb ends with the message and a status of its own`()
        async throws
    {
        let scratch = try Self.make()
        let result = await #expect(
            processExitsWith: .exitCode(4), observing: [\.standardErrorContent]
        ) { [path = scratch.path as String] in
            // Leaf pages of zeroes, from the tenth on.
            FailStopTests.damage = { file in
                for page: UInt64 in 10..<60 {
                    try file.seek(toOffset: page * 4096)
                    try file.write(contentsOf: Data(count: 4096))
                }
            }
            try FailStopTests.walk(path)
        }
        let words = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(words == "what to do next\n")
    }

    @Test func `a fault of the program's own is not told as one of metadata`() async throws {
        let result = await #expect(
            processExitsWith: .failure, observing: [\.exitStatus, \.standardErrorContent]
        ) {
            FailStop.install(message: "what to do next\n")
            UnsafeMutablePointer<Int>(bitPattern: 64)!.pointee = 1
            exit(0)
        }
        let words = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(!words.contains("what to do next"))
        #expect(result?.exitStatus == .signal(SIGSEGV))
    }

    @Test func `a page beyond the end of the file ends with the message too`() async throws {
        let scratch = try Self.make()
        let result = await #expect(
            processExitsWith: .exitCode(4), observing: [\.standardErrorContent]
        ) { [path = scratch.path as String] in
            FailStopTests.damage = { try $0.truncate(atOffset: 12 * 4096) }
            try FailStopTests.walk(path)
        }
        let words = String(decoding: result?.standardErrorContent ?? [], as: UTF8.self)
        #expect(words == "what to do next\n")
    }
}
