// What an index file answers: one commit, whatever the server writes meanwhile.

internal import Bytes
internal import LMDB
internal import LinuxOwner
internal import Tidemark

/// A file that has a block.
package struct BlockOwner: Hashable, Sendable {
    package let inode: UInt64
    /// 0: data, 1: attributes.
    package let fork: UInt8
    /// In the fork, in blocks.
    package let offset: UInt64
    package let isUnwritten: Bool
    /// As of when, in nanoseconds since 1970.
    package let asOf: UInt64
    /// Whether it is so now, as far as the server has come; else it is still to be verified.
    package let isSettled: Bool
}

/// Paths that lead to an inode.
package struct IndexPaths: Hashable, Sendable {
    /// From the root of the filesystem, ascending.
    package var paths: [[UInt8]] = []
    /// There are more than were asked for.
    package var isCut = false
    /// Names whose directories lead nowhere: the index is being verified, or they are being moved.
    package var loose = 0
    /// The oldest time of all names that were followed; nil: none was.
    package var asOf: UInt64?
    package var isSettled = true
}

/// One commit of an index file.
package struct IndexSnapshot: ~Copyable {
    /// nil: nothing has been indexed yet.
    package let header: IndexHeader?
    package let unsettled: UnsettledRanges
    private let file: IndexFile
    private let transaction: ReadTransaction

    init(_ file: IndexFile) throws {
        let transaction = try file.environment.beginRead()
        let (header, unsettled) = try IndexSnapshot.readHead(file, transaction)
        self.file = file
        self.transaction = transaction
        self.header = header
        self.unsettled = unsettled
    }

    private static func readHead(
        _ file: IndexFile, _ transaction: borrowing ReadTransaction
    ) throws -> (IndexHeader?, UnsettledRanges) {
        let name = Array("head".utf8), rangesName = Array("unsettled".utf8)
        guard let bytes = try transaction.get(file.tables.head, name.rawSpan) else {
            return (nil, .all)
        }
        let header: IndexHeader
        do throws(IndexHeader.DefectError) {
            header = try IndexHeader(bytes)
        } catch {
            switch error.defect {
            case .noHeader: throw IndexFileError(file.path, .noIndex("its head is another"))
            case .version(let version): throw IndexFileError(file.path, .version(version))
            case .damaged: throw IndexFileError(file.path, .damaged("its head"))
            }
        }
        guard let ranges = try transaction.get(file.tables.head, rangesName.rawSpan),
            let unsettled = UnsettledRanges(ranges)
        else { throw IndexFileError(file.path, .damaged("the ranges to be verified")) }
        return (header, unsettled)
    }

    private func asOf(_ primary: KeyBytes) -> (time: UInt64, isSettled: Bool) {
        if let time = unsettled.asOf(primary.span) { return (time, false) }
        return (header?.asOf ?? 0, true)
    }

    private func damaged(_ table: Table) -> IndexFileError {
        IndexFileError(file.path, .damaged("an entry of the table \(table.name)"))
    }

    // MARK: Blocks

    /// Who has `block`: several files, where they share it.
    package func owners(ofBlock block: UInt64) throws -> [BlockOwner] {
        try IndexFile.calling(file.path) {
            var owners: [BlockOwner] = []
            var cursor = try transaction.cursor(file.tables.blocks)
            let chunk = block / chunkBlocks, place = UInt8(block % chunkBlocks)
            var lower = FixedBytes<8>()
            lower.store(chunk, at: 0)
            var isThere = try cursor.seek(lower.span)
            while isThere {
                guard let key = BlockKey(cursor.key) else { throw damaged(file.tables.blocks) }
                guard key.chunk == chunk else { break }
                var state = BlockState.none
                let isWhole = forEachStretch(cursor.value) { first, last, found in
                    if first <= place, place <= last { state = found }
                }
                guard isWhole else { throw damaged(file.tables.blocks) }
                if state != .none, let offset = key.offset(at: place) {
                    owners.append(owner(key, offset, state))
                }
                isThere = try cursor.next()
            }
            return owners
        }
    }

    private func owner(_ key: BlockKey, _ offset: UInt64, _ state: BlockState) -> BlockOwner {
        let kind: XFSRecordKind = key.fork == 0 ? .data : .attribute
        let time = asOf(XFSPosition(key.inode, kind, offset).key)
        return BlockOwner(
            inode: key.inode, fork: key.fork, offset: offset, isUnwritten: state == .unwritten,
            asOf: time.time, isSettled: time.isSettled)
    }

    /// Calls `body` with blocks that follow each other and the file that has them from `offset` on,
    /// in the order of chunks, inodes, forks and lines.
    package func forEachBlocks(_ body: (Range<UInt64>, BlockOwner) throws -> Void) throws {
        var cursor = try transaction.cursor(file.tables.blocks)
        while try cursor.next() {
            guard let key = BlockKey(cursor.key) else { throw damaged(file.tables.blocks) }
            var stretches: [(first: UInt8, last: UInt8, state: BlockState)] = []
            guard forEachStretch(cursor.value, { stretches.append(($0, $1, $2)) }) else {
                throw damaged(file.tables.blocks)
            }
            for stretch in stretches {
                guard let offset = key.offset(at: stretch.first) else { continue }
                let first = key.chunk * chunkBlocks
                try body(
                    first + UInt64(stretch.first)..<first + UInt64(stretch.last) + 1,
                    owner(key, offset, stretch.state))
            }
        }
    }

    // MARK: Names

    /// Calls `body` with inode, directory and name of each name, in this order.
    package func forEachName(_ body: (UInt64, UInt64, RawSpan) throws -> Void) throws {
        var cursor = try transaction.cursor(file.tables.parents)
        while try cursor.next() {
            guard ParentKey.isWellFormed(cursor.key) else { throw damaged(file.tables.parents) }
            let key = cursor.key
            try body(
                key.integer(at: 0), key.integer(at: 8), key.extracting(droppingFirst: 16))
        }
    }

    /// Names of `inode`, `limit` at the most.
    private func names(
        of inode: UInt64, limit: Int
    ) throws -> (names: [(directory: UInt64, name: [UInt8])], isCut: Bool) {
        var names: [(directory: UInt64, name: [UInt8])] = []
        var cursor = try transaction.cursor(file.tables.parents)
        var lower = FixedBytes<8>()
        lower.store(inode, at: 0)
        var isThere = try cursor.seek(lower.span)
        while isThere {
            guard ParentKey.isWellFormed(cursor.key) else { throw damaged(file.tables.parents) }
            guard cursor.key.integer(at: 0, as: UInt64.self) == inode else { break }
            guard names.count < limit else { return (names, true) }
            names.append(
                (cursor.key.integer(at: 8), cursor.key.extracting(droppingFirst: 16).array))
            isThere = try cursor.next()
        }
        return (names, false)
    }

    /// The paths of `inode`, `limit` at the most.
    package func paths(of inode: UInt64, limit: Int) throws -> IndexPaths {
        try IndexFile.calling(file.path) {
            var answer = IndexPaths()
            guard let root = header?.root else { return answer }
            if inode == root {
                answer.paths = [[UInt8(ascii: "/")]]
                return answer
            }
            let found = try names(of: inode, limit: limit)
            answer.isCut = found.isCut
            var known: [UInt64: [UInt8]?] = [root: []]
            for (directory, name) in found.names {
                guard let place = try path(of: directory, &known, &answer) else {
                    answer.loose += 1
                    continue
                }
                answer.paths.append(place + [UInt8(ascii: "/")] + name)
                note(directory, &answer)
            }
            answer.paths.sort { $0.lexicographicallyPrecedes($1) }
            return answer
        }
    }

    /// Takes account of how old what stands of a directory's entries is.
    private func note(_ directory: UInt64, _ answer: inout IndexPaths) {
        let time = asOf(XFSPosition(directory, .entries).key)
        answer.asOf = min(answer.asOf ?? .max, time.time)
        if !time.isSettled { answer.isSettled = false }
    }

    /// Directories above each other at the most.
    private static let deepest = 4096

    /// The path of a directory; nil where none leads to the root.
    private func path(
        of directory: UInt64, _ known: inout [UInt64: [UInt8]?], _ answer: inout IndexPaths
    ) throws -> [UInt8]? {
        var chain: [(directory: UInt64, name: [UInt8])] = []
        var current = directory
        while known[current] == nil {
            guard chain.count < IndexSnapshot.deepest,
                let name = try names(of: current, limit: 1).names.first
            else {
                for (below, _) in chain { known[below] = .some(nil) }
                known[current] = .some(nil)
                return nil
            }
            note(name.directory, &answer)
            chain.append((current, name.name))
            current = name.directory
        }
        guard var path = known[current] ?? nil else { return nil }
        for (below, name) in chain.reversed() {
            path += [UInt8(ascii: "/")] + name
            known[below] = path
        }
        return path
    }
}
