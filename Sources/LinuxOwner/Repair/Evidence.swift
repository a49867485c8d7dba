// What is known of a block or of an inode's names before anybody judges it. All of it is read
// again, after the check and apart from it: a judgement stands on what was seen twice.

internal import Bytes
internal import LinuxFilesystem

/// A place in a fork of a file, in blocks.
package struct ForkPlace: Hashable, Sendable {
    package let inode: UInt64
    /// 0: data, 1: attribute.
    package let fork: UInt8
    package let offset: UInt64

    package init(_ inode: UInt64, _ fork: UInt8, _ offset: UInt64) {
        self.inode = inode
        self.fork = fork
        self.offset = offset
    }

    var label: String {
        "inode \(inode), \(fork == 0 ? "" : "attribute fork, ")offset \(offset)"
    }
}

/// What is behind an inode number.
package enum Holder: Hashable, Sendable {
    /// An inode that has names; its size in blocks, rounded up, and whether it can be opened.
    case present(blocks: UInt64, isReadable: Bool)
    /// The number is given to an inode that nobody is told of: removed, and not freed yet.
    case withheld
    case absent
}

package struct BlockEvidence: Hashable, Sendable {
    /// An extent of a file that has the block.
    package struct Claim: Hashable, Sendable {
        package let place: ForkPlace
        /// As the reference counts say.
        package let isShared: Bool
        package let isUnwritten: Bool

        package init(_ place: ForkPlace, isShared: Bool = false, isUnwritten: Bool = false) {
            self.place = place
            self.isShared = isShared
            self.isUnwritten = isUnwritten
        }
    }

    /// A record of the reverse map that has the block.
    package enum Mapping: Hashable, Sendable {
        case file(ForkPlace, isUnwritten: Bool)
        /// Metadata, or a block of a file's extent map: what nobody can derive.
        case metadata(String)
    }

    package let block: UInt64
    package var claims: [Claim] = []
    package var mappings: [Mapping] = []
    /// As the index of free space says; nil where that can't be asked.
    package var isFree: Bool?
    /// What is behind the inodes of `claims` and `mappings`.
    package var holders: [UInt64: Holder] = [:]

    package init(_ block: UInt64) { self.block = block }

    /// Claims that the reverse map does not have as they are.
    package var missing: [Claim] {
        claims.filter { !mappings.contains(.file($0.place, isUnwritten: $0.isUnwritten)) }
    }

    /// Mappings that no file claims like that, without those of inodes that can't be opened.
    package var stray: [(place: ForkPlace, isUnwritten: Bool)] {
        mappings.compactMap { mapping in
            guard case .file(let place, let isUnwritten) = mapping,
                !claims.contains(where: { $0.place == place && $0.isUnwritten == isUnwritten })
            else { return nil }
            if case .present(_, isReadable: false) = holders[place.inode] { return nil }
            return (place, isUnwritten)
        }
    }
}

/// The names of an inode, as directories and as parent pointers have them.
package struct NameEvidence: Hashable, Sendable {
    package struct Name: Hashable, Sendable {
        package let directory: UInt64
        package let generation: UInt32
        package let bytes: [UInt8]

        package init(_ directory: UInt64, _ generation: UInt32, _ bytes: [UInt8]) {
            self.directory = directory
            self.generation = generation
            self.bytes = bytes
        }

        var label: String {
            "'\(escapedName(bytes))' in directory \(directory)"
        }
    }

    package let inode: UInt64
    /// nil: there is no such inode, or nobody is told of it.
    package var generation: UInt32?
    package var isWithheld = false
    package var isDirectory = false
    package var links: UInt32 = 0
    /// In directories.
    package var entries: [Name] = []
    /// Of `entries`, those that the directory does not find by its hash index.
    package var notFound: [Name] = []
    package var pointers: [Name] = []
    /// Of a directory: what its `..` leads to.
    package var above: UInt64?

    package init(_ inode: UInt64) { self.inode = inode }

    package var missing: [Name] { entries.filter { !pointers.contains($0) } }
    package var surplus: [Name] { pointers.filter { !entries.contains($0) } }
}
