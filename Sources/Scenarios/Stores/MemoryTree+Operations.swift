// The changes of one transaction of the tree in memory. They are those of a volume
// (Sources/Volume/Operations), in the same order, with the same answers: a scenario must be
// the same race on both. What derives from a record, index entries and deltas, is maintained
// here and nowhere else.

internal import Bytes
internal import Tidemark
internal import Volume
internal import VolumeFormat
internal import VolumeIndexes

struct MemoryOperations: ~Copyable {
    /// What the transaction has made of the state.
    var state: MemoryState
    /// The changes for the hooks.
    var deltas = DeltaBatch()
    /// Whether the transaction has changed anything. Else it makes no commit.
    var hasChanged = false
    /// Whether what is open has changed: no matter of commits.
    var hasOpenedOrClosed = false
    /// Numbers of new inodes that others had before.
    var reused: [InodeNumber] = []
    /// Whether it is reported as "read these again".
    var isVoid = false
    /// Whether the deltas of an index are collected, by slot: for a hook, or for the log.
    var wants = [false, false, false, false]
    /// Whether any hook wants them.
    var hookWants = [false, false, false, false]
    /// Blocks of the data area.
    let blocks: UInt64
    let indexes: [any SecondaryIndex]
    /// Bytes that the hook log may grow to.
    var logBytes = Int.max
    var mutants = OwnerMutants()
    /// By a mistake made on purpose: changes are made and not reported.
    var isSilent = false

    init(_ state: MemoryState, blocks: UInt64, _ indexes: [any SecondaryIndex]) {
        self.state = state
        self.blocks = blocks
        self.indexes = indexes
    }

    /// A transaction begins, on a state that is as it was committed last.
    mutating func begin(isVoid: Bool) {
        hasChanged = false
        hasOpenedOrClosed = false
        self.isVoid = isVoid
        if !reused.isEmpty { reused = [] }
        deltas.removeAll()
    }

    mutating func perform(_ operation: Operation) throws(VolumeError) {
        switch operation {
        case .make(let making, let path): try make(making, path)
        case .link(let path, let new): try link(path, new)
        case .unlink(let path): try unlink(path)
        case .rmdir(let path): try removeDirectory(path)
        case .rename(let mode, let path, let new): try rename(mode, path, new)
        case .map(let mapping, let path, let offset, let length):
            try map(mapping, try resolve(path), offset, length)
        case .truncate(let path, let length): try truncate(try resolve(path), length)
        case .open(let path): try open(path)
        case .close(let path): try close(path)
        case .chmod(let path, let permissions):
            var inode = try existing(try resolve(path))
            inode.permissions = permissions & 0o7777
            put(inode)
        case .chown(let path, let uid, let gid, let project):
            var inode = try existing(try resolve(path))
            (inode.uid, inode.gid, inode.project) = (uid, gid, project)
            put(inode)
        case .set, .remove: throw .notSupported("an operation of a catalogue on a tree")
        }
    }

    // MARK: Inodes

    func existing(_ number: InodeNumber) throws(VolumeError) -> MemoryInode {
        guard let inode = state.inode(number) else { throw .noEntry("inode \(number)") }
        return inode
    }

    /// An inode is stored after its extents: what it takes is what they are.
    mutating func put(_ inode: MemoryInode) {
        hasChanged = true
        state.put(inode)
        let blocks = extents(inode.number, from: 0, to: .max).reduce(0) { $0 + UInt64($1.length) }
        let share = QuotaShare(
            uid: inode.uid, gid: inode.gid, project: inode.project, blocks: blocks)
        let record = MemoryRecord(inode.number, share)
        let old = state.records.put(record)?.share
        guard old != share else { return }
        state.count(from: old, to: share, mutants)
        reportAdded(record)
    }

    mutating func deleteInode(_ number: InodeNumber) {
        hasChanged = true
        state.deleteInode(number)
        let key = PrimaryKey.inode(number)
        guard let record = state.records.remove(key.span) else {
            preconditionFailure("what an inode takes is kept as long as the inode")
        }
        state.count(from: record.share, to: nil, mutants)
        reportRemoved(record)
    }

    /// A number for a new inode, the lowest that is free, and its generation.
    mutating func allocateInode() -> (InodeNumber, generation: UInt32) {
        hasChanged = true
        let generation = state.nextGeneration
        state.nextGeneration &+= 1
        guard state.freeInodes.isEmpty else {
            let number = state.freeInodes.removeFirst()
            reused.append(number)
            return (number, generation)
        }
        state.nextInode += 1
        return (state.nextInode - 1, generation)
    }

    // MARK: Records

    func record(_ directory: InodeNumber, _ name: [UInt8]) -> MemoryRecord? {
        let key = PrimaryKey.dirent(directory, name.rawSpan)
        return state.records.find(key.span)
    }

    /// Makes the name lead to `target`, in place of what it led to.
    mutating func putDirent(_ directory: InodeNumber, _ name: [UInt8], _ target: DirentTarget) {
        hasChanged = true
        let record = MemoryRecord(directory, name, target)
        guard let old = state.records.put(record) else { return add(record) }
        guard old.target?.child != target.child else {
            guard old.target?.generation != target.generation else { return }
            return change(record)
        }
        if mutants.have(.replacedNameNotReported) { isSilent = true }
        remove(old, isReplaced: true)
        if mutants.have(.replacedNameNotReported) { isSilent = false }
        add(record)
    }

    mutating func removeDirent(_ record: MemoryRecord) {
        hasChanged = true
        let key = record.key
        state.records.remove(key.rawSpan)
        remove(record)
    }

    /// Stores an extent, in place of one at the same offset.
    mutating func putExtent(_ extent: ExtentRecord) {
        hasChanged = true
        let record = MemoryRecord(extent)
        guard let old = state.records.put(record) else { return add(record) }
        guard old.entry.key != record.entry.key else { return change(record) }
        remove(old, isReplaced: true)
        add(record)
    }

    mutating func removeExtent(_ extent: ExtentRecord) {
        hasChanged = true
        let key = PrimaryKey.extent(extent)
        guard let record = state.records.remove(key.span) else {
            preconditionFailure("an extent is looked up before it is removed")
        }
        remove(record)
    }

    // MARK: What is derived

    private mutating func add(_ record: MemoryRecord) {
        state[record.slot].add(record.entry, mutants)
        reportAdded(record)
    }

    private mutating func change(_ record: MemoryRecord) {
        state[record.slot].change(record.entry, mutants)
        reportAdded(record)
    }

    /// - Parameter isReplaced: whether another record has its primary key: that is reported
    ///   as void once.
    private mutating func remove(_ record: MemoryRecord, isReplaced: Bool = false) {
        state[record.slot].remove(record.entry, mutants)
        reportRemoved(record, isReplaced: isReplaced)
    }

    /// Whoever wants the links of names wants the names too.
    private mutating func reportRemoved(_ record: MemoryRecord, isReplaced: Bool = false) {
        guard wants[record.slot.rawValue], !isSilent else { return }
        guard !isVoid else {
            if !isReplaced { deltas.void(record.range) }
            return
        }
        let primary = record.key, key = record.entry.key
        deltas.remove(record.slot, primary: primary.rawSpan, key: key.rawSpan)
        guard wants[VolumeSlots.links.rawValue], !mutants.have(.linksNotReported) else { return }
        for entry in record.links {
            let key = entry.key
            deltas.remove(VolumeSlots.links, primary: primary.rawSpan, key: key.rawSpan)
        }
    }

    private mutating func reportAdded(_ record: MemoryRecord) {
        guard wants[record.slot.rawValue], !isSilent else { return }
        guard !isVoid else { return deltas.void(record.range) }
        let primary = record.key, key = record.entry.key, value = record.entry.value
        deltas.add(
            record.slot, primary: primary.rawSpan, key: key.rawSpan, value: value.rawSpan)
        guard wants[VolumeSlots.links.rawValue] else { return }
        for entry in record.links {
            let key = entry.key, value = entry.value
            deltas.add(
                VolumeSlots.links, primary: primary.rawSpan, key: key.rawSpan,
                value: value.rawSpan)
        }
    }
}
