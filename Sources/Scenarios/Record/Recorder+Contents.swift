// The first contents of a recording: operations that make what a volume holds, with the same
// inode numbers.
//
// The inodes are made in the order of their numbers, the numbers that are free included. One
// whose directory has a higher number, and does not exist yet, is made in the root, under
// another name, and moved when all directories are there. At the end those that only took a
// number are removed: it is free again.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat

extension Recorder {
    /// - Throws: `RecordError.unsuitable`.
    static func contents(of volume: Volume) throws -> [Operation] {
        guard volume.geometry.blockSize == TreeLayout.blockSize else {
            throw RecordError.unsuitable(
                "\(volume.path) has blocks of \(volume.geometry.blockSize) bytes")
        }
        let snapshot = try volume.read()
        let statistics = try snapshot.statistics()
        guard statistics.counters.nextInode < UInt64(maximumSetup) else {
            throw RecordError.unsuitable(
                "\(volume.path) has had \(statistics.counters.nextInode - 1) inodes")
        }
        var contents = Contents(
            try VolumePrimaries(snapshot), nextInode: statistics.counters.nextInode)
        try contents.make()
        guard contents.operations.count <= maximumSetup else {
            throw RecordError.unsuitable(
                "\(volume.path) takes \(contents.operations.count) operations to make")
        }
        return contents.operations
    }
}

/// The name as a scenario has it; nil where a scenario can't.
func scenarioName(_ name: [UInt8]) -> String? {
    guard let text = String(validating: name, as: UTF8.self),
        text.unicodeScalars.allSatisfy({ $0.value >= 0x20 && $0.value != 0x7f })
    else { return nil }
    return text
}

private struct Contents {
    private let primaries: VolumePrimaries
    private let nextInode: InodeNumber
    private let names: [InodeNumber: [DirentRecord]]
    private let extents: [InodeNumber: [ExtentRecord]]
    /// What no name in the root begins with.
    private let prefix: String
    var operations: [Operation] = []
    /// Names that the inodes were not made with.
    private var links: [(inode: InodeNumber, name: DirentRecord)] = []
    private var moves: [(from: Path, to: DirentRecord)] = []
    private var fillers: [Path] = []

    init(_ primaries: VolumePrimaries, nextInode: InodeNumber) {
        self.primaries = primaries
        self.nextInode = nextInode
        names = Dictionary(grouping: primaries.names, by: \.target.child)
        extents = Dictionary(grouping: primaries.extents, by: \.inode)
        var prefix = "recorded-"
        while primaries.names.contains(where: { $0.name.starts(with: prefix.utf8) }) {
            prefix += "-"
        }
        self.prefix = prefix
    }

    mutating func make() throws {
        for inode in 2..<max(2, nextInode) { try make(inode) }
        for move in moves { operations.append(.rename(.move, move.from, try path(move.to))) }
        for link in links {
            operations.append(.link(Path(base: link.inode, names: []), try path(link.name)))
        }
        for filler in fillers { operations.append(.unlink(filler)) }
        for (inode, record) in primaries.inodes.sorted(by: { $0.key < $1.key }) {
            give(inode, record)
            try map(inode, record)
        }
    }

    private func path(_ name: DirentRecord) throws -> Path {
        guard let text = scenarioName(name.name) else {
            throw RecordError.unsuitable(
                "the name \"\(escapedName(name.name))\" in directory \(name.directory)")
        }
        return Path(base: name.directory, names: [text])
    }

    private mutating func make(_ inode: InodeNumber) throws {
        let temporary = Path(names: ["\(prefix)\(inode)"])
        guard let record = primaries.inodes[inode] else {
            fillers.append(temporary)
            operations.append(.make(.create, temporary))
            return
        }
        let making: Operation.Making =
            switch record.type {
            case .regular: .create
            case .directory: .mkdir
            case .symlink: .symlink
            case .fifo: .fifo
            default: throw RecordError.unsuitable("inode \(inode), a \(record.type)")
            }
        let all = names[inode] ?? []
        guard !all.isEmpty else {
            throw RecordError.unsuitable("inode \(inode), without a name and not reclaimed")
        }
        // Directories are made before what has a higher number.
        let place = all.firstIndex { $0.directory < inode }
        if let place {
            operations.append(.make(making, try path(all[place])))
        } else {
            operations.append(.make(making, temporary))
            moves.append((temporary, all[0]))
        }
        for (number, name) in all.enumerated() where number != place ?? 0 {
            links.append((inode, name))
        }
    }

    /// Whose it is, where that is anybody.
    private mutating func give(_ inode: InodeNumber, _ record: InodeRecord) {
        guard (record.uid, record.gid, record.project) != (0, 0, 0) else { return }
        operations.append(
            .chown(
                Path(base: inode, names: []), uid: record.uid, gid: record.gid,
                project: record.project))
    }

    private mutating func map(_ inode: InodeNumber, _ record: InodeRecord) throws {
        guard record.type == .regular else { return }
        let path = Path(base: inode, names: [])
        let blockSize = UInt64(TreeLayout.blockSize)
        let end = (record.size + blockSize - 1) / blockSize
        var mapped: UInt64 = 0
        for extent in extents[inode] ?? [] where extent.fork == .data {
            guard extent.offsetEnd <= end else {
                throw RecordError.unsuitable("inode \(inode), with blocks behind its end")
            }
            operations.append(
                .map(
                    extent.state == .written ? .write : .allocate, path, offset: extent.offset,
                    length: UInt64(extent.length)))
            mapped = extent.offsetEnd
        }
        if end > mapped { operations.append(.truncate(path, end)) }
    }
}
