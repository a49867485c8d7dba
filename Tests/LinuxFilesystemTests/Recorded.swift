// The answers of a kernel that `Fixtures/record.py` has kept.

import Foundation
import Testing

@testable import LinuxFilesystem

enum Recorded {
    static func bytes(_ name: String) throws -> [UInt8] {
        let place = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures").appendingPathComponent(name)
        return [UInt8](try Data(contentsOf: place))
    }

    static func text(_ name: String) throws -> String {
        String(decoding: try bytes(name), as: UTF8.self)
    }

    /// Names and texts of format files; the first is that of the page header.
    static func formats() throws -> [(name: String, text: String)] {
        try text("formats.txt").split(separator: "\u{c}").map { part in
            let lines = part.split(separator: "\n", maxSplits: 1)
            return (String(lines[0]), String(lines[1]))
        }
    }

    static func decoder() throws -> TraceDecoder {
        let formats = try formats()
        return try TraceDecoder(page: formats[0].text, formats: Array(formats.dropFirst()))
    }

    static func pages() throws -> [[UInt8]] {
        let bytes = try bytes("pages.bin")
        return stride(from: 0, to: bytes.count, by: 4096).map { Array(bytes[$0..<$0 + 4096]) }
    }
}

/// Keeps what it is told, as text.
struct KeepingReceiver: TraceReceiver {
    var lines: [String] = []
    var stamps: [UInt64] = []
    var mappings: [MappingChange] = []
    var blocks: [BlockChange] = []
    var markers: [String] = []

    mutating func mapping(_ change: MappingChange, stamp: UInt64) {
        mappings.append(change)
        stamps.append(stamp)
    }

    mutating func name(_ change: borrowing NameChange, stamp: UInt64) {
        let name = change.name.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        lines.append("\(change.kind) \(name)")
        stamps.append(stamp)
    }

    mutating func blocks(_ change: BlockChange, stamp: UInt64) {
        blocks.append(change)
        stamps.append(stamp)
    }

    mutating func marker(_ text: RawSpan, stamp: UInt64) {
        markers.append(
            text.withUnsafeBytes { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) })
        stamps.append(stamp)
    }
}
