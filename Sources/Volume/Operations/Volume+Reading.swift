// Reading the contents of files, on the caller's thread: the map is looked up in a snapshot, its
// blocks are locked, and what they hold is taken while they are still the file's.
//
// What is taken can be copied into memory, or put into a pipe as references to the pages that the
// kernel has of the data file. A reference is no copy: whoever writes to the block before the
// reader's kernel has taken the bytes changes what is read. So the caller is given the contents in
// a closure, does in it all that it does with the pages, and the blocks stay locked for so long.

internal import LMDB
public import VolumeFormat

/// What a read found: to be found again once the blocks are locked.
private struct ReadPlan: Hashable {
    let generation: UInt32
    /// Where in the file, in bytes; and how many of them it has there.
    let offset: UInt64
    let count: UInt64
    let map: [ExtentRecord]
}

/// Contents of a file that are about to be read, their blocks locked.
public struct LockedContents: ~Copyable {
    private let data: DataFile
    private let plan: ReadPlan
    private let blockSize: UInt64

    fileprivate init(_ core: VolumeCore, _ plan: ReadPlan) {
        data = core.data
        self.plan = plan
        blockSize = UInt64(core.geometry.blockSize)
    }

    /// As many bytes as were asked for; fewer only at the end of the file.
    public var count: Int { Int(plan.count) }

    /// Fills the first `count` bytes of `buffer`. Holes and what is not yet written are zeroes.
    public func copy(into buffer: inout MutableRawSpan) throws {
        try data.read(plan.map, from: plan.offset, count, into: &buffer, blockSize)
    }

    /// Puts all of it into a pipe that does not block, as references to pages.
    /// - Returns: whether it did. Where there are holes, the pipe takes no more or the data file
    ///   gives less, some of it may be in the pipe: empty that, and copy.
    public func splice(into pipe: Int32) -> Bool {
        let parts = FileMap.parts(plan.map, from: plan.offset, plan.count, blockSize)
        guard parts.reduce(0, { $0 + $1.count }) == plan.count else { return false }
        return parts.allSatisfy { data.splice(Int($0.count), at: $0.place, into: pipe) }
    }
}

extension Volume {
    /// Up to `count` bytes from `offset`; fewer only at the end of the file. Holes and what
    /// is not yet written read as zeroes. The time of access is not changed.
    public func read(
        _ n: InodeNumber, generation: UInt32? = nil, at offset: UInt64, _ count: Int
    ) throws -> [UInt8] {
        precondition(count >= 0, "a read of less than nothing")
        return try withContents(n, generation: generation, at: offset, count) { contents in
            var bytes = [UInt8](repeating: 0, count: contents.count)
            var span = bytes.mutableSpan
            var whole = unsafe span.mutableBytes
            try contents.copy(into: &whole)
            return bytes
        }
    }

    /// As many bytes from `offset` as `buffer` takes; fewer only at the end of the file. The
    /// time of access is not changed.
    /// - Returns: how many bytes of `buffer` were filled.
    public func read(
        _ n: InodeNumber, at offset: UInt64, into buffer: inout MutableRawSpan
    ) throws -> Int {
        try withContents(n, at: offset, buffer.byteCount) { contents in
            try contents.copy(into: &buffer)
            return contents.count
        }
    }

    /// Runs `body` with up to `count` bytes from `offset`, while the blocks that hold them are
    /// locked and still the file's. It waits for no other blocks and no writer.
    /// - Parameter access: when it happens, where the time of access is to be kept as mount(8)
    ///   says of `relatime`.
    public func withContents<R>(
        _ n: InodeNumber, generation: UInt32? = nil, at offset: UInt64, _ count: Int,
        access: Timestamp? = nil, _ body: (borrowing LockedContents) throws -> R
    ) throws -> R {
        while true {
            let (plan, inode, commit) = try planRead(n, generation, offset, UInt64(count))
            let lock = core.blockGuard.lock(plan.map.map(\.blocks), exclusive: false)
            defer { core.blockGuard.unlock(lock) }
            // Where nothing was committed since, nothing has changed.
            guard
                try core.isUnchanged(n, since: commit)
                    || planRead(n, generation, offset, UInt64(count)).plan == plan
            else { continue }
            let result = try body(LockedContents(core, plan))
            if let access, inode.isAccessDue(access) { noteAccess(n, at: access) }
            return result
        }
    }

    /// Whether there is such a file, as a read of it would say.
    func checkIsFile(_ n: InodeNumber, _ generation: UInt32?) throws {
        _ = try planRead(n, generation, 0, 0)
    }

    private func planRead(
        _ n: InodeNumber, _ generation: UInt32?, _ offset: UInt64, _ count: UInt64
    ) throws -> (plan: ReadPlan, inode: InodeRecord, commit: UInt64) {
        guard let file = try find(n) else { throw VolumeError.noEntry("inode \(n)") }
        let inode = file.record
        try check(n, generation, inode)
        let present = offset < inode.size ? min(count, inode.size - offset) : 0
        let blocks = FileMap.blocks(offset, present, UInt64(core.geometry.blockSize))
        let plan = ReadPlan(
            generation: inode.generation, offset: offset, count: present,
            map: try file.map(blocks).filter { $0.state == .written })
        return (plan, inode, file.commit)
    }

    private func check(
        _ n: InodeNumber, _ generation: UInt32?, _ inode: InodeRecord
    ) throws(VolumeError) {
        if let generation, inode.generation != generation {
            throw VolumeError.noEntry("inode \(n) of generation \(generation)")
        }
        if inode.type == .directory { throw VolumeError.isDirectory("inode \(n)") }
        guard inode.type == .regular else {
            throw VolumeError.invalid("inode \(n): a \(inode.type) has no contents")
        }
    }
}

extension InodeRecord {
    /// Whether a read at `time` is to be noted: the first since the last change, or in a day.
    public func isAccessDue(_ time: Timestamp) -> Bool {
        accessed <= modified || accessed <= changed || time.seconds - accessed.seconds >= 86400
    }
}

extension DataFile {
    /// Fills `buffer` with `count` bytes of a file from `offset` on; what `map` doesn't cover
    /// is zero.
    func read(
        _ map: [ExtentRecord], from offset: UInt64, _ count: Int,
        into buffer: inout MutableRawSpan, _ blockSize: UInt64
    ) throws(VolumeError) {
        var done = 0
        for part in FileMap.parts(map, from: offset, UInt64(count), blockSize) {
            let lower = Int(part.offset - offset), upper = lower + Int(part.count)
            buffer.zero(done..<lower)
            try read(into: &buffer, lower..<upper, at: part.place)
            done = upper
        }
        buffer.zero(done..<count)
    }
}

extension MutableRawSpan {
    fileprivate mutating func zero(_ range: Range<Int>) {
        unsafe withUnsafeMutableBytes {
            _ = unsafe UnsafeMutableRawBufferPointer(rebasing: $0[range])
                .initializeMemory(as: UInt8.self, repeating: 0)
        }
    }
}
