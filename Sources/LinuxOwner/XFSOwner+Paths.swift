// Paths of inodes, as the directories have them. They are looked for when something is found: one
// pass over all directories finds the names of all inodes that are asked for, and the way to the
// root goes through `..`.

internal import Bytes
internal import LinuxFilesystem
internal import Tidemark

extension XFSOwner {
    /// Paths that one inode is given at the most.
    private static let limit = 64

    /// The paths of `inodes`, from the root of the filesystem. An inode without a name has none.
    package func paths(of inodes: Set<UInt64>) throws -> [UInt64: [String]] {
        guard !inodes.isEmpty else { return [:] }
        return try reading { readers in
            var names: [UInt64: [(directory: InodeStatus, name: String)]] = [:]
            var root: UInt64?
            var next: UInt64 = 0
            while try xfs.readInodes(from: next, into: readers.inodes) {
                for inode in readers.inodes.inodes {
                    next = inode.inode + 1
                    guard inode.kind == .directory else { continue }
                    try forEachEntry(of: inode, readers) { child, name in
                        if isDots(name) {
                            // The root is its own parent, and comes first.
                            if child == inode.inode, name.byteCount == 2 { root = inode.inode }
                        } else if inodes.contains(child),
                            names[child, default: []].count < XFSOwner.limit
                        {
                            names[child, default: []].append((inode, escapedName(name)))
                        }
                    }
                }
            }
            var known: [UInt64: String] = [:]
            if let root { known[root] = "" }
            var paths: [UInt64: [String]] = [:]
            for (inode, found) in names {
                for (directory, name) in found {
                    guard let place = try path(of: directory, &known, readers) else { continue }
                    paths[inode, default: []].append("\(place)/\(name)")
                }
                paths[inode]?.sort()
            }
            if let root, inodes.contains(root) { paths[root] = ["/"] }
            return paths
        }
    }

    /// The inode number of the root directory: the one that is its own parent.
    package func rootInode() throws -> UInt64 {
        try reading { readers in
            var current = xfs.mount.root.inode
            for _ in 0..<4096 {
                guard let status = try xfs.status(of: current, using: readers.one) else { break }
                var above: UInt64?
                try forEachEntry(of: status, readers) { child, name in
                    if name.byteCount == 2, isDots(name) { above = child }
                }
                guard let above else { break }
                if above == current { return current }
                current = above
            }
            throw LinuxOwnerError(label, .malformed("the root directory can't be found"))
        }
    }

    /// The path of a directory; "" for the root, nil where it has been moved meanwhile.
    private func path(
        of directory: InodeStatus, _ known: inout [UInt64: String], _ readers: XFSReaders
    ) throws -> String? {
        var chain: [InodeStatus] = []
        var current = directory
        while known[current.inode] == nil {
            guard chain.count < 4096 else { return nil }
            chain.append(current)
            var above: UInt64?
            try forEachEntry(of: current, readers) { child, name in
                if name.byteCount == 2, isDots(name) { above = child }
            }
            guard let above, let status = try xfs.status(of: above, using: readers.one),
                status.kind == .directory
            else { return nil }
            current = status
        }
        guard var path = known[current.inode] else { return nil }
        var parent = current
        for child in chain.reversed() {
            var found: String?
            try forEachEntry(of: parent, readers) { inode, name in
                if inode == child.inode, !isDots(name) { found = escapedName(name) }
            }
            guard let found else { return nil }
            path += "/\(found)"
            known[child.inode] = path
            parent = child
        }
        return path
    }

    private func forEachEntry(
        of directory: InodeStatus, _ readers: XFSReaders,
        _ body: (UInt64, RawSpan) -> Void
    ) throws {
        do throws(LinuxCallError) {
            guard
                let file = try xfs.open(directory.inode, generation: directory.generation)
            else { return }
            while try readers.directory.read(file, object: "inode \(directory.inode)") {
                readers.directory.forEach { child, _, name in body(child, name) }
            }
        } catch {
            guard error.isDamaged || error.isBusy else { throw error }
            // The paths through it are left out; that it can't be read the check tells.
            try checkAlive()
        }
    }
}
