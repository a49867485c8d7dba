// Operations on one inode's own record: setattr and truncate.

public import VolumeFormat

/// What setattr shall change; nil leaves a field alone, unless it says otherwise.
public struct AttributeChanges: Hashable, Sendable {
    public var permissions: UInt16?
    public var uid: UInt32?
    public var gid: UInt32?
    public var project: UInt32?
    /// As truncate(2).
    public var size: UInt64?
    public var accessed: Timestamp?
    public var modified: Timestamp?
    /// nil: the time of the operation.
    public var changed: Timestamp?
    /// Whether the setuid bit goes, and the setgid bit of what its group may execute; of
    /// anything but a directory.
    public var dropsPrivileges = false

    public init(
        permissions: UInt16? = nil, uid: UInt32? = nil, gid: UInt32? = nil,
        project: UInt32? = nil, size: UInt64? = nil, accessed: Timestamp? = nil,
        modified: Timestamp? = nil, changed: Timestamp? = nil
    ) {
        self.permissions = permissions
        self.uid = uid
        self.gid = gid
        self.project = project
        self.size = size
        self.accessed = accessed
        self.modified = modified
        self.changed = changed
    }
}

extension InodeRecord {
    fileprivate mutating func dropPrivileges() {
        guard type != .directory else { return }
        permissions &= ~0o4000
        if permissions & 0o010 != 0 { permissions &= ~0o2000 }
    }
}

extension Operations {
    /// The largest size of a file, in bytes: what `off_t` can say.
    static var maximumFileSize: UInt64 { UInt64(Int64.max) }

    /// chmod(2), chown(2), truncate(2), utimensat(2) in one.
    @discardableResult
    public mutating func setAttributes(
        _ n: InodeNumber, _ changes: AttributeChanges
    ) throws -> Inode {
        try begin(growing: false)
        var inode = try existing(n)
        for time in [changes.accessed, changes.modified, changes.changed] {
            if let time, time.nanoseconds >= 1_000_000_000 {
                throw VolumeError.invalid("time of inode \(n): \(time.nanoseconds) nanoseconds")
            }
        }
        if let size = changes.size { try setSize(n, &inode, size) }
        if let permissions = changes.permissions { inode.permissions = permissions & 0o7777 }
        if changes.dropsPrivileges { inode.dropPrivileges() }
        if let uid = changes.uid { inode.uid = uid }
        if let gid = changes.gid { inode.gid = gid }
        if let project = changes.project { inode.project = project }
        if let accessed = changes.accessed { inode.accessed = accessed }
        if let modified = changes.modified { inode.modified = modified }
        inode.changed = changes.changed ?? now
        try put(inode, n)
        let changed = Inode(number: n, record: inode)
        note(.changed(changed, changes))
        return changed
    }

    /// The inode was read at `time`. Nothing else changes, not its time of change either.
    mutating func noteAccess(_ n: InodeNumber, at time: Timestamp) throws {
        try begin(growing: false)
        guard var inode = try inode(n), inode.accessed < time else { return }
        inode.accessed = time
        try put(inode, n, usage: .none)
    }

    /// truncate(2): cuts a file, or makes it longer by a hole.
    @discardableResult
    public mutating func truncate(_ n: InodeNumber, to size: UInt64) throws -> Inode {
        try setAttributes(n, AttributeChanges(size: size))
    }

    /// The caller stores the inode.
    private mutating func setSize(
        _ n: InodeNumber, _ inode: inout InodeRecord, _ size: UInt64
    ) throws {
        try checkRegular(n, inode)
        try checkEnd(n, 0, size)
        if size > inode.size {
            try prepareGrowth(n, &inode)
            inode.size = size
        } else {
            if size < inode.size { truncations.note(n) }
            inode.size = size
            try cut(n, &inode)
        }
        inode.touch(now)
    }

    /// Gives back what lies behind the file's end, or remembers it for later.
    private mutating func cut(_ n: InodeNumber, _ inode: inout InodeRecord) throws {
        let end = (inode.size + blockSize - 1) / blockSize
        while true {
            var budget = Operations.reclaimPiece
            let outcome = try freeExtents(n, &inode, .data, from: end, &budget)
            if outcome == .done { break }
            guard inode.links == 0 else {
                if outcome == .more { reclaimLater(n) }
                return try putReclaim(ReclaimRecord(inode: n, from: end))
            }
            // An orphan's record says that all of it goes: it can't say where it was cut.
            guard outcome == .more else { return }
            try put(inode, n)
            try pause(changes: Operations.reclaimPiece)
        }
        if inode.links > 0 { try removeReclaim(ReclaimRecord(inode: n, from: 0)) }
    }

    /// Before a file's size grows: what lies behind its end must read as zeroes.
    mutating func prepareGrowth(_ n: InodeNumber, _ inode: inout InodeRecord) throws {
        try finishReclaim(n, &inode)
        let used = inode.size % blockSize
        guard used > 0 else { return }
        let block = inode.size / blockSize
        for extent in try extents(n, .data, from: block, to: block + 1, limit: 1) {
            guard let part = extent.clipped(to: block..<(block + 1)), part.state == .written
            else { continue }
            try core.data.writeZeroes(at: part.start * blockSize + used, count: blockSize - used)
        }
    }

    func checkRegular(_ n: InodeNumber, _ inode: InodeRecord) throws(VolumeError) {
        if inode.type == .directory { throw .isDirectory("inode \(n)") }
        guard inode.type == .regular else {
            throw .invalid("inode \(n): a \(inode.type) has no contents")
        }
    }

    /// - Throws: where `offset + count` bytes are more than a file can have.
    func checkEnd(_ n: InodeNumber, _ offset: UInt64, _ count: UInt64) throws(VolumeError) {
        let (end, overflow) = offset.addingReportingOverflow(count)
        guard !overflow, end <= Operations.maximumFileSize else {
            throw .tooLarge("inode \(n)")
        }
    }
}
