// Each measurement has a process of its own: memory and caches of one don't reach the next.

internal import Foundation

enum Subprocess {
    /// Runs the command and returns what it wrote to its standard output.
    static func run(_ command: [String], input: URL? = nil) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = command
        let output = Pipe()
        let errors = Pipe()
        process.standardOutput = output
        process.standardError = errors
        if let input {
            process.standardInput = try FileHandle(forReadingFrom: input)
        } else {
            process.standardInput = FileHandle.nullDevice
        }
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile()
        let complaint = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationReason == .exit, process.terminationStatus == 0 else {
            let words = String(decoding: complaint, as: UTF8.self)
                .trimmingCharacters(in: .whitespacesAndNewlines)
            throw BenchError(words.isEmpty ? "\(command) ended in failure" : words)
        }
        return String(decoding: data, as: UTF8.self)
    }

    /// Runs this program again for one measurement.
    static func worker(_ name: String, _ arguments: [String]) throws -> Measures {
        let executable = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let output = try run([executable, "--worker", name] + arguments)
        return try JSONDecoder().decode(Measures.self, from: Data(output.utf8))
    }
}

/// Progress, for people.
func tell(_ text: String) {
    FileHandle.standardError.write(Data((text + "\n").utf8))
}
