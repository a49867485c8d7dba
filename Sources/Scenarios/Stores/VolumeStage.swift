// The stage that is a real volume, on real LMDB files, in a directory of its own.
//
// The volume has threads of its own: its writer makes the changes and reports them. Here the
// player says when. A transaction is one job for the writer, and waits twice: before it does
// its operations, until the player says `commit`; and between being visible and being reported,
// behind the gate of the `SteeredOwner`, until the player says `report`. `Baton` is where they
// wait. While the player is not in a call, no thread of the volume does anything.
//
// Nothing becomes durable by itself: only by `sync`, by damage, and when the volume is opened.

internal import Bytes
internal import FoundationEssentials
internal import LMDB
internal import Threads
internal import Tidemark
internal import Volume
internal import VolumeFormat

final class VolumeStage: Stage {
    let faults: Faults
    /// Good until a crash.
    private(set) var steered: SteeredOwner
    private(set) var volume: Volume
    /// Its own, in which everything lies. It is made here, and removed by `close`.
    private let directory: StageDirectory
    /// Where the volume lies that is open; each crash leaves for another.
    private(set) var path: String
    private let baton: Baton
    let scenario: Scenario
    /// The transaction under way.
    private var work: Work?
    private var thread: DedicatedThread?
    /// Inodes that are open, by the path under which they were opened.
    private var handles: [Path: [InodeNumber]] = [:]
    /// The names of the runs' side files, by the runs' numbers, and how many were made.
    private var sideFiles: [UInt64: String] = [:]
    private var sideFileCount = 0
    /// Runs of the process, and of the machine, so far.
    private var processes = 1
    private var machines = 1
    private var isClosed = false
    /// The highest number that an inode has had.
    private var highestInode = InodeNumber.root
    private(set) var reusedInodes: [UInt64] = []

    /// What a transaction is for the volume.
    private enum Work {
        /// Operations that are one group.
        case group(Transaction)
        case open(Path)
        case close(Path)
        case sync
    }

    /// - Parameters:
    ///   - parent: where the stage makes a directory of its own.
    ///   - patience: seconds after which a thread that should have come somewhere is given up.
    ///   - clock: whose seconds they are; nil: the system's.
    init(
        _ scenario: Scenario, directory parent: String, patience: Double = 60,
        clock: ManualClock? = nil
    ) throws {
        self.scenario = scenario
        directory = try StageDirectory(in: parent)
        faults = Faults(scenario.faults)
        baton = Baton(patience: patience, clock: clock)
        path = directory.path + "/1"
        do {
            try VolumeStage.make(path, blocks: scenario.store.blocks)
            volume = try VolumeStage.open(path, machine: 1, log: scenario.store.log)
            steered = VolumeStage.steer(volume, faults, baton)
        } catch {
            directory.remove()
            throw error
        }
        do {
            try prepare()
        } catch {
            try? volume.close()
            directory.remove()
            throw error
        }
    }

    var indexed: any Owner { steered }
    var owner: any ExactOwner { steered }

    func makeSideStore(_ run: UInt64) throws -> any SideStore {
        let path = newSidePath(run)
        return FaultyStore(
            try SideFile(path: path, identity: identity(run), limit: 1 << 30), faults)
    }

    func openSideStore(_ run: UInt64) throws -> (store: any SideStore, checkpoint: Checkpoint) {
        guard let name = sideFiles[run] else { throw SideFileError.lost(path: "of run \(run)") }
        // A copy: the process of the scenario still has the one before it open.
        let old = "\(volume.runsDirectory)/\(name)", path = newSidePath(run)
        for (from, to) in [(old, path), (checkpoint(old), checkpoint(path))]
        where FileManager.default.fileExists(atPath: from) {
            try copyFile(from, to: to)
        }
        let (file, checkpoint) = try SideFile.open(
            path: path, identity: identity(run), limit: 1 << 30)
        return (FaultyStore(file, faults), checkpoint)
    }

    func harmSideStore(_ run: UInt64, isLost: Bool) throws {
        guard let name = sideFiles[run] else { return }
        let path = "\(volume.runsDirectory)/\(name)"
        if isLost { return SideFile.delete(path) }
        guard FileManager.default.fileExists(atPath: checkpoint(path)) else { return }
        try truncateFile(checkpoint(path))
    }

    private func newSidePath(_ run: UInt64) -> String {
        sideFileCount += 1
        let name = "side-\(sideFileCount).mdb"
        sideFiles[run] = name
        return "\(volume.runsDirectory)/\(name)"
    }

    private func checkpoint(_ sideFile: String) -> String {
        String(sideFile.dropLast(4)) + ".checkpoint"
    }

    private func identity(_ run: UInt64) -> SideFile.Identity {
        SideFile.Identity(owner: volume.geometry.identity, run: run)
    }

    // MARK: Making and opening

    private static func make(_ path: String, blocks: Int) throws {
        guard blocks > 0, blocks < 1 << 40 else {
            throw StageError.refused("a store of \(blocks) blocks")
        }
        var options = CreateOptions(size: UInt64(blocks) * UInt64(TreeLayout.blockSize))
        options.blockSize = TreeLayout.blockSize
        options.reservedAtStart = TreeLayout.reservedAtStart
        options.reservedAtEnd = TreeLayout.reservedAtEnd
        try Volume.create(path, options: options)
    }

    private static func open(_ path: String, machine: Int, log: Int?) throws -> Volume {
        var options = OpenOptions()
        // An address space, of which a small volume uses little.
        options.metadataLimit = 1 << 32
        options.durableSeconds = 1e6
        // As the tree in memory does.
        options.passesOverUnsettled = false
        options.bootIdentity = "scenario-\(machine)"
        if let log { options.hookLogBytes = log }
        let volume = try Volume.open(path, options: options)
        // What opening a volume leaves for later is done before the player's first step.
        try volume.reclaimPending()
        return volume
    }

    private static func steer(_ volume: Volume, _ faults: Faults, _ baton: Baton) -> SteeredOwner {
        var options = SteeredOwner.Options()
        options.exactBoundaries = true
        options.gate = { _ in baton.passGate() }
        // What a correction has left to be given back is the writer's next job. A boundary may go
        // before it, the one after that does not; no group is begun for it, which hooks would see.
        options.afterHold = { [weak volume] in
            for _ in 0..<2 { try? volume?.atCommitBoundary { _ in } }
        }
        return SteeredOwner(volume, faults: faults, options: options)
    }

    /// The first contents. As many operations as possible share a job: it is their order that
    /// counts, not their transactions.
    private func prepare() throws {
        var pending: [Operation] = []
        for operation in scenario.setup {
            switch operation {
            case .open(let path):
                try perform(&pending)
                try open(path)
            case .close(let path):
                try perform(&pending)
                try volume.close(try takeHandle(path))
            default: pending.append(operation)
            }
        }
        try perform(&pending)
        try volume.sync()
        try noteUnreadable()
    }

    private func perform(_ pending: inout [Operation]) throws {
        guard !pending.isEmpty else { return }
        let operations = pending
        pending = []
        highestInode = try volume.perform { [highestInode] writer in
            var highest = highestInode
            for operation in operations {
                do { highest = max(highest, try writer.perform(operation) ?? 0) } catch let error
                    as VolumeError
                {
                    throw VolumeStage.refusal(of: operation, error)
                }
            }
            return highest
        }
    }

    /// The records that the scenario's faults make unreadable.
    private func noteUnreadable() throws {
        steered.unreadable = try faults.planned.compactMap(\.unreadable).map { place in
            SteeredOwner.Unreadable(
                KeyRange(lower: try start(of: place), upper: try end(of: place)),
                object: try words(place))
        }.sorted { $0.range.lower < $1.range.lower }
    }

    // MARK: Transactions

    func begin(_ transaction: Transaction) throws {
        precondition(work == nil, "one transaction at a time")
        let work = try VolumeStage.work(of: transaction)
        if case .group(let transaction) = work {
            baton.begin()
            thread = DedicatedThread(name: "stage") { [volume, baton] in
                VolumeStage.run(transaction, volume, baton)
            }
            if try baton.wait(for: .begun) { try finish() }
        }
        self.work = work
    }

    private static func work(of transaction: Transaction) throws -> Work {
        if transaction.isSync { return .sync }
        for operation in transaction.operations {
            switch operation {
            case .open(let path):
                try checkAlone(transaction, "open")
                return .open(path)
            case .close(let path):
                try checkAlone(transaction, "close")
                return .close(path)
            default: break
            }
        }
        return .group(transaction)
    }

    private static func checkAlone(_ transaction: Transaction, _ word: String) throws {
        guard transaction.operations.count == 1, !transaction.isAborted else {
            throw StageError.refused(
                "a transaction with `\(word)` among others, or aborted: on a volume `\(word)` is a "
                    + "call of its own; give it a transaction of its own")
        }
    }

    func commit() throws {
        guard let work else { preconditionFailure("a transaction begins before it commits") }
        reusedInodes = []
        do {
            switch work {
            case .group:
                baton.letCommit()
                if try baton.wait(for: .visible) { try finish() }
                reusedInodes = baton.made.filter { $0 <= highestInode }
                highestInode = max(highestInode, baton.made.max() ?? 0)
            case .open(let path): try open(path)
            case .close(let path): try close(path)
            case .sync: try volume.sync()
            }
        } catch {
            self.work = nil
            throw error
        }
    }

    func report() throws {
        precondition(work != nil, "a transaction begins before it is reported")
        work = nil
        // Over already where there was no hook to be told, or nothing to tell it.
        guard thread != nil else { return }
        baton.letReport()
        _ = try baton.wait(for: .ended)
        try finish()
    }

    /// The stage's thread has come to its end.
    private func finish() throws {
        thread.take()?.join()
        if let failure = baton.takeFailure() { throw failure }
    }

    /// The transaction, on the stage's thread.
    private static func run(_ transaction: Transaction, _ volume: Volume, _ baton: Baton) {
        var refusal: (any Error)?
        do {
            try volume.perform { writer in
                guard baton.waitForCommit() else { throw takenBack }
                let made: [InodeNumber]
                do { made = try writer.perform(transaction) } catch {
                    refusal = error
                    throw takenBack
                }
                if transaction.isAborted { throw takenBack }
                baton.note(made: made)
            }
            baton.end(nil)
        } catch {
            let isWanted = transaction.isAborted && refusal == nil
            baton.end(isWanted ? nil : refusal ?? error)
        }
    }

    /// Thrown out of a job it aborts the whole group.
    private static let takenBack = LMDBError(
        code: .invalid, operation: "transaction", object: "taken back by the scenario")

    // MARK: Open inodes

    private func open(_ path: Path) throws {
        let inode: InodeNumber
        do {
            inode = try volume.read().inode(at: path)
            try volume.open(inode)
        } catch let error as VolumeError {
            throw VolumeStage.refusal(of: .open(path), error)
        }
        handles[path, default: []].append(inode)
    }

    /// An inode without names goes now, in a commit that waits behind the gate.
    private func close(_ path: Path) throws {
        let inode = try takeHandle(path)
        baton.begin()
        baton.letCommit()
        thread = DedicatedThread(name: "stage") { [volume, baton] in
            do {
                try volume.close(inode)
                baton.end(nil)
            } catch {
                baton.end(error)
            }
        }
        if try baton.wait(for: .visible) { try finish() }
    }

    private func takeHandle(_ path: Path) throws -> InodeNumber {
        guard let inode = handles[path]?.popLast() else {
            throw StageError.refused("\(path.words) is closed, and was not opened under this path")
        }
        return inode
    }

    /// Why the volume did not do an operation: a mistake in the scenario where the answer is
    /// one that users can get.
    static func refusal(of operation: Operation, _ error: VolumeError) -> any Error {
        switch error {
        case .damaged, .groupAborted, .io, .stopped: error
        default: StageError.refused("\(error)")
        }
    }

    // MARK: Crash and end

    func crash(isMachine: Bool) throws {
        processes += 1
        if isMachine { machines += 1 }
        let next = "\(directory.path)/\(processes)"
        // No thread of the volume is at work: what the files hold now is what a crash leaves.
        try copyVolume(path, to: next)
        try abandon()
        try? volume.close()
        removeTree(path)
        path = next
        handles = [:]
        volume = try VolumeStage.open(next, machine: machines, log: scenario.store.log)
        steered = VolumeStage.steer(volume, faults, baton)
        try noteUnreadable()
    }

    /// Ends the transaction under way: what has not committed is taken back.
    private func abandon() throws {
        work = nil
        guard thread != nil else { return }
        baton.abandon()
        do {
            _ = try baton.wait(for: .ended)
        } catch {
            // The writer thread hangs. Closing the volume would wait for it, so nobody may.
            _ = Unmanaged.passRetained(volume)
            isClosed = true
            thread = nil
            throw error
        }
        thread.take()?.join()
        _ = baton.takeFailure()
    }

    func scope(_ description: ScopeDescription) throws -> Scope {
        let snapshot = try volume.read()
        let scope: VolumeScope =
            switch description {
            case .inode(let path): .inode(try snapshot.inode(at: path))
            case .subtree(let path): .subtree(path.words)
            case .blocks(let start, let count): .blocks(start: start, count: count)
            }
        do { return try snapshot.scope(scope) } catch let error as VolumeError {
            throw StageError.refused("\(error)")
        }
    }

    func close() throws -> [String] {
        guard !isClosed else { return [] }
        isClosed = true
        defer { directory.remove() }
        try abandon()
        let seen = try indexStates()
        try volume.close()
        return try verify(seen, copy: directory.path + "/verify.mdb")
    }

    deinit {
        guard !isClosed else { return }
        try? abandon()
        directory.remove()
    }
}
