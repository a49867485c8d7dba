// A server's reading and commits beside a filesystem in memory that a seed changes, whose events
// say only which inode has changed, arrive late, and are lost. At each commit the file says of each
// inode what it had at the commit's time or later; once nothing changes any more, what it has.

import Bytes
import LinuxOwner
import TestSupport
import Testing
import Tidemark

@testable import LinuxIndex

/// Inodes with blocks and names, in memory.
private final class MemoryInodes: InodeSource {
    struct Contents: Hashable {
        /// Offset to block, and whether it is unwritten.
        var blocks: [UInt64: UInt64] = [:]
        var unwritten: Set<UInt64> = []
        var names: [[UInt8]: UInt64] = [:]
    }

    let label = "memory"
    /// Of each inode: what it had, and from when on.
    var versions: [UInt64: [(time: UInt64, contents: Contents)]] = [:]
    private(set) var clock: UInt64 = 100
    var random: SplitMix64
    let capacity: Int
    var buffers: [[Event]]
    var lost: [UInt64]
    var delivered: [UInt64]
    /// Changes that are to be made while inodes are read.
    var restless = true

    enum Event { case changed(UInt64, at: UInt64), mark(UInt64) }

    static let inodes: UInt64 = 20

    init(seed: UInt64, buffers: Int, capacity: Int) {
        random = SplitMix64(seed: seed)
        self.capacity = capacity
        self.buffers = Array(repeating: [], count: buffers)
        lost = Array(repeating: 0, count: buffers)
        delivered = Array(repeating: 0, count: buffers)
        for inode in 1...MemoryInodes.inodes { versions[inode] = [(0, Contents())] }
    }

    func now() -> UInt64 {
        clock += 1
        return clock
    }

    func contents(_ inode: UInt64) -> Contents { versions[inode]?.last?.contents ?? Contents() }

    /// Something happens to an inode, and its event is made.
    func change() {
        let inode = UInt64.random(in: 1...MemoryInodes.inodes, using: &random)
        var contents = contents(inode)
        switch Int.random(in: 0..<6, using: &random) {
        case 0, 1:
            let offset = UInt64.random(in: 0..<300, using: &random)
            let block = UInt64.random(in: 0..<4000, using: &random)
            for place in 0..<UInt64.random(in: 1...20, using: &random) {
                contents.blocks[offset + place] = block + place
                if Bool.random(using: &random) { contents.unwritten.remove(offset + place) }
            }
            if Bool.random(using: &random) { contents.unwritten.insert(offset) }
        case 2:
            let end = UInt64.random(in: 0..<300, using: &random)
            contents.blocks = contents.blocks.filter { $0.key < end }
            contents.unwritten = contents.unwritten.filter { $0 < end }
        case 3, 4:
            contents.names[[UInt8.random(in: 97...105, using: &random)]] =
                UInt64.random(in: 1...MemoryInodes.inodes, using: &random)
        default:
            contents.names[[UInt8.random(in: 97...105, using: &random)]] = nil
        }
        let time = now()
        versions[inode, default: []].append((time, contents))
        put(.changed(inode, at: time), Int.random(in: 0..<buffers.count, using: &random))
    }

    private func put(_ event: Event, _ buffer: Int) {
        if buffers[buffer].count >= capacity {
            lost[buffer] += 1
        } else {
            buffers[buffer].append(event)
        }
    }

    private func stir() {
        guard restless else { return }
        if Int.random(in: 0..<4, using: &random) == 0 { change() }
    }

    func read(from first: UInt64, into receiver: any InodeReceiver) throws -> UInt64? {
        let first = max(first, 1), end = first + UInt64.random(in: 1...9, using: &random)
        for inode in first..<min(end, MemoryInodes.inodes + 1) { try read(inode, into: receiver) }
        return end <= MemoryInodes.inodes ? end : nil
    }

    func read(_ inode: UInt64, into receiver: any InodeReceiver) throws {
        stir()
        let found = contents(inode)
        for (offset, block) in found.blocks.sorted(by: { $0.key < $1.key }) {
            receiver.extent(
                of: inode, fork: 0, offset: offset, block: block, count: 1,
                isUnwritten: found.unwritten.contains(offset))
        }
        stir()
        for (name, child) in contents(inode).names.sorted(by: { $0.value < $1.value }) {
            receiver.name(name.rawSpan, of: child, in: inode)
        }
        stir()
    }

    func subscribe() throws -> any InodeChanges {
        for place in buffers.indices {
            buffers[place] = []
            lost[place] = 0
            delivered[place] = clock
        }
        return Changes(self)
    }

    final class Changes: InodeChanges {
        private let source: MemoryInodes
        private var counted: [UInt64]
        private var isUnmarked: [Bool]
        private(set) var losses = 0

        init(_ source: MemoryInodes) {
            self.source = source
            counted = source.lost
            isUnmarked = source.buffers.map { _ in false }
        }

        var delivered: UInt64 { source.delivered.min() ?? 0 }

        func poll(_ changed: ChangedInodes) throws -> Bool {
            var isAny = false
            for place in source.buffers.indices {
                changed.begin()
                let some = min(
                    source.buffers[place].count, Int.random(in: 0..<9, using: &source.random))
                var seen: UInt64?
                for event in source.buffers[place].prefix(some) {
                    switch event {
                    case .changed(let inode, let time): changed.note(inode, at: time)
                    case .mark(let time): seen = time
                    }
                }
                source.buffers[place].removeFirst(some)
                isAny = isAny || some > 0
                if source.lost[place] != counted[place] {
                    counted[place] = source.lost[place]
                    losses += 1
                    changed.forgetAll()
                }
                if let seen { source.delivered[place] = max(source.delivered[place], seen) }
                if isUnmarked[place], some > 0 { put(place, source.now()) }
            }
            return isAny
        }

        private func put(_ place: Int, _ time: UInt64) {
            isUnmarked[place] = source.buffers[place].count >= source.capacity
            if !isUnmarked[place] { source.buffers[place].append(.mark(time)) }
        }

        func mark() throws -> UInt64 {
            let time = source.now()
            for place in source.buffers.indices { put(place, time) }
            return time
        }

        func end() {}
    }
}

@Suite(.temporaryDirectory) struct InodeSessionTests {
    private func contents(_ file: IndexFile) throws -> [UInt64: MemoryInodes.Contents] {
        let snapshot = try file.snapshot()
        var found: [UInt64: MemoryInodes.Contents] = [:]
        try snapshot.forEachBlocks { range, owner in
            for block in range {
                let offset = owner.offset + (block - range.lowerBound)
                found[owner.inode, default: .init()].blocks[offset] = block
                if owner.isUnwritten { found[owner.inode]?.unwritten.insert(offset) }
            }
        }
        try snapshot.forEachName { child, directory, name in
            found[directory, default: .init()].names[name.array] = child
        }
        return found
    }

    /// Of each inode but those of `unread`.
    private func compare(
        _ file: IndexFile, _ source: MemoryInodes, _ due: Due, _ comment: Comment
    ) throws {
        let found = try contents(file)
        for inode in 1...MemoryInodes.inodes {
            let key = XFSPosition(inode).key
            guard !due.unread.contains(where: { $0.contains(key.span) }) else { continue }
            let versions = source.versions[inode] ?? []
            let first = versions.lastIndex { $0.time <= due.asOf } ?? 0
            let right = versions[first...].map(\.contents), mine = found[inode] ?? .init()
            #expect(
                right.contains { $0.blocks == mine.blocks && $0.unwritten == mine.unwritten },
                "\(comment) inode \(inode)")
            #expect(right.contains { $0.names == mine.names }, "\(comment) inode \(inode)")
        }
    }

    @Test(arguments: [1, 2, 3, 4], [3, 12, 100_000])
    func `at each commit an inode is as it was at the commit's time or later`(
        seed: UInt64, capacity: Int
    ) throws {
        let source = MemoryInodes(seed: seed, buffers: 3, capacity: capacity)
        let file = try IndexFile.openForServer(try TestSupport.temporaryDirectory() + "/index")
        var unsettled = UnsettledRanges.all, losses = 0, settled = 0
        // Two servers, one after the other; what happens in between nobody is told of.
        for server in 0..<2 {
            for _ in 0..<60 { source.change() }
            source.restless = true
            var options = KeeperOptions()
            options.interval = 0
            options.idleInterval = 0
            options.scanInterval = seed % 2 == 0 ? 0 : 1
            var time: UInt64 = 0
            let session = try InodeSession(
                source, options: options,
                time: {
                    time += 100_000_000
                    return time
                })
            unsettled = unsettled.next([.all], settledUntil: UInt64(server))
            var header = IndexFormatTests.header, commits = 0, steps = 0, rest = 0
            while rest < 3, steps < 20_000 {
                steps += 1
                // A while of changes, then a calm in which it has to settle.
                source.restless = commits < 15
                if commits < 15 { for _ in 0..<6 { source.change() } }
                guard let due = try session.step().due else { continue }
                let next = unsettled.next(due.unread, settledUntil: header.asOf)
                #expect(due.asOf >= header.asOf || due.asOf == 0 || commits == 0)
                header.asOf = due.asOf
                _ = try file.commit(
                    session.pending, upTo: due.mark, header: header, unsettled: next)
                unsettled = next
                session.hasCommitted()
                commits += 1
                if next.isEmpty { settled += 1 }
                rest = commits >= 15 && next.isEmpty ? rest + 1 : 0
                try compare(
                    file, source, due,
                    "SEED=\(seed) capacity \(capacity) server \(server) commit \(commits)")
            }
            #expect(rest == 3, "SEED=\(seed): it did not settle")
            let found = try contents(file)
            for inode in 1...MemoryInodes.inodes {
                #expect(
                    found[inode] ?? .init() == source.contents(inode),
                    "SEED=\(seed) capacity \(capacity) server \(server): at last, inode \(inode)")
            }
            losses += session.losses
            session.end()
        }
        #expect(settled > 0, "SEED=\(seed)")
        #expect(capacity > 1000 ? losses == 0 : losses > 0, "SEED=\(seed)")
    }

    @Test func `events of what is not read yet say nothing, and after a loss nothing is read`() {
        let changed = ChangedInodes()
        changed.note(5, at: 10)
        #expect(changed.isEmpty)
        changed.hasRead(to: 100)
        changed.note(5, at: 20)
        changed.begin()
        changed.note(5, at: 15)
        changed.note(100, at: 15)
        #expect(changed.inodes == [5])
        #expect(changed.first == 15)
        changed.forgetAll()
        #expect(changed.isEmpty)
        // Reading goes on where it was, and begins again.
        #expect(changed.unread == [100..<UInt64.max, 0..<100])
        changed.hasRead(to: nil)
        changed.note(100, at: 30)
        changed.note(99, at: 30)
        #expect(changed.inodes == [100])
        changed.remove(100)
        changed.note(100, at: 40)
        #expect(changed.first == 40)
    }
}
