// What every operation on names has in common: the rules for names, finding what a name
// leads to, and the record of the directory that holds it.
//
// A directory's record counts its entries in `size` and its subdirectories, and itself
// twice, in `links`. Both are changed in the transaction that changes the entries. Links are
// counted modulo 2^32: a count that is too low does not stop at 0, where its inode would be
// taken for unlinked with its next name, and a correction made later comes out right.

internal import Bytes
public import VolumeFormat

/// An inode with its number, as operations return it.
public struct Inode: Hashable, Sendable {
    public let number: InodeNumber
    public let record: InodeRecord

    public init(number: InodeNumber, record: InodeRecord) {
        self.number = number
        self.record = record
    }
}

/// What a new inode shall be. The umask is the caller's to apply.
public struct NewInode: Hashable, Sendable {
    /// The low 12 bits of `st_mode`.
    public var permissions: UInt16
    public var uid: UInt32
    public var gid: UInt32
    public var project: UInt32

    public init(
        permissions: UInt16 = 0o644, uid: UInt32 = 0, gid: UInt32 = 0, project: UInt32 = 0
    ) {
        self.permissions = permissions
        self.uid = uid
        self.gid = gid
        self.project = project
    }
}

extension InodeRecord {
    /// The most names that an inode can have.
    static let maximumLinks = UInt32.max

    mutating func touch(_ now: Timestamp) {
        modified = now
        changed = now
    }
}

extension FixedWidthInteger {
    /// One less. A count that is damaged stays at 0 and doesn't trap.
    mutating func countDown() {
        if self > 0 { self -= 1 }
    }
}

extension Operations {
    /// - Throws: where `name` can't stand in a directory.
    func checkName(_ name: [UInt8]) throws(VolumeError) {
        guard name.count <= DirentRecord.maximumNameLength else {
            throw .nameTooLong("name of \(name.count) bytes")
        }
        guard !name.isEmpty else { throw .noEntry("an empty name") }
        for byte in name where byte == 0 || byte == UInt8(ascii: "/") {
            throw .invalid("name \"\(escapedName(name))\": a name holds no slash and no NUL")
        }
        if name == [UInt8(ascii: ".")] || name == [UInt8(ascii: "."), UInt8(ascii: ".")] {
            throw .invalid("name \"\(escapedName(name))\": it is no entry")
        }
    }

    /// The inode, which must exist.
    func existing(_ n: InodeNumber) throws -> InodeRecord {
        guard let inode = try inode(n) else { throw VolumeError.noEntry("inode \(n)") }
        return inode
    }

    /// stat(2), as the transaction has it.
    public func attributes(_ n: InodeNumber) throws -> Inode {
        Inode(number: n, record: try existing(n))
    }

    /// The inode of a directory in which names can be looked up.
    func directory(_ n: InodeNumber) throws -> InodeRecord {
        let inode = try existing(n)
        guard inode.type == .directory else { throw VolumeError.notDirectory("inode \(n)") }
        return inode
    }

    /// The inode of a directory that can take names: one that is not itself removed.
    func growingDirectory(_ n: InodeNumber) throws -> InodeRecord {
        let inode = try directory(n)
        guard inode.links > 0 else { throw VolumeError.noEntry("directory \(n), removed") }
        return inode
    }

    /// What a name leads to, as the transaction has it; nil where the directory has no such
    /// name.
    package func entry(_ dir: InodeNumber, _ name: [UInt8]) throws -> DirentTarget? {
        guard !name.isEmpty, name.count <= DirentRecord.maximumNameLength else { return nil }
        return try dirent(dir, name)
    }

    /// What the entry leads to.
    func target(_ dir: InodeNumber, _ name: [UInt8]) throws -> DirentTarget {
        guard let target = try dirent(dir, name) else {
            throw VolumeError.noEntry(entryText(dir, name))
        }
        return target
    }

    /// The inode that the entry leads to: an entry that leads nowhere, or to an inode
    /// that has been reused since, is damage.
    func inode(at target: DirentTarget, _ dir: InodeNumber, _ name: [UInt8]) throws -> InodeRecord {
        guard let inode = try inode(target.child) else {
            throw VolumeError.damaged(
                table: TableName.dirents, object: entryText(dir, name), .field("child"))
        }
        guard inode.generation == target.generation else {
            throw VolumeError.damaged(
                table: TableName.dirents, object: entryText(dir, name), .field("generation"))
        }
        guard inode.type == target.type else {
            throw VolumeError.damaged(
                table: TableName.dirents, object: entryText(dir, name), .field("type"))
        }
        return inode
    }
}

/// A directory entry in words.
func entryText(_ dir: InodeNumber, _ name: [UInt8]) -> String {
    "\"\(escapedName(name))\" in directory \(dir)"
}
