// The control socket: what is asked is done, and no client can do harm.

import Bytes
import Foundation
import Synchronization
import TestSupport
import Testing
import Threads

@testable import Control

private let echo = ControlVerb<String, String>("echo")
private let slow = ControlVerb<Nothing, Nothing>("slow")
private let refuse = ControlVerb<Nothing, Nothing>("refuse")
private let large = ControlVerb<Int, String>("large")

extension ControlServer.Limits {
    /// Whatever the machine does beside: nobody is late.
    fileprivate static var patient: Self {
        var limits = Self()
        limits.idle = patience
        limits.line = patience
        limits.part = patience
        return limits
    }
}

/// A server in a folder of its own.
private final class Served {
    let folder: String
    let server: ControlServer
    let calls: Calls

    final class Calls: Sendable {
        let count = Atomic<Int>(0)
        /// A slow one has begun; it ends when it is let go.
        let hasBegun = Gate(), mayEnd = Gate(), hasEnded = Gate()
    }

    var isClosed = false

    init(folder name: String? = nil, limits: ControlServer.Limits = .patient) throws {
        folder = try name ?? temporaryDirectory()
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        let calls = Calls()
        self.calls = calls
        var table = ControlTable()
        table.add(echo) { text, peer in
            calls.count.add(1, ordering: .relaxed)
            return "\(text) from \(peer.user)"
        }
        table.add(slow) { _, _ in
            calls.hasBegun.open()
            try calls.mayEnd.wait()
            calls.hasEnded.open()
            return Nothing()
        }
        table.add(refuse) { _, _ in throw ControlRefusal("no", "it is not to be; ask another") }
        table.add(large) { count, _ in String(repeating: "x", count: count) }
        server = try ControlServer(folder: folder, table: table, limits: limits)
    }

    func close() {
        if !isClosed { server.close() }
        isClosed = true
    }

    deinit { close() }

    func ask(_ text: String = "hello") throws -> String {
        var client = try ControlClient(folder: folder, patience: patience)
        return try client.ask(echo, text)
    }

    /// A connection that says what it likes.
    func raw() throws -> Connection {
        Connection(descriptor: try connectSocket(try SocketFolder(path: folder), "control.sock"))
    }
}

// One after the other: some count threads.
@Suite(.serialized, .temporaryDirectory) struct ControlTests {
    @Test func `a request is answered, and another one on the same connection`() throws {
        let served = try Served()
        var client = try ControlClient(folder: served.folder, patience: patience)
        for word in ["one", "two", "line\nbreak \"quoted\" \u{1}"] {
            #expect(try client.ask(echo, word) == "\(word) from \(geteuid())")
        }
    }

    @Test func `the socket is open to its owner alone and gone after the end`() throws {
        let folder = try temporaryDirectory()
        let path = folder + "/control.sock"
        var status = stat()
        do {
            let served = try Served(folder: folder)
            #expect(lstat(path, &status) == 0)
            #expect(status.st_mode & 0o777 == 0o600)
            #expect(status.st_mode & S_IFMT == S_IFSOCK)
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 1)
            _ = try served.ask()
        }
        #expect(lstat(path, &status) != 0)
    }

    @Test func `a volume with a path longer than a socket's name can be served`() throws {
        let base = try temporaryDirectory()
        let long =
            base + "/" + String(repeating: "d", count: 200) + "/"
            + String(repeating: "e", count: 200)
        let served = try Served(folder: long)
        #expect(try served.ask("far") == "far from \(geteuid())")
    }

    @Test func `a socket that a dead process has left is replaced`() throws {
        let folder = try temporaryDirectory()
        let listener = try makeSocket(folder)
        let left = try SocketFolder(path: folder)
        var address = left.address("control.sock")
        let code = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(code == 0)
        close(listener)
        #expect(throws: ControlError.notServed(folder)) { _ = try ControlClient(folder: folder) }
        let served = try Served(folder: folder)
        #expect(try served.ask() == "hello from \(geteuid())")
    }

    @Test func `a second server is refused, and the first goes on`() throws {
        let served = try Served()
        #expect(throws: ControlError.served(served.folder)) { try Served(folder: served.folder) }
        #expect(try served.ask() == "hello from \(geteuid())")
    }

    @Test func `what is no socket is left alone and said`() throws {
        let folder = try temporaryDirectory()
        let path = folder + "/control.sock"
        try Data("precious".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: ControlError.inTheWay(path)) {
            _ = try ControlServer(folder: folder, table: ControlTable())
        }
        #expect(throws: ControlError.inTheWay(path)) {
            _ = try ControlClient(folder: folder, patience: patience)
        }
        #expect(FileManager.default.contents(atPath: path) == Data("precious".utf8))
    }

    @Test func `nobody there, no folder and no permission are told apart`() throws {
        let folder = try temporaryDirectory()
        #expect(throws: ControlError.notServed(folder)) { _ = try ControlClient(folder: folder) }
        #expect {
            _ = try ControlClient(folder: folder + "/none")
        } throws: { error in
            guard case .system("open", _, ENOENT) = error as? ControlError else { return false }
            return "\(error)".contains("No such file")
        }
    }

    @Test func `a refusal carries its words, and an unknown verb names those that are known`()
        throws
    {
        let served = try Served()
        var client = try ControlClient(folder: served.folder, patience: patience)
        #expect {
            try client.ask(refuse, Nothing())
        } throws: { "\($0)".contains("it is not to be; ask another") }
        #expect {
            try client.ask(ControlVerb<Nothing, Nothing>("dance"), Nothing())
        } throws: { "\($0)".contains("no verb dance here, but echo, large, refuse, slow") }
        #expect {
            try client.ask(ControlVerb<Int, String>("echo"), 5)
        } throws: { error in
            guard case .refused(code: "badArgument", _) = error as? ControlError else {
                return false
            }
            return true
        }
        #expect(try client.ask(echo, "still") == "still from \(geteuid())")
    }

    @Test func `an answer of a megabyte arrives whole`() throws {
        let served = try Served()
        var client = try ControlClient(folder: served.folder, patience: patience)
        #expect(try client.ask(large, 1 << 20).count == 1 << 20)
    }

    @Test(arguments: 0..<200)
    func `rubbish is answered with an error, and hurts nobody else`(seed: Int) throws {
        let served = try Served()
        var random = SplitMix64(seed: UInt64(seed))
        let samples: [[UInt8]] = [
            Array("{}".utf8), Array("null".utf8), [], Array("{\"version\":1}".utf8),
            Array("{\"version\":99,\"verb\":\"echo\"}".utf8),
            Array("{\"version\":1,\"verb\":7}".utf8),
            Array("{\"version\":1e99,\"verb\":\"echo\",\"argument\":\"a\"}".utf8),
            Array("{\"version\":1,\"verb\":\"echo\"}".utf8),
            Array(repeating: UInt8(ascii: "["), count: 60_000), Array("GET / HTTP/1.1\r".utf8),
        ]
        var line =
            seed < samples.count
            ? samples[seed]
            : (0..<(random.next() % 300)).map { _ in UInt8(truncatingIfNeeded: random.next()) }
        line.removeAll { $0 == Wire.newline }
        var connection = try served.raw()
        try connection.send(line + [Wire.newline], within: patience)
        let answer = try connection.line(atMost: 1 << 20, first: patience, whole: patience)
        let response = try decode(Response<Nothing>.self, answer)
        #expect(response.error?.message.isEmpty == false, "SEED=\(seed)")
        // The same connection is still good, and so is a new one.
        try connection.send(
            try encode(Request(verb: "echo", argument: "a")), within: patience)
        let good = try connection.line(atMost: 1 << 20, first: patience, whole: patience)
        #expect(try decode(Response<String>.self, good).answer == "a from \(geteuid())")
        #expect(try served.ask("b") == "b from \(geteuid())")
    }

    @Test func `a line without an end is cut off at its bound`() throws {
        let served = try Served()
        var connection = try served.raw()
        let part = [UInt8](repeating: UInt8(ascii: "x"), count: 8192)
        var sent = 0
        // The server hangs up; until then it takes no more than its buffers.
        while sent < 4 << 20, (try? connection.send(part, within: 1)) != nil { sent += part.count }
        #expect(sent < 1 << 20)
        _ = try? connection.line(atMost: 1 << 20, first: 1, whole: 1)
        #expect(try served.ask() == "hello from \(geteuid())")
    }

    @Test func `a client that is silent, or stops in the middle, is left after its time`() throws {
        var limits = ControlServer.Limits.patient
        limits.idle = 0.2
        limits.line = 0.2
        let served = try Served(limits: limits)
        var silent = try served.raw(), halved = try served.raw()
        try halved.send(Array("{\"version\":".utf8), within: 1)
        #expect(try served.ask() == "hello from \(geteuid())")
        #expect(throws: Connection.Failure.ended) {
            try silent.line(atMost: 100, first: patience, whole: patience)
        }
        #expect(throws: Connection.Failure.ended) {
            try halved.line(atMost: 100, first: patience, whole: patience)
        }
        #expect(try served.ask() == "hello from \(geteuid())")
    }

    @Test func `a client that reads nothing does not hold up the others`() throws {
        var limits = ControlServer.Limits.patient
        limits.line = 0.3
        let served = try Served(limits: limits)
        let deaf = try served.raw()
        // An answer that no buffer holds.
        try deaf.send(try encode(Request(verb: "large", argument: 8 << 20)), within: 1)
        for _ in 0..<20 { #expect(try served.ask() == "hello from \(geteuid())") }
    }

    @Test func `clients that vanish at any point leave no thread behind`() throws {
        let served = try Served()
        for number in 0..<200 {
            let connection = try served.raw()
            let request = try encode(Request(verb: "echo", argument: "a"))
            try? connection.send(Array(request.prefix(number % (request.count + 1))), within: 1)
        }
        // Until the server has noticed that they are gone it may have no place for another.
        try until { (try? served.ask()) != nil }
        #expect(try served.ask() == "hello from \(geteuid())")
        try until { clientThreads() <= 1 }
    }

    @Test func `many clients are served at a time, and too many are sent away in words`() throws {
        var limits = ControlServer.Limits.patient
        limits.clients = 4
        let served = try Served(limits: limits)
        var held: [Held] = []
        for _ in 0..<4 {
            held.append(Held(try ControlClient(folder: served.folder, patience: patience)))
        }
        // Each has its thread once it was answered.
        for client in held { #expect(try client.ask("x") == "x from \(geteuid())") }
        #expect { try served.ask() } throws: { "\($0)".contains("4 clients are connected already") }
        held.removeAll()
        try until { (try? served.ask()) != nil }
        #expect(try served.ask() == "hello from \(geteuid())")
    }

    @Test func `threads that ask at the same time all get their own answers`() throws {
        let served = try Served()
        let folder = served.folder
        let wrong = Atomic<Int>(0)
        let threads = (0..<8).map { number in
            DedicatedThread(name: "asker") {
                for turn in 0..<50 {
                    guard var client = try? ControlClient(folder: folder, patience: patience),
                        let answer = try? client.ask(echo, "\(number).\(turn)"),
                        answer == "\(number).\(turn) from \(geteuid())"
                    else {
                        wrong.add(1, ordering: .relaxed)
                        continue
                    }
                }
            }
        }
        for thread in threads { thread.join() }
        #expect(wrong.load(ordering: .relaxed) == 0)
        #expect(served.calls.count.load(ordering: .relaxed) == 400)
    }

    @Test func `a server that does not answer is not waited for`() throws {
        let folder = try temporaryDirectory()
        let place = try SocketFolder(path: folder)
        let listener = try makeSocket(folder)
        defer { close(listener) }
        var address = place.address("control.sock")
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        #expect(listen(listener, 4) == 0)
        // Without its patience it would wait for ever.
        let asking = ThreadTask {
            var client = try ControlClient(folder: folder, patience: 0.2)
            return try client.ask(echo, "anybody?")
        }
        #expect(throws: ControlError.stalled(folder)) { try asking.value() }
    }

    @Test func `the end waits for requests that are being answered`() throws {
        let served = try Served()
        let folder = served.folder
        let asking = ThreadTask("asker") {
            var client = try ControlClient(folder: folder, patience: patience)
            return try client.ask(slow, Nothing())
        }
        try served.calls.hasBegun.wait()
        let server = served.server
        let closing = ThreadTask { server.close() }
        try until { server.isStopping }
        #expect(!closing.isEnded)
        served.calls.mayEnd.open()
        try closing.value()
        served.isClosed = true
        #expect(served.calls.hasEnded.isOpen)
        _ = try? asking.value()
        // The threads have answered, and are about to end.
        try until { clientThreads() == 0 }
    }
}

/// A client that can be kept in an array.
private final class Held {
    private var client: ControlClient
    init(_ client: consuming ControlClient) { self.client = client }
    func ask(_ text: String) throws -> String { try client.ask(echo, text) }
}

/// Threads of this process that serve a client: proc(5).
private func clientThreads() -> Int {
    let tasks = (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/task")) ?? []
    return tasks.count {
        let name = FileManager.default.contents(atPath: "/proc/self/task/\($0)/comm")
        return name.map { String(decoding: $0, as: UTF8.self) } == "control-client\n"
    }
}
