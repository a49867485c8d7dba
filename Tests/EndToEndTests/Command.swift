// Runs the real command, as a user would.

import Foundation
import Testing

/// What a command printed, and how it ended.
struct Ended {
    let status: Int32
    let output: String
    let errors: String

    /// The one JSON document of standard output.
    func document(_ location: SourceLocation = #_sourceLocation) throws -> Document {
        let value = try JSONSerialization.jsonObject(with: Data(output.utf8))
        let object = try #require(value as? [String: Any], sourceLocation: location)
        return Document(object)
    }

    /// Standard output as JSON lines.
    var lines: [Document] {
        get throws {
            try output.split(separator: "\n").map {
                let value = try JSONSerialization.jsonObject(with: Data($0.utf8))
                return Document(try #require(value as? [String: Any]))
            }
        }
    }
}

/// A JSON object.
struct Document {
    let object: [String: Any]

    init(_ object: [String: Any]) { self.object = object }

    subscript(name: String) -> Document { Document(object[name] as? [String: Any] ?? [:]) }

    func has(_ name: String) -> Bool { object[name] != nil }
    func string(_ name: String) -> String? { object[name] as? String }
    func int(_ name: String) -> Int? { (object[name] as? NSNumber)?.intValue }
    func number(_ name: String) -> Double? { (object[name] as? NSNumber)?.doubleValue }
    func strings(_ name: String) -> [String] { object[name] as? [String] ?? [] }
    func list(_ name: String) -> [Document] {
        (object[name] as? [[String: Any]] ?? []).map(Document.init)
    }

    /// The index of that name, in a report.
    func index(_ name: String) -> Document? { list("indexes").first { $0.string("name") == name } }

    var counts: [String: Int] {
        var counts: [String: Int] = [:]
        for kind in ["missing", "stray", "wrong"] { counts[kind] = int(kind) }
        return counts
    }
}

/// The command beside this test bundle.
let tidemark: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("tidemark")
        .path
}()

/// A command that has been started.
final class Started {
    let number: Int32
    private let outputPath, errorsPath: String
    /// As waitpid(2) gives it.
    private var ending: Int32?

    init(_ executable: String, _ arguments: [String]) throws {
        let base = NSTemporaryDirectory() + "tidemark-output-\(UUID().uuidString)"
        outputPath = base + ".out"
        errorsPath = base + ".err"
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        let flags = O_WRONLY | O_CREAT | O_TRUNC
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, outputPath, flags, 0o666)
        posix_spawn_file_actions_addopen(&actions, 2, errorsPath, flags, 0o666)
        // Threads of a test block signals, those that timeout(1) lives by among them.
        var attributes = posix_spawnattr_t(), none = sigset_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        sigemptyset(&none)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
        var words = ([executable] + arguments).map { strdup($0) } + [nil]
        defer { for word in words { free(word) } }
        var child: pid_t = 0
        let code = posix_spawn(&child, executable, &actions, &attributes, &words, environ)
        guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EIO) }
        number = child
    }

    deinit {
        // Whoever was not waited for is not wanted any more.
        guard ending == nil else { return }
        kill(number, SIGKILL)
        _ = wait()
    }

    var isRunning: Bool {
        var status: Int32 = 0
        if ending == nil, waitpid(number, &status, WNOHANG) == number { ending = status }
        return ending == nil
    }

    func signal(_ signal: Int32) { if isRunning { kill(number, signal) } }

    /// Waits for the end. The status of a process that a signal ended is that of a shell.
    func wait() -> Ended {
        var status: Int32 = 0
        while ending == nil {
            if waitpid(number, &status, 0) == number { ending = status }
        }
        func text(_ path: String) -> String {
            defer { unlink(path) }
            let contents = FileManager.default.contents(atPath: path)
            return String(decoding: contents ?? Data(), as: UTF8.self)
        }
        let ended = ending ?? 0
        let code = ended & 0x7f == 0 ? (ended >> 8) & 0xff : 128 + ended & 0x7f
        return Ended(status: code, output: text(outputPath), errors: text(errorsPath))
    }
}

func run(_ arguments: String...) throws -> Ended { try run(arguments) }

func run(_ arguments: [String]) throws -> Ended { try Started(tidemark, arguments).wait() }

/// Runs a command with `--json` and expects the status.
@discardableResult
func json(
    _ arguments: String..., status: Int32 = 0, location: SourceLocation = #_sourceLocation
) throws -> Document {
    let ended = try run(arguments + ["--json"])
    #expect(
        ended.status == status,
        "\(arguments.joined(separator: " ")): \(ended.errors) \(ended.output)",
        sourceLocation: location)
    let document = try ended.document(location)
    #expect(document.int("schema") == 1, sourceLocation: location)
    #expect(document.string("command") == arguments.first, sourceLocation: location)
    #expect(document.string("target") == arguments.dropFirst().first, sourceLocation: location)
    return document
}

func shell(_ script: String, _ arguments: String...) throws -> Ended {
    try Started("/bin/bash", ["-c", script, "bash"] + arguments).wait()
}

/// Runs `body` with a directory that is removed afterwards, however deep it has become.
func withDirectory<R>(_ body: (String) throws -> R) throws -> R {
    let path = NSTemporaryDirectory() + "tidemark-test-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { _ = try? shell("chmod -R u+rwx \"$1\" 2>/dev/null; rm -rf \"$1\"", path) }
    return try body(path)
}

/// A volume with a small tree in it: directories, files of several sizes, hard links.
func withVolume<R>(files: Int = 600, _ body: (String) throws -> R) throws -> R {
    try withDirectory { directory in
        let tree = directory + "/tree", volume = directory + "/volume"
        let made = try shell(
            """
            set -e
            mkdir -p "$1"; cd "$1"
            for d in 0 1 2 3 4 5; do mkdir d$d d$d/e; done
            for ((i = 0; i < $2; i++)); do truncate -s $((i * 37)) d$((i % 6))/e/file-$i; done
            fallocate -l 64K big 2>/dev/null || dd if=/dev/zero of=big bs=4K count=16 status=none
            for ((i = 0; i < $2; i++)); do printf %s "contents $i" > d$((i % 6))/small-$i; done
            ln d0/small-0 d1/link; ln -s d0/small-0 symlink
            """, tree, "\(files)")
        try #require(made.status == 0, "\(made.errors)")
        try json("create", volume, "--size", "1G")
        try json("import", volume, tree)
        return try body(volume)
    }
}

/// Expects that the witness finds nothing.
func expectVerified(
    _ volume: String, location: SourceLocation = #_sourceLocation
) throws {
    let ended = try run("verify", volume)
    #expect(ended.status == 0, "\(ended.output) \(ended.errors)", sourceLocation: location)
}
