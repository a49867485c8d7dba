// One pass over all inodes of an ext4: who has which cluster, and how many names each inode has.

internal import Bytes
internal import LinuxFilesystem

/// What a pass is to remember singly.
struct Ext4Focus {
    var leaked, lost, doubled: BitSet
    var inodes: Set<UInt32>

    func has(_ cluster: Int) -> Bool { leaked[cluster] || lost[cluster] || doubled[cluster] }
}

/// An owner of a cluster.
struct ClusterClaim: Hashable {
    let cluster: Int
    /// 0: metadata.
    let inode: UInt32
    let what: String
    let logical: UInt64
}

struct NamedInode: Hashable {
    let directory: UInt32
    let name: [UInt8]
    let inode: UInt32
}

/// What an inode of the focus said of itself.
struct LinkState: Equatable {
    var links: UInt16 = 0
    var names: Int = 0
    var isUsed = false
    var isInBitmap = false
    var isDirectory = false
    /// The latest time that its time of change can stand for.
    var changed: Int64 = .max
}

final class Ext4Census {
    let volume: Ext4Volume
    let superblock: Ext4Superblock
    let focus: Ext4Focus?
    private(set) var claimed, attribute, doubled, leaked, lost: BitSet
    /// Links less names, of each inode; 0: they agree.
    private var balance: [UInt16]
    /// Inodes with links that the bitmap calls free.
    private var unmarked: Set<UInt32> = []
    private(set) var claims: [ClusterClaim] = []
    private(set) var names: [NamedInode] = []
    private(set) var states: [UInt32: LinkState] = [:]
    private(set) var inodes = 0
    private(set) var damaged: [(object: String, problem: String)] = []
    private(set) var metadata: [String: UInt64] = [:]
    private(set) var attributeValues = 0
    /// False where a directory could not be read: names of any inode may be missing.
    private(set) var areNamesComplete = true
    /// False where an inode's blocks could not be read: clusters of it seem to have no file.
    private(set) var areMapsComplete = true
    /// Clusters of groups whose bitmap could not be read.
    private var unreadClusters: [Range<Int>] = []
    /// Inodes that could not be read, of which nothing is known.
    private(set) var unread: Set<UInt32> = []
    private let limit = 200_000
    /// Of the inode that is read: its runs of blocks, the inodes that its names lead to, and the
    /// names that are wanted.
    private var owned: [Ext4PackedClaim] = []
    private var children: [UInt32] = []
    private var wanted: [NamedInode] = []

    init(_ volume: Ext4Volume, focus: Ext4Focus?) throws {
        self.volume = volume
        self.focus = focus
        superblock = volume.superblock
        let count = Int(volume.superblock.clusters)
        func bits() throws -> BitSet {
            guard let bits = BitSet(count) else {
                throw LinuxCallError("calloc", "the sets of clusters", .failed(12))
            }
            return bits
        }
        claimed = try bits()
        attribute = try bits()
        doubled = try bits()
        leaked = try bits()
        lost = try bits()
        balance = [UInt16](repeating: 0, count: Int(superblock.inodes) + 1)
    }

    /// - Parameter progress: told what part is done; may throw to end the pass.
    func run(progress: (Double) throws -> Void) throws {
        let groups = try volume.readGroups { groups, damage in
            note(words("group", groups), damage.description)
            areMapsComplete = false
            areNamesComplete = false
            for group in groups { unreadClusters.append(clusters(of: group)) }
        }
        for group in groups { fillMetadata(group) }
        if volume.mmpBlock > 0 { fill(volume.mmpBlock, 1, .mmp) }
        for group in groups {
            try progress(Double(group.number) / Double(groups.count))
            try volume.forEachInode(
                in: group,
                onDamage: { inodes, damage in
                    note(words("inode", inodes), damage.description)
                    areMapsComplete = false
                    areNamesComplete = false
                },
                { number, bytes, isUsed in try count(number, bytes, isUsed) })
        }
        for group in groups { try compare(group) }
    }

    // MARK: What could not be read

    /// Notes that something could not be read.
    func note(_ object: String, _ problem: String) {
        if damaged.count < limit { damaged.append((object, problem)) }
    }

    private func words(_ kind: String, _ numbers: ClosedRange<UInt32>) -> String {
        numbers.count == 1
            ? "\(kind) \(numbers.lowerBound)"
            : "\(kind)s \(numbers.lowerBound)–\(numbers.upperBound)"
    }

    /// Whether nobody knows what the bitmap says of `cluster`.
    func isUnread(_ cluster: Int) -> Bool { unreadClusters.contains { $0.contains(cluster) } }

    private func clusters(of group: UInt32) -> Range<Int> {
        let first = superblock.cluster(of: superblock.start(of: group))
        return Int(first)..<Int(superblock.cluster(of: superblock.end(of: group) - 1) + 1)
    }

    // MARK: Metadata

    private func fillMetadata(_ group: Ext4Group) {
        volume.metadata(of: group) { block, count, what in fill(block, count, what) }
    }

    private func fill(_ block: UInt64, _ count: UInt64, _ what: Ext4Metadata) {
        metadata[what.rawValue, default: 0] += count
        for cluster in superblock.cluster(of: block)...superblock.cluster(of: block + count - 1) {
            claimed[Int(cluster)] = true
            if let focus, focus.has(Int(cluster)) {
                note(ClusterClaim(
                    cluster: Int(cluster), inode: 0, what: what.rawValue, logical: 0))
            }
        }
    }

    private func note(_ claim: ClusterClaim) {
        if claims.count < limit, claims.last != claim { claims.append(claim) }
    }

    // MARK: Inodes

    private func count(_ number: UInt32, _ bytes: RawSpan, _ isInBitmap: Bool) throws {
        var inode = Ext4Inode(number, bytes)
        let isReserved = number < superblock.firstInode
        if isReserved ? inode.raw.allSatisfy({ $0 == 0 }) : inode.mode == 0 { return }
        // One that was removed: nothing of it counts. Without links and in the bitmap it is open.
        if !isReserved, inode.links == 0, !isInBitmap { return }
        for attempt in 0..<5 where !inode.isVerified(superblock) {
            // Half of a change was read, or it is damaged.
            var problem: String? = "its checksum is wrong"
            do {
                guard let again = try volume.readInode(number) else { return }
                inode = again
                if attempt < 4 || inode.isVerified(superblock) { problem = nil }
            } catch let damage as Ext4Damage {
                problem = damage.description
            }
            if let problem {
                skip(number, problem, mayHaveNames: !inode.isFile)
                return
            }
        }
        inodes += 1
        if inode.isAttributeValue { attributeValues += 1 }
        if !isInBitmap, !isReserved, unmarked.count < limit { unmarked.insert(number) }
        let isJudged = !volume.isHidden(number) && !inode.isAttributeValue
        if isJudged, !(inode.isDirectory && inode.links == 1) {
            balance[Int(number)] &+= inode.links
        } else {
            balance[Int(number)] = 0
        }
        if focus?.inodes.contains(number) == true {
            var state = states[number] ?? LinkState()
            state.links = inode.links
            state.isUsed = inode.links > 0
            state.isInBitmap = isInBitmap
            state.isDirectory = inode.isDirectory
            state.changed = inode.changedUntil
            states[number] = state
        }
        try read(inode)
    }

    private func read(_ first: Ext4Inode) throws {
        var inode = first
        for attempt in 0..<4 {
            owned.removeAll(keepingCapacity: owned.count < limit)
            children.removeAll(keepingCapacity: children.count < limit)
            wanted.removeAll()
            var problem: String?
            do {
                try volume.forEachClaim(of: inode) { owned.append(Ext4PackedClaim($0)) }
                // One that is removed and still open keeps its entries `.` and `..`; they count
                // for nothing, as it does.
                if inode.isDirectory, inode.links > 0 {
                    try volume.forEachName(in: inode) { child, name in
                        children.append(child)
                        guard focus?.inodes.contains(child) == true else { return }
                        wanted.append(
                            NamedInode(directory: inode.number, name: name.array, inode: child))
                    }
                }
            } catch let damage as Ext4Damage {
                problem = damage.description
            }
            // Several pieces were read: it must not have changed meanwhile.
            if problem != nil || owned.count > 4 || inode.isDirectory,
                let again = try readAgain(inode, &problem)
            {
                if again.mode == 0 || again.generation != inode.generation { return }
                // A block may change before its inode does: what was wrong is read again in any
                // case.
                let hasChanged = again.raw != inode.raw
                inode = again
                if attempt < 3, hasChanged || problem != nil { continue }
                // It never stood still: what was read of it may be of two moments.
                if hasChanged, inode.isDirectory { areNamesComplete = false }
            }
            if let problem { skip(inode.number, problem, mayHaveNames: inode.isDirectory) }
            claimOwned(of: inode)
            for child in children { count(child, in: inode.number) }
            names += wanted.prefix(max(0, limit - names.count))
            return
        }
    }

    /// `inode` as it is now; nil where it is gone, or where it could not be read: `problem`.
    private func readAgain(_ inode: Ext4Inode, _ problem: inout String?) throws -> Ext4Inode? {
        do {
            return try volume.readInode(inode.number)
        } catch let damage as Ext4Damage {
            problem = damage.description
            return nil
        }
    }

    /// Notes an inode of which something could not be read.
    private func skip(_ number: UInt32, _ problem: String, mayHaveNames: Bool) {
        note("inode \(number)", problem)
        areMapsComplete = false
        if mayHaveNames { areNamesComplete = false }
        if unread.count < limit { unread.insert(number) } else { areNamesComplete = false }
    }

    private func claimOwned(of inode: Ext4Inode) {
        let ratio = superblock.clusterBlocks
        var last: (cluster: UInt64, logical: UInt64)?
        for packed in owned {
            let run = packed.claim
            let first = superblock.cluster(of: run.block)
            for cluster in first...superblock.cluster(of: run.block + run.count - 1) {
                let start = max(superblock.firstBlock(of: cluster), run.block)
                let logical = run.logical + (start - run.block)
                // Several extents of one file may lie in one cluster of it.
                if run.kind == .data, let last, last.cluster == cluster, ratio > 1,
                    last.logical / ratio == logical / ratio
                { continue }
                if run.kind == .data { last = (cluster, logical) }
                claim(cluster, inode.number, run.kind.rawValue, logical)
            }
        }
        let block = inode.attributeBlock
        if block >= superblock.firstDataBlock, block > 0, block < superblock.blocks {
            let cluster = superblock.cluster(of: block)
            // Inodes with the same attributes share their block.
            if attribute[Int(cluster)] {
                if let focus, focus.has(Int(cluster)) {
                    note(ClusterClaim(
                        cluster: Int(cluster), inode: inode.number, what: "attributes",
                        logical: 0))
                }
            } else {
                attribute[Int(cluster)] = true
                claim(cluster, inode.number, "attributes", 0)
            }
        } else if block != 0 {
            note("inode \(inode.number)", "its attributes lie beyond the device")
        }
    }

    private func claim(_ cluster: UInt64, _ inode: UInt32, _ what: String, _ logical: UInt64) {
        let place = Int(cluster)
        if claimed[place] { doubled[place] = true } else { claimed[place] = true }
        if let focus, focus.has(place) {
            note(ClusterClaim(cluster: place, inode: inode, what: what, logical: logical))
        }
    }

    private func count(_ child: UInt32, in directory: UInt32) {
        guard child <= superblock.inodes else {
            note("directory \(directory)", "a name leads to inode \(child), beyond all")
            return
        }
        // Directories with more than 65,000 others count 1, and are not judged.
        balance[Int(child)] &-= 1
        if focus?.inodes.contains(child) == true {
            states[child, default: LinkState()].names += 1
        }
    }

    // MARK: Comparison

    private func compare(_ group: Ext4Group) throws {
        let clusters = clusters(of: group.number)
        // A bitmap that was never written stands for the group's metadata alone.
        if group.hasNoBitmap { return }
        let used: [UInt64]
        do {
            used = try volume.readBitmap(group.blockBitmap)
        } catch let damage as Ext4Damage {
            note("block bitmap of group \(group.number)", damage.description)
            unreadClusters.append(clusters)
            return
        }
        for place in 0..<clusters.count {
            let cluster = clusters.lowerBound + place
            let isUsed = used[place / 64] & 1 << UInt64(place % 64) != 0
            if isUsed != claimed[cluster] {
                if isUsed { leaked[cluster] = true } else { lost[cluster] = true }
            }
        }
    }

    /// Inodes whose links and names differ, or that are in use and not in the bitmap.
    func unbalanced() -> Set<UInt32> {
        var found = unmarked
        for number in 1..<balance.count where balance[number] != 0 {
            let inode = UInt32(number)
            if !volume.isHidden(inode) { found.insert(inode) }
        }
        return found.subtracting(unread)
    }
}
