// Directories by their names: exactly one, in the directory that they take for their
// parent, and none that leads back to itself.

internal import VolumeFormat

extension NamePass {
    mutating func judgeDirectory(
        _ names: [Name], _ range: Range<Int>, _ record: InodeRecord
    ) {
        let first = names[range.lowerBound]
        let allowed = first.child == .root ? 0 : 1
        if range.count > allowed {
            directoryDefect(
                .directoryNames, first.child, "\(range.count) names", "\(allowed) names")
        }
        if record.links == 0, first.child != .root {
            directoryDefect(.linkCount, first.child, "0 links", "2 links or more")
        }
        guard first.child != .root else { return }
        var isParent = false
        for index in range where names[index].parent == record.parent { isParent = true }
        if !isParent {
            directoryDefect(
                .directoryParent, first.child, "parent \(record.parent)",
                "parent \(first.parent)")
        }
        links.append(Link(directory: first.child, parent: first.parent))
    }

    /// Follows every directory's names upwards. Each directory is passed once: a walk ends
    /// at the root, at a directory without a name, or where an earlier walk has been.
    func judgeLoops() {
        // The number of the walk that came by; 0: none.
        var walks = [UInt32](repeating: 0, count: links.count)
        for start in links.indices where walks[start] == 0 {
            let walk = UInt32(truncatingIfNeeded: start &+ 1)
            var place = start
            while walks[place] == 0 {
                walks[place] = walk
                guard let parent = position(of: links[place].parent) else { break }
                place = parent
                if walks[place] == walk { reportLoop(through: place) }
            }
        }
    }

    private func reportLoop(through start: Int) {
        var place = start
        repeat {
            let link = links[place]
            directoryDefect(
                .directoryLoop, link.directory, "parent \(link.parent)", "a way to the root")
            guard let parent = position(of: link.parent) else { return }
            place = parent
        } while place != start
    }

    /// Binary search; nil for the root and for what has no name.
    private func position(of directory: InodeNumber) -> Int? {
        var low = 0, high = links.count
        while low < high {
            let middle = (low + high) / 2
            if links[middle].directory < directory { low = middle + 1 } else { high = middle }
        }
        return low < links.count && links[low].directory == directory ? low : nil
    }

    private func directoryDefect(
        _ kind: PrimaryDefect, _ directory: InodeNumber, _ found: String, _ expected: String
    ) {
        findings.defect(
            kind, in: TableName.inodes, key: [.init("inode", directory)], found: found,
            expected: expected)
    }
}
