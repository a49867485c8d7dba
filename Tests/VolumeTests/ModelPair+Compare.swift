// Everything that can be seen, compared: inodes, names, contents, attributes, and the
// bookkeeping behind them, which is derived here a second time.

import Bytes
import LMDB
import Tidemark
import VolumeFormat

@testable import Volume

extension ModelPair {
    func compareAll() throws -> [String] {
        var differences: [String] = []
        let snapshot = try small.snapshot()
        let statistics = try snapshot.fileSystemStatistics()
        if Int(statistics.freeBlocks) != model.freeBlocks {
            differences.append("\(statistics.freeBlocks) blocks free, not \(model.freeBlocks)")
        }
        if Int(statistics.inodes) != model.nodes.count {
            differences.append("\(statistics.inodes) inodes, not \(model.nodes.count)")
        }
        for n in 0...model.nextNumber {
            guard let node = model.nodes[n] else {
                if try snapshot.inode(n) != nil { differences.append("inode \(n) is there") }
                continue
            }
            differences += try compare(n, node, snapshot).map { "inode \(n): \($0)" }
        }
        differences += try compareSpace(snapshot)
        differences += try compareIndexes(snapshot)
        return differences
    }

    private func compare(
        _ n: UInt64, _ node: ModelNode, _ snapshot: VolumeSnapshot
    ) throws -> [String] {
        guard let record = try snapshot.inode(n) else { return ["missing"] }
        var expected = InodeRecord(
            type: FileType(rawValue: node.type)!, now: Timestamp(seconds: 0, nanoseconds: 0))
        expected.permissions = node.permissions
        expected.uid = node.uid
        expected.gid = node.gid
        expected.project = node.project
        expected.links = node.links
        expected.generation = node.generation
        expected.size = model.size(node)
        expected.blocks = UInt64(model.blocks(node))
        expected.device = node.device
        expected.parent = node.parent
        expected.accessed = node.accessed.real
        expected.modified = node.modified.real
        expected.changed = node.changed.real
        expected.born = node.born.real
        var differences = record == expected ? [] : ["\(record), not \(expected)"]
        switch node.type {
        case ModelNode.directory:
            var children: [Name: UInt64] = [:]
            for entry in try snapshot.list(n) { children[entry.name] = entry.target?.child }
            if children != node.children { differences.append("children \(children)") }
        case ModelNode.regular:
            let bytes = try volume.read(n, at: 0, node.bytes.count + 100)
            if bytes != node.bytes { differences.append("other contents") }
        case ModelNode.symlink:
            if try snapshot.readlink(n) != node.target { differences.append("other target") }
        default: break
        }
        let names = try snapshot.xattrNames(n)
        if Set(names) != Set(node.xattrs.keys) { differences.append("attributes \(names)") }
        for (name, value) in node.xattrs where try volume.xattr(n, name) != value {
            differences.append("attribute \(name) has another value")
        }
        return differences + (try comparePaths(n, node, snapshot))
    }

    private func comparePaths(
        _ n: UInt64, _ node: ModelNode, _ snapshot: VolumeSnapshot
    ) throws -> [String] {
        let report = try snapshot.paths(of: n)
        guard report.problems.isEmpty else { return ["\(report.problems)"] }
        for path in report.paths where try snapshot.resolve(path) != n {
            return ["path \(path) leads elsewhere"]
        }
        let count = node.type == ModelNode.directory ? min(node.links, 1) : node.links
        return report.paths.count == Int(count) ? [] : ["\(report.paths.count) paths"]
    }

    /// Every block is free or has exactly one owner.
    private func compareSpace(_ snapshot: VolumeSnapshot) throws -> [String] {
        var uses = [Int](repeating: 0, count: model.totalBlocks)
        for extent in try allExtents(snapshot) + volume.geometry.reservedExtents {
            for block in extent.start..<extent.startEnd { uses[Int(block)] += 1 }
        }
        var lengths: [UInt64: UInt64] = [:]
        var cursor = try snapshot.transaction.cursor(volume.core.tables.free)
        var isThere = try cursor.first()
        var previousEnd: UInt64?
        var differences: [String] = []
        while isThere {
            let run = try FreeRecord(key: cursor.key, value: cursor.value)
            lengths[run.start] = run.length
            if run.start == previousEnd { differences.append("free runs side by side") }
            previousEnd = run.end
            for block in run.start..<run.end { uses[Int(block)] += 1 }
            isThere = try cursor.next()
        }
        cursor = try snapshot.transaction.cursor(volume.core.tables.freeByLength)
        isThere = try cursor.first()
        while isThere {
            let run = try FreeRecord(lengthKey: cursor.key, value: cursor.value)
            if lengths.removeValue(forKey: run.start) != run.length {
                differences.append("free run \(run) by its length only")
            }
            isThere = try cursor.next()
        }
        if !lengths.isEmpty { differences.append("free runs by their place only: \(lengths)") }
        for (block, count) in uses.enumerated() where count != 1 {
            differences.append("block \(block) has \(count) uses")
        }
        return differences
    }

    private func allExtents(_ snapshot: VolumeSnapshot) throws -> [ExtentRecord] {
        var extents: [ExtentRecord] = []
        var cursor = try snapshot.transaction.cursor(volume.core.tables.extents)
        var isThere = try cursor.first()
        while isThere {
            let extent = try ExtentRecord(key: cursor.key, value: cursor.value)
            if extent.inode != .volume { extents.append(extent) }
            isThere = try cursor.next()
        }
        return extents
    }

    /// The live indexes are what the primary records derive.
    private func compareIndexes(_ snapshot: VolumeSnapshot) throws -> [String] {
        var rmap: [[UInt8]: [UInt8]] = [:]
        for e in try allExtents(snapshot) + volume.geometry.reservedExtents {
            let key =
                bigEndian(e.start) + bigEndian(e.inode) + [e.fork.rawValue] + bigEndian(e.offset)
            rmap[key] = bigEndian(e.length) + [e.state.rawValue]
        }
        var parents: [[UInt8]: [UInt8]] = [:]
        for (n, node) in model.nodes {
            for (name, child) in node.children {
                parents[bigEndian(child) + bigEndian(n) + name] =
                    bigEndian(model.nodes[child]!.generation)
            }
        }
        var differences: [String] = []
        for (slot, expected) in [
            (VolumeSnapshot.rmapSlot, rmap), (VolumeSnapshot.parentsSlot, parents),
        ] {
            var found: [[UInt8]: [UInt8]] = [:]
            var cursor = try snapshot.transaction.cursor(snapshot.activeTable(of: slot))
            var isThere = try cursor.first()
            while isThere {
                found[cursor.key.array] = try cursor.value.verified(key: cursor.key).array
                isThere = try cursor.next()
            }
            if found != expected { differences.append("index \(slot.rawValue): \(found)") }
        }
        return differences
    }
}

private func bigEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    stride(from: T.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: value >> $0) }
}

extension ModelTime {
    var real: Timestamp { Timestamp(seconds: seconds, nanoseconds: nanoseconds) }
}
