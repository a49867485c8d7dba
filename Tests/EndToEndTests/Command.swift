// Runs the real command, as a user would.

import Foundation
import TestSupport
import Testing

extension Ended {
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

func run(_ arguments: String...) throws -> Ended { try run(arguments) }

func run(_ arguments: [String]) throws -> Ended { try Started(tidemark, arguments).wait() }

extension Document {
    /// The process that is at work on the volume, and the runs that it has.
    static func live(_ target: String) throws -> Document { try json("status", target)["live"] }
}

/// Waits until so many runs are at work on a volume.
func untilAtWork(
    _ target: String, _ count: Int = 1, by command: Started? = nil,
    file: StaticString = #fileID, line: UInt = #line
) throws {
    try until("\(count) runs at work", file: file, line: line) {
        if try Document.live(target).list("runs").count == count { return true }
        if let command, !command.isRunning {
            let ended = command.wait()
            throw EndedEarly(description: "\(ended.status): \(ended.output)\(ended.errors)")
        }
        return false
    }
}

/// A command has ended before it was steered.
struct EndedEarly: Error, CustomStringConvertible { let description: String }

/// Runs a command with `--json` and expects the status.
@discardableResult
func json(
    _ arguments: String..., status: Int32 = 0, location: SourceLocation = #_sourceLocation
) throws -> Document {
    let ended = try Started(tidemark, arguments + ["--json"]).wait(location: location)
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
