// Filesystems that a test mounts for itself, where the machine lets it.

import Foundation
import Testing

@testable import LinuxFilesystem

/// What a test needs of the machine: root, loop devices, the filesystem in the kernel, mkfs.
enum LiveMachine {
    /// nil where the filesystem can be mounted here, else why it can't.
    static func obstacle(_ type: String) -> Comment? {
        if geteuid() != 0 { return "needs root to mount" }
        if access("/dev/loop-control", W_OK) != 0 { return "needs loop devices" }
        let known = (try? String(contentsOfFile: "/proc/filesystems", encoding: .utf8)) ?? ""
        if !known.split(separator: "\n").contains(where: { $0.hasSuffix("\t\(type)") }) {
            return "the kernel has no \(type)"
        }
        let tools = ["mkfs.\(type)", "mount", "umount", "zstd"].filter { path($0) == nil }
        return tools.isEmpty ? nil : "needs \(tools.joined(separator: ", "))"
    }

    static let xfs = obstacle("xfs")
    static let ext4 = obstacle("ext4")
    /// Whether the kernel lets this process have an instance of its tracer.
    static let canTrace: Bool = xfs == nil && (try? TraceSystem())?.has(.xfs) == true

    static func path(_ tool: String) -> String? {
        ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map { "\($0)/\(tool)" }
            .first { access($0, X_OK) == 0 }
    }

    static func run(_ tool: String, _ arguments: [String]) throws {
        _ = try output(of: tool, arguments)
    }

    /// What the tool says, errors too.
    static func output(of tool: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try #require(path(tool)))
        process.arguments = arguments
        let said = Pipe()
        process.standardOutput = said
        process.standardError = said
        try process.run()
        let text = said.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw ToolFailure(
                tool: tool, arguments: arguments, said: String(decoding: text, as: UTF8.self))
        }
        return String(decoding: text, as: UTF8.self)
    }

    struct ToolFailure: Error { let tool: String, arguments: [String], said: String }

    static var fixtures: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("Fixtures")
    }

    /// Mounts an image in a directory of its own, and takes all away again behind `body`.
    /// - Parameters:
    ///   - options: of the mount, besides its own.
    ///   - fill: makes files in it first; then it is unmounted once.
    ///   - damage: is given the image, before it is mounted for `body`.
    static func withMounted<R>(
        _ image: Image, options: String? = nil, fill: ((String) throws -> Void)? = nil,
        damage: ((String) throws -> Void)? = nil, _ body: (String) throws -> R
    ) throws -> R {
        let place = FileManager.default.temporaryDirectory
            .appendingPathComponent("tidemark-live-\(UUID().uuidString)")
        let file = place.appendingPathComponent("image").path
        let point = place.appendingPathComponent("mounted").path
        try FileManager.default.createDirectory(
            atPath: point, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: place) }
        switch image {
        case .made(let type, let megabytes, let options):
            try Data().write(to: URL(fileURLWithPath: file))
            try #require(truncate(file, megabytes << 20) == 0)
            try run("mkfs.\(type)", ["-q"] + options + [file])
        case .kept(let name):
            try run(
                "zstd", ["-q", "-d", fixtures.appendingPathComponent(name).path, "-o", file])
        }
        if let fill {
            try run("mount", ["-o", image.mountOptions, file, point])
            do {
                defer { try? run("umount", [point]) }
                try fill(point)
            }
        }
        try damage?(file)
        let options = [image.mountOptions, options].compactMap { $0 }.joined(separator: ",")
        try run("mount", ["-o", options, file, point])
        defer { try? run("umount", [point]) }
        return try body(point)
    }

    enum Image {
        case made(String, megabytes: Int, [String])
        case kept(String)

        static let xfs = Image.made("xfs", megabytes: 320, ["-m", "rmapbt=1,reflink=1"])
        static let ext4 = Image.made("ext4", megabytes: 64, ["-b", "4096"])
        static let clean = Image.kept("xfs-parent-clean.img.zst")
        static let damaged = Image.kept("xfs-parent-damaged.img.zst")

        var mountOptions: String {
            // The two kept images have one identity, and tests run beside each other.
            if case .kept = self { "loop,nouuid" } else { "loop" }
        }
    }
}
