// Files of a stage: made, copied as a crash leaves them, and removed.

internal import FoundationEssentials
#if canImport(Glibc)
internal import Glibc
#endif

/// A directory that nobody else uses, in `parent`, which is made where it does not exist.
final class StageDirectory {
    let path: String
    private let parent: String
    private let isParentOurs: Bool

    init(in parent: String) throws {
        self.parent = parent
        path = "\(parent)/stage-\(UUID().uuidString)"
        isParentOurs = !FileManager.default.fileExists(atPath: parent)
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true)
        } catch {
            throw NoPlace(description: "\(parent): no directory can be made there; name another")
        }
    }

    /// Why there is no stage.
    private struct NoPlace: Error, CustomStringConvertible {
        let description: String
    }

    /// Removes it with all that is in it, and the parent where that was made for it and holds
    /// nothing else.
    func remove() {
        removeTree(path)
        if isParentOurs { rmdir(parent) }
    }
}

/// Failing is no harm: what is left lies in a temporary directory.
func removeTree(_ path: String) { try? FileManager.default.removeItem(atPath: path) }

func copyFile(_ from: String, to: String) throws {
    try FileManager.default.copyItem(atPath: from, toPath: to)
}

/// Copies a volume that is open, as the files are: what a crash leaves of it. The data area,
/// which is large and which no scenario writes to, is shared.
func copyVolume(_ from: String, to: String) throws {
    try FileManager.default.createDirectory(
        atPath: to + "/runs", withIntermediateDirectories: true)
    for name in ["meta.mdb", "durable"] { try copyFile("\(from)/\(name)", to: "\(to)/\(name)") }
    for name in try FileManager.default.contentsOfDirectory(atPath: from + "/runs")
    where !name.hasSuffix("-lock") {
        try copyFile("\(from)/runs/\(name)", to: "\(to)/runs/\(name)")
    }
    try FileManager.default.linkItem(atPath: from + "/data", toPath: to + "/data")
}

/// Leaves nothing in the file.
func truncateFile(_ path: String) throws {
    try FileManager.default.removeItem(atPath: path)
    guard FileManager.default.createFile(atPath: path, contents: nil) else {
        throw StageError.refused("\(path) can't be written")
    }
}
