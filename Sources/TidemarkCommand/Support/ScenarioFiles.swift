// Scenario files: found in folders, read, written.

internal import HostFiles
internal import Scenarios

enum ScenarioFiles {
    /// Volumes of scenarios live for milliseconds: in memory where the system offers that.
    static var temporaryDirectory: String { isDirectory("/dev/shm") ? "/dev/shm" : "/tmp" }

    /// The files among `paths`, and those in the folders among them, in the order of names.
    static func find(_ paths: [String]) throws -> [String] {
        try paths.flatMap { path in
            let found: [String]?
            do throws(HostError) {
                found = try HostFile.files(below: path, endingIn: ".yaml")
            } catch {
                throw CommandFailure("\(path): \(error)")
            }
            guard let found else { return [path] }
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
        (try? HostFile.directory(path: path)) != nil
    }

    static func read(_ path: String) throws -> Scenario {
        let bytes: [UInt8]
        do throws(HostError) {
            bytes = try HostFile.contents(path: path)
        } catch {
            throw CommandFailure("\(path): it can't be read: \(error.reason)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw CommandFailure("\(path): it is not UTF-8, so it is no scenario")
        }
        return try ScenarioReader.read(text, file: path)
    }

    static func write(_ text: String, to path: String) throws {
        do throws(HostError) {
            var file = try TextFile(path: path)
            try file.append(text)
            try file.close()
        } catch {
            throw CommandFailure("\(path): it can't be written: \(error.reason)")
        }
    }
}
