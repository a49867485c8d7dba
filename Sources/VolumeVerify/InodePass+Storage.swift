// What an inode stores: its extents, its attributes, its target.

internal import Bytes
internal import VolumeFormat

extension InodePass {
    var reservedAreas: [ExtentRecord] { records.geometry?.reservedExtents ?? [] }

    mutating func takeExtents(_ inode: inout InodeFacts) throws {
        // Where the last extent of the fork ended, in blocks of the file.
        var fork = Fork.data, offsetEnd: UInt64 = 0, reaching: UInt64 = 0
        var reserved = inode.number == .volume ? reservedAreas : []
        while !extents.isAtEnd, extents.number == inode.number {
            do throws(RecordDamage) {
                let extent = try ExtentRecord(key: extents.key, value: extents.value)
                blocks.count(extent.start)
                inode.blocks += UInt64(extent.length)
                if extent.fork != fork { (fork, offsetEnd) = (extent.fork, 0) }
                if extent.offset < offsetEnd {
                    defect(
                        .extentOffsetOverlap, extent, "offset \(offsetEnd) or above",
                        against: reaching)
                }
                if extent.offsetEnd > offsetEnd {
                    (reaching, offsetEnd) = (extent.offset, extent.offsetEnd)
                }
                if inode.number == .volume {
                    judgeReserved(extent, &reserved)
                } else {
                    judgeOwner(extent, &inode)
                }
            } catch {
                extents.damaged(error)
            }
            try extents.advance()
        }
        for extent in reserved { missing(extent) }
    }

    /// An extent of the volume itself: exactly one of the reserved areas.
    private func judgeReserved(_ extent: ExtentRecord, _ reserved: inout [ExtentRecord]) {
        if let index = reserved.firstIndex(of: extent) {
            reserved.remove(at: index)
        } else if records.geometry != nil {
            defect(.reservedArea, extent, nil)
        }
    }

    func missing(_ extent: ExtentRecord) {
        findings.defect(
            .reservedArea, in: TableName.extents,
            key: extentFields(
                inode: extent.inode, fork: extent.fork.rawValue, offset: extent.offset),
            found: nil, expected: text(extent))
    }

    private func judgeOwner(_ extent: ExtentRecord, _ inode: inout InodeFacts) {
        if inode.isAbsent {
            defect(.extentWithoutInode, extent, "an inode")
        } else if extent.fork == .data, !inode.may(be: .regular) {
            defect(.extentOfWrongType, extent, "a regular file, not \(inode.description)")
        }
        if extent.fork == .attributes {
            inode.attributeExtents.append(OffsetRange(start: extent.offset, end: extent.offsetEnd))
        }
    }

    /// - Parameter offset: where another extent of the fork begins that it contradicts.
    private func defect(
        _ kind: PrimaryDefect, _ extent: ExtentRecord, _ expected: String?,
        against offset: UInt64? = nil
    ) {
        let fork = extent.fork.rawValue
        findings.defect(
            kind, in: TableName.extents,
            key: extentFields(inode: extent.inode, fork: fork, offset: extent.offset),
            found: text(extent), expected: expected,
            other: offset.map { extentFields(inode: extent.inode, fork: fork, offset: $0) } ?? [])
    }

    mutating func takeAttributes(_ inode: inout InodeFacts) throws {
        while !xattrs.isAtEnd, xattrs.number == inode.number {
            do throws(RecordDamage) {
                let attribute = try AttributeRecord(key: xattrs.key, value: xattrs.value)
                if inode.isAbsent {
                    findings.defect(
                        .attributeWithoutInode, in: xattrs.name,
                        key: describedKey(of: xattrs.name, xattrs.key), found: "an attribute",
                        expected: nil)
                }
                if case .remote(let offset, let length) = attribute.content,
                    let blockSize = records.geometry?.blockSize
                {
                    let blocks = (UInt64(length) + UInt64(blockSize) - 1) / UInt64(blockSize)
                    let end = offset.addingReportingOverflow(blocks)
                    if end.overflow { throw .field("offset") }
                    inode.remoteAttributes.append(OffsetRange(start: offset, end: end.partialValue))
                }
            } catch {
                inode.isAttributeDamaged = true
                xattrs.damaged(error)
            }
            try xattrs.advance()
        }
    }

    /// Each large value has its blocks, and for itself; and no other blocks are there.
    func judgeAttributes(_ inode: InodeFacts) {
        var end: UInt64 = 0, used: UInt64 = 0, isSound = !inode.isAttributeDamaged
        for value in inode.remoteAttributes.sorted(by: { $0.start < $1.start }) {
            if value.start < end {
                attributeDefect(.attributeOverlap, inode, value, "a place of its own")
                isSound = false
            }
            end = max(end, value.end)
            used += value.end - value.start
            var covered = value.start
            for extent in inode.attributeExtents where extent.start <= covered {
                covered = max(covered, extent.end)
            }
            if covered < value.end {
                attributeDefect(.attributeBlocks, inode, value, "blocks from offset \(covered)")
                isSound = false
            }
        }
        let blocks = inode.attributeExtents.reduce(0) { $0 + ($1.end - $1.start) }
        if isSound, records.geometry != nil, blocks != used {
            findings.defect(
                .attributeBlocksUnused, in: TableName.extents, key: inode.key,
                found: "\(blocks) blocks for attributes", expected: "\(used) blocks")
        }
    }

    private func attributeDefect(
        _ kind: PrimaryDefect, _ inode: InodeFacts, _ value: OffsetRange, _ expected: String
    ) {
        findings.defect(
            kind, in: TableName.xattrs,
            key: [.init("inode", inode.number), .init("offset", value.start)],
            found: "offsets \(value.start) to \(value.end)", expected: expected)
    }

    mutating func takeSymlink(_ inode: inout InodeFacts) throws {
        while !symlinks.isAtEnd, symlinks.number == inode.number {
            do throws(RecordDamage) {
                let target = try SymlinkRecord.target(key: symlinks.key, value: symlinks.value)
                inode.target = target.count
                if !inode.may(be: .symlink) {
                    findings.defect(
                        .symlinkWithoutInode, in: symlinks.name, key: inode.key,
                        found: inode.description, expected: "a symlink")
                }
            } catch {
                symlinks.damaged(error)
            }
            try symlinks.advance()
        }
    }
}

func text(_ extent: ExtentRecord) -> String {
    "blocks \(extent.start) to \(extent.startEnd), \(extent.state)"
}
