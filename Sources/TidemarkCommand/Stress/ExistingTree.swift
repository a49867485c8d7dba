// What was in the volume before a stress: names that the writers may rename and link.

internal import Bytes
internal import Volume
internal import VolumeFormat

struct ExistingName: Sendable {
    var directory: InodeNumber
    var name: [UInt8]
    let inode: InodeNumber
    let isDirectory: Bool
}

struct ExistingTree: Sendable {
    private(set) var names: [ExistingName] = []
    private(set) var directories: [InodeNumber] = []

    /// Names that are taken at the most, of directories that are chosen at random.
    private static let limit = 20_000
    private static let limitPerDirectory = 1000

    init(_ volume: Volume, leavingOut name: [UInt8], random: inout SplitMix64) throws {
        let snapshot = try volume.read()
        var pending: [InodeNumber] = [.root]
        while names.count < ExistingTree.limit, !pending.isEmpty {
            pending.swapAt(Int.random(in: pending.indices, using: &random), pending.count - 1)
            let directory = pending.removeLast()
            directories.append(directory)
            let entries = try snapshot.list(directory, limit: ExistingTree.limitPerDirectory)
            for entry in entries {
                guard let target = entry.target else { continue }
                if directory == .root, entry.name == name { continue }
                let isDirectory = target.type == .directory
                names.append(
                    ExistingName(
                        directory: directory, name: entry.name, inode: target.child,
                        isDirectory: isDirectory))
                if isDirectory { pending.append(target.child) }
            }
        }
    }
}
