// Scenario files: found in folders, read, written.

internal import FoundationEssentials
internal import Scenarios

enum ScenarioFiles {
    /// Volumes of scenarios live for milliseconds: in memory where the system offers that.
    static var temporaryDirectory: String { isDirectory("/dev/shm") ? "/dev/shm" : "/tmp" }

    /// The files among `paths`, and those in the folders among them, in the order of names.
    static func find(_ paths: [String]) throws -> [String] {
        try paths.flatMap { path in
            guard isDirectory(path) else { return [path] }
            let found = try FileManager.default.subpathsOfDirectory(atPath: path)
                .filter { $0.hasSuffix(".yaml") }.sorted().map { path + "/" + $0 }
            guard !found.isEmpty else {
                throw CommandFailure("\(path): no file in it ends in .yaml")
            }
            return found
        }
    }

    /// - Throws: where nothing could be written there in the end.
    static func checkFolder(_ path: String) throws {
        guard isDirectory(path) else {
            throw CommandFailure("\(path): it is no directory; name one for --output", .usage)
        }
    }

    private static func isDirectory(_ path: String) -> Bool {
        var isDirectory = false
        return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory)
            && isDirectory
    }

    static func read(_ path: String) throws -> Scenario {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw CommandFailure("\(path): it can't be read; is it there, and readable?")
        }
        guard let text = String(validating: data, as: UTF8.self) else {
            throw CommandFailure("\(path): it is not UTF-8, so it is no scenario")
        }
        return try ScenarioReader.read(text, file: path)
    }

    static func write(_ text: String, to path: String) throws {
        do {
            try Data(text.utf8).write(to: URL(filePath: path))
        } catch {
            throw CommandFailure("\(path): it can't be written: \(error)")
        }
    }
}
