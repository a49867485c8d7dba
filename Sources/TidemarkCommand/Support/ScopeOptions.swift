// `--inode`, `--subtree` and `--blocks`: what a check or a repair is limited to.

internal import ArgumentParser
internal import Tidemark
internal import Volume
internal import VolumeFormat

/// `START[:COUNT]`.
struct BlocksArgument: ExpressibleByArgument {
    let scope: VolumeScope

    init?(argument: String) {
        guard let scope = VolumeScope(blocks: argument) else { return nil }
        self.scope = scope
    }
}

struct ScopeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp(
            "Only what the records of this inode derive: of a file the mappings of its extents, "
                + "of a directory the parent pointers of the names in it.", valueName: "number"))
    var inode: InodeNumber?

    @Option(
        help: ArgumentHelp(
            "Only what the records of this directory of the volume derive, and of all that is "
                + "below it when the run begins.", valueName: "path"))
    var subtree: String?

    @Option(
        help: ArgumentHelp(
            "Only the mappings of these blocks: rmap.", valueName: "start[:count]"))
    var blocks: BlocksArgument?

    func validate() throws {
        let given = [inode != nil, subtree != nil, blocks != nil]
        guard given.filter({ $0 }).count <= 1 else {
            throw ValidationError(
                "--inode, --subtree and --blocks exclude each other: a run has one scope.")
        }
    }

    var scope: VolumeScope? {
        if let inode { return .inode(inode) }
        if let subtree { return .subtree(subtree) }
        return blocks?.scope
    }

    /// A scope goes with some indexes only.
    func validate(with indexes: [IndexName]) throws {
        guard let scope else { return }
        for index in indexes where !scope.indexes.contains(index.slot) {
            let why =
                index.isSummary
                ? "\(index.name) counts records of the whole volume, and can't be limited to a part"
                : "--blocks goes with rmap only: \(index.name) has no blocks"
            throw ValidationError("\(why).")
        }
    }

    /// What the run is about: what was named, or all that it can be about.
    func slots(_ indexes: [IndexName]) -> [IndexSlot] {
        guard let scope, indexes.isEmpty else { return indexes.slots }
        return scope.indexes
    }
}
