// Recording what happens to a volume whoever asks for it: a mount's programs, for example. Each
// change becomes an operation of a scenario with one writer, in the order of the commits.
//
// What a scenario can't say is said as nearly as it can: sizes and offsets are rounded up to
// blocks, a device or a socket becomes a fifo, extended attributes and times are left out, and
// where blocks lie is the replay's own affair. So a replay comes to the same names, inodes, owners
// and numbers of blocks, and not to the very same bytes.
//
// Inode numbers are used again. A replay gives out the same ones only if they become free at the
// same moments: an inode that outlives its last name is opened before that name goes, and closed
// when its number is free.

internal import Bytes
internal import Synchronization
internal import Tidemark
public import Volume
internal import VolumeFormat

public final class ChangeRecorder: Sendable {
    fileprivate struct State {
        /// Inodes without a name whose numbers are not free yet.
        var nameless: Set<InodeNumber> = []
        /// Inodes whose numbers became free before it was told why.
        var freed: Set<InodeNumber> = []
        /// Inodes that were made without a name, with the one that the scenario gives them.
        var temporary: [InodeNumber: Path] = [:]
        var jobs = 0
        var failure: RecordError?
    }

    private let recorder: Recorder
    private let state = Mutex(State())
    private static let prefix = ".recorded-without-a-name-"

    /// Begins with what the volume holds.
    /// - Throws: `RecordError` where a scenario can't begin so.
    public init(_ volume: Volume, limit: Int = Recorder.maximumOperations) throws {
        recorder = try Recorder(volume, writers: 1, limit: limit)
        try volume.watchChanges { [self] changes, commit in
            for change in changes { note(change, commit) }
        }
    }

    /// Ends the recording.
    /// - Throws: where it has failed.
    public func finish(_ volume: Volume, title: [String]) throws -> Scenario {
        try volume.watchChanges(nil)
        if let failure = state.withLock({ $0.failure }) { throw failure }
        return try recorder.finish(volume, title: title, isExact: false)
    }

    private func note(_ change: VolumeChange, _ commit: UInt64) {
        state.withLock { state in
            guard state.failure == nil else { return }
            do throws(RecordError) {
                for operation in try state.operations(of: change) {
                    recorder.note(operation, writer: 0, job: state.jobs, commit: commit)
                    state.jobs += 1
                }
            } catch {
                state.failure = error
            }
        }
    }
}

extension ChangeRecorder.State {
    /// What a scenario says of the change, in order.
    fileprivate mutating func operations(
        of change: VolumeChange
    ) throws(RecordError) -> [Operation] {
        switch change {
        case .made(let inode, let name): return try make(inode, name)
        case .linked(let n, let name):
            let target = try path(name)
            if let old = temporary.removeValue(forKey: n) { return [.rename(.move, old, target)] }
            return [.link(path(n), target)]
        case .unlinked(let n, let name, let isLast):
            let operation = Operation.unlink(try path(name))
            return isLast ? leaving(n, operation) : [operation]
        case .removedDirectory(let n, let name): return leaving(n, .rmdir(try path(name)))
        case .renamed(let old, let new, let mode, let lost):
            let renaming: Operation.Renaming =
                switch mode {
                case .replace: .rename
                case .noReplace: .move
                case .exchange: .exchange
                }
            let operation = Operation.rename(renaming, try path(old), try path(new))
            return lost.map { leaving($0, operation) } ?? [operation]
        case .wrote(let n, let blocks):
            return [
                .map(
                    .write, path(n), offset: blocks.lowerBound,
                    length: blocks.upperBound - blocks.lowerBound)
            ]
        case .allocated(let n, let offset, let count, let mode):
            return allocation(n, offset, count, mode)
        case .changed(let inode, let changes): return attributes(inode, changes)
        case .freed(let n): return free(n)
        }
    }

    private mutating func make(
        _ inode: Inode, _ name: VolumeName?
    ) throws(RecordError) -> [Operation] {
        let number = inode.number, record = inode.record
        var path = Path(names: [ChangeRecorder.prefix + "\(number)"])
        if let name { path = try self.path(name) } else { temporary[number] = path }
        let making: Operation.Making =
            switch record.type {
            case .regular: .create
            case .directory: .mkdir
            case .symlink: .symlink
            default: .fifo
            }
        var operations = [Operation.make(making, path)]
        if (record.uid, record.gid, record.project) != (0, 0, 0) {
            operations.append(
                .chown(
                    self.path(number), uid: record.uid, gid: record.gid, project: record.project))
        }
        return operations
    }

    /// The operation that takes the last name of `n`.
    private mutating func leaving(_ n: InodeNumber, _ operation: Operation) -> [Operation] {
        if freed.remove(n) != nil { return [operation] }
        nameless.insert(n)
        return [.open(path(n)), operation]
    }

    private mutating func free(_ n: InodeNumber) -> [Operation] {
        if let path = temporary.removeValue(forKey: n) { return [.unlink(path)] }
        if nameless.remove(n) != nil { return [.close(path(n))] }
        freed.insert(n)
        return []
    }

    // MARK: Contents

    private func allocation(
        _ n: InodeNumber, _ offset: UInt64, _ count: UInt64, _ mode: AllocationMode
    ) -> [Operation] {
        let size = UInt64(TreeLayout.blockSize), end = offset + count
        let touched = offset / size..<(end + size - 1) / size
        let whole = (offset + size - 1) / size..<max(end / size, (offset + size - 1) / size)
        func map(_ kind: Operation.Mapping, _ blocks: Range<UInt64>) -> [Operation] {
            let length = blocks.upperBound - blocks.lowerBound
            return length == 0
                ? [] : [.map(kind, path(n), offset: blocks.lowerBound, length: length)]
        }
        switch mode {
        case .reserve: return map(.allocate, touched)
        case .punchHole: return map(.punch, whole)
        case .zeroRange: return map(.zero, touched)
        }
    }

    private func attributes(_ inode: Inode, _ changes: AttributeChanges) -> [Operation] {
        let n = inode.number, record = inode.record
        var operations: [Operation] = []
        let size = UInt64(TreeLayout.blockSize)
        if let bytes = changes.size {
            operations.append(.truncate(path(n), (bytes + size - 1) / size))
        }
        if let permissions = changes.permissions {
            operations.append(.chmod(path(n), permissions & 0o7777))
        }
        if changes.uid != nil || changes.gid != nil || changes.project != nil {
            operations.append(
                .chown(path(n), uid: record.uid, gid: record.gid, project: record.project))
        }
        return operations
    }

    // MARK: Paths

    private func path(_ n: InodeNumber) -> Path { Path(base: n, names: []) }

    private func path(_ name: VolumeName) throws(RecordError) -> Path {
        guard let text = scenarioName(name.name) else {
            throw .unsuitable(
                "the name \"\(escapedName(name.name))\" in directory \(name.directory)")
        }
        return Path(base: name.directory, names: [text])
    }
}
