// Reading again what a verdict stands on: one pass over all inodes for the extents that have the
// blocks in question and for the entries that lead to the inodes in question, then the reverse map,
// the free space, parent pointers and link counts of these alone.
//
// The filesystem is in use. What is judged has to have stood still: of blocks, the records are read
// before and after the pass; of names, the inode's time of change.

internal import Bytes
internal import LinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// What one pass has found.
package struct Evidence: Sendable {
    package var blocks: [UInt64: BlockEvidence] = [:]
    package var names: [UInt64: NameEvidence] = [:]
    /// Of these something changed meanwhile.
    package var restlessBlocks = Set<UInt64>()
    package var restlessInodes = Set<UInt64>()
}

extension XFSOwner {
    package func gather(blocks: Set<UInt64>, inodes: Set<UInt64>) throws -> Evidence {
        try reading { readers in
            var evidence = Evidence()
            for block in blocks where block < xfs.geometry.dataBlocks {
                evidence.blocks[block] = BlockEvidence(block)
            }
            var before: [UInt64: InodeStatus] = [:]
            for inode in inodes {
                evidence.names[inode] = NameEvidence(inode)
                before[inode] = try xfs.status(of: inode, using: readers.one)
            }
            let sorted = evidence.blocks.keys.sorted()
            let inOrder = try readMappingsInOrder(of: sorted, readers)
            var mappings: [UInt64: [BlockEvidence.Mapping]] = [:]
            for block in sorted { mappings[block] = try readMappings(of: block, readers) }
            try pass(&evidence, readers)
            for block in sorted {
                try complete(block, mappings[block] ?? [], &evidence, readers)
            }
            // A reverse map that is damaged in how it is searched has records that are there for
            // those who read it in order alone.
            let inOrderAgain = try readMappingsInOrder(of: sorted, readers)
            for block in sorted {
                let known = evidence.blocks[block]?.mappings ?? []
                for mapping in inOrder[block] ?? []
                where inOrderAgain[block]?.contains(mapping) == true && !known.contains(mapping) {
                    evidence.blocks[block]?.mappings.append(mapping)
                    if case .file(let place, _) = mapping {
                        evidence.blocks[block]?.holders[place.inode] = try holder(
                            place.inode, readers)
                    }
                }
            }
            for inode in inodes.sorted() {
                try complete(inode, before[inode], &evidence, readers)
            }
            return evidence
        }
    }

    // MARK: The pass

    private func pass(_ evidence: inout Evidence, _ readers: XFSReaders) throws {
        let sorted = evidence.blocks.keys.sorted()
        var next: UInt64 = 0
        while try xfs.readInodes(from: next, into: readers.inodes) {
            for inode in readers.inodes.inodes {
                next = inode.inode + 1
                // Nobody knows what it claims, or which names it has.
                if inode.isDamaged {
                    evidence.restlessBlocks.formUnion(sorted)
                    evidence.restlessInodes.formUnion(evidence.names.keys)
                }
                guard inode.isReadable else { continue }
                let isDirectory = inode.kind == .directory && !evidence.names.isEmpty
                let hasBlocks = inode.dataExtents > 0 || inode.attributeExtents > 0
                guard isDirectory || (hasBlocks && !sorted.isEmpty),
                    let file = try xfs.open(inode.inode, generation: inode.generation)
                else { continue }
                for claim in try claims(of: inode, file, on: sorted, readers) {
                    evidence.blocks[claim.block]?.claims.append(claim.claim)
                }
                if isDirectory { try entries(of: inode, file, &evidence, readers) }
            }
        }
    }

    typealias FoundClaim = (block: UInt64, claim: BlockEvidence.Claim)

    /// Which of the blocks `sorted` the extents of `inode` have.
    func claims(
        of inode: InodeStatus, _ file: borrowing Descriptor, on sorted: [UInt64],
        _ readers: XFSReaders
    ) throws -> [FoundClaim] {
        guard !sorted.isEmpty else { return [] }
        let blockSize = UInt64(xfs.geometry.blockSize)
        var found: [FoundClaim] = []
        for fork in [Fork.data, .attribute] {
            guard fork == .data ? inode.dataExtents > 0 : inode.attributeExtents > 0 else {
                continue
            }
            var offset: UInt64? = 0
            while let place = offset {
                offset = try xfs.readExtents(
                    of: file, fork, from: place, into: readers.extents,
                    object: "inode \(inode.inode)")
                for extent in readers.extents.extents {
                    let first = extent.physical / blockSize
                    let end = first + extent.length / blockSize
                    var position = sorted.firstPosition(from: first)
                    while position < sorted.count, sorted[position] < end {
                        let block = sorted[position]
                        found.append(
                            (
                                block,
                                BlockEvidence.Claim(
                                    ForkPlace(
                                        inode.inode, fork == .data ? 0 : 1,
                                        extent.offset / blockSize + (block - first)),
                                    isShared: extent.isShared, isUnwritten: extent.isUnwritten)
                            ))
                        position += 1
                    }
                }
            }
        }
        return found
    }

    private func entries(
        of directory: InodeStatus, _ file: borrowing Descriptor, _ evidence: inout Evidence,
        _ readers: XFSReaders
    ) throws {
        var found: [(child: UInt64, name: [UInt8])] = []
        var above: UInt64?
        let wanted = evidence.names
        while try readers.directory.read(file, object: "inode \(directory.inode)") {
            readers.directory.forEach { child, _, name in
                if isDots(name) {
                    if name.byteCount == 2 { above = child }
                } else if wanted[child] != nil {
                    found.append((child, name.array))
                }
            }
        }
        if evidence.names[directory.inode] != nil {
            evidence.names[directory.inode]?.above = above
        }
        for (child, bytes) in found {
            let name = NameEvidence.Name(directory.inode, directory.generation, bytes)
            evidence.names[child]?.entries.append(name)
            if try !finds(bytes, child, file) { evidence.names[child]?.notFound.append(name) }
        }
    }

    /// Whether the kernel finds `name` in a directory, and `inode` behind it. It goes by the hash
    /// of the name, where reading the directory goes by the entry.
    func finds(
        _ name: [UInt8], _ inode: UInt64, _ directory: borrowing Descriptor
    ) throws -> Bool {
        var status = stat(), own = stat()
        guard unsafe fstat(directory.number, &own) == 0 else { return false }
        let code = unsafe (name + [0]).withUnsafeBytes {
            guard let start = $0.baseAddress else { return Int32(-1) }
            return unsafe fstatat(
                directory.number, start.assumingMemoryBound(to: CChar.self), &status,
                AT_SYMLINK_NOFOLLOW)
        }
        // Another filesystem is mounted there: nothing is known of what lies below.
        return code == 0 && (status.st_dev != own.st_dev || UInt64(status.st_ino) == inode)
    }

    // MARK: Of one block

    func readMappings(
        of block: UInt64, _ readers: XFSReaders
    ) throws -> [BlockEvidence.Mapping] {
        let blockSize = UInt64(xfs.geometry.blockSize)
        let place = block * blockSize
        var mappings: [BlockEvidence.Mapping] = []
        var isFirst = true, hasMore = true
        while hasMore {
            hasMore = try xfs.mount.readSpace(
                place..<place + blockSize, isFirst: isFirst, into: readers.space)
            isFirst = false
            for record in readers.space.records where !record.isFree {
                guard record.physical / blockSize <= block,
                    block < (record.physical + record.length) / blockSize
                else { continue }
                mappings.append(record.mapping(at: block, blockSize))
            }
        }
        return mappings
    }

    /// What the reverse map says of the blocks `sorted` where it is read from its beginning to its
    /// end.
    private func readMappingsInOrder(
        of sorted: [UInt64], _ readers: XFSReaders
    ) throws -> [UInt64: [BlockEvidence.Mapping]] {
        var mappings: [UInt64: [BlockEvidence.Mapping]] = [:]
        guard !sorted.isEmpty else { return mappings }
        let blockSize = UInt64(xfs.geometry.blockSize)
        var isFirst = true, hasMore = true
        while hasMore {
            hasMore = try xfs.mount.readSpace(
                0..<xfs.geometry.dataBlocks * blockSize, isFirst: isFirst, into: readers.space)
            isFirst = false
            for record in readers.space.records where !record.isFree {
                var position = sorted.firstPosition(from: record.physical / blockSize)
                let end = (record.physical + record.length) / blockSize
                while position < sorted.count, sorted[position] < end {
                    let block = sorted[position]
                    mappings[block, default: []].append(record.mapping(at: block, blockSize))
                    position += 1
                }
            }
        }
        return mappings
    }

    private func complete(
        _ block: UInt64, _ before: [BlockEvidence.Mapping], _ evidence: inout Evidence,
        _ readers: XFSReaders
    ) throws {
        guard var known = evidence.blocks[block] else { return }
        known.mappings = try readMappings(of: block, readers)
        known.isFree = try xfs.mount.isFree(
            block * UInt64(xfs.geometry.blockSize), blockSize: UInt64(xfs.geometry.blockSize),
            using: readers.space)
        var inodes = Set(known.claims.map(\.place.inode))
        for case .file(let place, _) in known.mappings { inodes.insert(place.inode) }
        for inode in inodes { known.holders[inode] = try holder(inode, readers) }
        evidence.blocks[block] = known
        // The files that claim it still do.
        var again: [BlockEvidence.Claim] = []
        for inode in Set(known.claims.map(\.place.inode)).sorted() {
            guard let status = try xfs.status(of: inode, using: readers.one),
                let file = try xfs.open(inode, generation: status.generation)
            else { continue }
            again += try claims(of: status, file, on: [block], readers).map(\.claim)
        }
        if Set(before) != Set(known.mappings) || Set(again) != Set(known.claims) {
            evidence.restlessBlocks.insert(block)
        }
    }

    private func holder(_ inode: UInt64, _ readers: XFSReaders) throws -> Holder {
        let blockSize = UInt64(xfs.geometry.blockSize)
        let isAllocated = try xfs.isAllocated(inode)
        if let status = try xfs.status(of: inode, using: readers.one) {
            return .present(
                blocks: status.size / blockSize + (status.size % blockSize == 0 ? 0 : 1),
                isReadable: status.isReadable)
        }
        return isAllocated ? .withheld : .absent
    }

    // MARK: Of one inode

    private func complete(
        _ inode: UInt64, _ before: InodeStatus?, _ evidence: inout Evidence, _ readers: XFSReaders
    ) throws {
        guard var known = evidence.names[inode] else { return }
        known.isWithheld = before == nil ? try xfs.isAllocated(inode) : false
        if let before {
            known.generation = before.generation
            known.isDirectory = before.kind == .directory
            known.links = before.links
            // What can't be read gives no verdict.
            if try !readParents(before, readers) { evidence.restlessInodes.insert(inode) }
            readers.names.forEach { item, name in
                known.pointers.append(
                    NameEvidence.Name(item.parent, item.generation, name.array))
                return true
            }
        }
        evidence.names[inode] = known
        let after = try xfs.status(of: inode, using: readers.one)
        if before?.generation != after?.generation || before?.changed != after?.changed
            || before?.links != after?.links
        {
            evidence.restlessInodes.insert(inode)
        }
    }
}

extension SpaceRecord {
    fileprivate func mapping(at block: UInt64, _ blockSize: UInt64) -> BlockEvidence.Mapping {
        if let piece = MappingPiece(self, blockSize) {
            let key = piece.key(at: block)
            return .file(
                ForkPlace(key.owner, key.fork, key.offset), isUnwritten: piece.isUnwritten)
        }
        return .metadata(isSpecial ? usage : "extent map of inode \(owner)")
    }
}

extension [UInt64] {
    /// The position of the first that is not less than `value`.
    fileprivate func firstPosition(from value: UInt64) -> Int {
        var low = 0, high = count
        while low < high {
            let middle = (low + high) / 2
            if self[middle] < value { low = middle + 1 } else { high = middle }
        }
        return low
    }
}
