// Runs that are limited to an inode, a subtree, or a range of blocks.

import Bytes
import TestSupport
import Testing
import VolumeFormat
import VolumeIndexes
import VolumeVerify

import Tidemark
@testable import Volume

/// What a test can be limited to, by plain code over keys as arrays.
private struct Judge {
    let scope: VolumeScope
    let resolved: Scope

    init(_ volume: Volume, _ scope: VolumeScope) throws {
        self.scope = scope
        resolved = try volume.read().scope(scope)
    }

    private func block(_ key: [UInt8]) -> UInt64 {
        key.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Whether an entry is of the scope. What begins below its blocks is, where `derived` reaches
    /// in.
    func holds(_ index: String, _ key: [UInt8], derived: [UInt8]?) -> Bool {
        if case .blocks(let start, let count) = scope {
            guard block(key) < start else { return block(key) < start + count }
            let length = derived.map { $0.prefix(4).reduce(0) { $0 << 8 | UInt64($1) } } ?? 0
            return block(key) + length > start
        }
        let kind: RecordKind = index == "rmap" ? .extent : .dirent
        let primary = key[8..<16] + [kind.rawValue] + key[16...]
        return resolved.records.contains(Array(primary).rawSpan)
    }

    /// Whether the entry begins below the blocks: under writers it may have been one of the scope
    /// or not.
    func isBelow(_ key: [UInt8]) -> Bool {
        guard case .blocks(let start, _) = scope else { return false }
        return block(key) < start
    }
}

private func derived(_ volume: Volume, _ index: String) throws -> [[UInt8]: [UInt8]] {
    let all = try volume.derived()
    return index == "rmap" ? all.rmap : all.parents
}

/// Entries of the scope that are not as they should be.
private func wrong(_ volume: Volume, _ judge: Judge, _ index: String) throws -> DiscrepancyCounts {
    let expected = try derived(volume, index), live = try volume.liveEntries(index)
    var counts = DiscrepancyCounts()
    for (key, value) in expected where judge.holds(index, key, derived: value) {
        guard let found = live[key] else {
            counts.add(.missing)
            continue
        }
        if found != value { counts.add(.wrong) }
    }
    for key in live.keys where expected[key] == nil && judge.holds(index, key, derived: nil) {
        counts.add(.stray)
    }
    return counts
}

@Suite(.temporaryDirectory) struct ScopeTests {
    enum Kind: CaseIterable { case inode, directory, subtree, blocks }

    private func fill(_ volume: Volume, seed: UInt64) throws -> SummaryWriter {
        var writer = SummaryWriter(seed: seed)
        writer.unlinks = false
        try writer.write(volume, operations: 500)
        _ = try volume.damage(index: "rmap", count: 18, kind: .mixed, seed: seed)
        _ = try volume.damage(index: "parents", count: 24, kind: .mixed, seed: seed + 1)
        return writer
    }

    private func choose(
        _ kind: Kind, _ volume: Volume, _ writer: SummaryWriter, _ random: inout SplitMix64
    ) throws -> VolumeScope {
        switch kind {
        case .inode: return .inode(try #require(writer.files.randomElement(using: &random)).inode)
        case .directory:
            return .inode(try #require(writer.directories.randomElement(using: &random)))
        case .subtree:
            let top = try #require(writer.directories.randomElement(using: &random))
            return .subtree(try path(volume, top))
        case .blocks:
            let used = try volume.derived().rmap.keys.map { key in
                key.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
            }
            let some = try #require(used.randomElement(using: &random))
            let last = volume.geometry.blocks - 1
            let start = min(some + UInt64.random(in: 0...2, using: &random), last)
            let end = min(start + UInt64.random(in: 0...59, using: &random), last)
            return .blocks(start: start, count: end - start + 1)
        }
    }

    /// A directory's path, by the entries of directories alone.
    private func path(_ volume: Volume, _ directory: InodeNumber) throws -> String {
        let snapshot = try volume.read()
        var path = "", inode = directory
        while inode != .root {
            let parent = try snapshot.existing(inode).parent
            let entry = try snapshot.list(parent).first { $0.target?.child == inode }
            path = "/" + String(decoding: try #require(entry).name, as: UTF8.self) + path
            inode = parent
        }
        return path.isEmpty ? "/" : path
    }

    @Test(arguments: Kind.allCases, 1...12 as ClosedRange<UInt64>)
    func `what is wrong in a scope is found and mended, and nothing outside is touched`(
        kind: Kind, seed: UInt64
    ) throws {
        let context: Comment = "SEED=\(seed) \(kind)"
        let isWritten = seed % 2 == 0
        var writes = 0
        var judge: Judge?
        var after: [String: [[UInt8]: [UInt8]]] = [:], right = after
        // Both are to choose the same blocks, whenever their durable points come.
        let open: (inout OpenOptions) -> Void = { $0.passesOverUnsettled = false }
        try withVolume(open: open) { volume in
            var random = SplitMix64(seed: seed &* 31)
            var writer = try fill(volume, seed: seed)
            let its = try Judge(volume, try choose(kind, volume, writer, &random))
            judge = its
            let before = try its.scope.indexes.map {
                try wrong(volume, its, volume.indexes[$0.rawValue].name)
            }
            var stepped = SteppedRun(volume, its.scope.indexes, .patch, seed: seed) {
                $0.scope = its.resolved
                $0.patchEntries = 2
                // So few that it takes several looks.
                $0.rememberedDiscrepancies = 3
            }
            let report = try stepped.finish { _ in
                guard isWritten, Int.random(in: 0...2, using: &random) == 0 else { return }
                try writer.write(volume)
                writes += 1
            }
            #expect(report.outcome == .repaired || report.outcome == .clean, "\(context) \(report)")
            if !isWritten { #expect(report.indexes.map(\.found) == before, context) }
            for index in ["rmap", "parents"] {
                after[index] = try volume.liveEntries(index)
                right[index] = try derived(volume, index)
            }
        }
        // A volume to which the same was done, but for the repair.
        let its = try #require(judge)
        try withVolume(open: open) { volume in
            var writer = try fill(volume, seed: seed)
            try writer.write(volume, operations: writes)
            for slot in [VolumeSlots.rmap, VolumeSlots.parents] {
                let index = volume.indexes[slot.rawValue].name
                let twin = try volume.liveEntries(index)
                let right = right[index] ?? [:], after = after[index] ?? [:]
                #expect(try derived(volume, index) == right, context)
                let isAbout = its.scope.indexes.contains(slot)
                for key in Set(twin.keys).union(right.keys).union(after.keys) {
                    let found = after[key]
                    if isAbout, its.holds(index, key, derived: right[key]) {
                        #expect(found == right[key], "\(context) \(index) \(key)")
                    } else if isAbout, its.isBelow(key) {
                        #expect(found == right[key] || found == twin[key], context)
                    } else {
                        #expect(found == twin[key], "\(context) \(index) \(key)")
                    }
                }
            }
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `blocks are tiled by their mappings and free space where nothing is wrong`(
        seed: UInt64
    ) throws {
        try withVolume { volume in
            var random = SplitMix64(seed: seed)
            var writer = SummaryWriter(seed: seed)
            try writer.write(volume, operations: 200)
            let mappings = try volume.derived().rmap.map { key, value in
                ReverseMap.extent(key: key.rawSpan, value: Array(value.prefix(5)).rawSpan)
            }
            let extents = mappings.compactMap { $0 }.sorted { $0.start < $1.start }
            #expect(extents.count == mappings.count)
            let used = try #require(extents.last).startEnd
            for _ in 0..<50 {
                let start = UInt64.random(in: 0..<used, using: &random)
                let end = min(start + UInt64.random(in: 1...40, using: &random), used)
                let inside = extents.filter { $0.start < end && $0.startEnd > start }
                #expect(try volume.read().tiling(start..<end) == inside, "SEED=\(seed)")
            }
            // Each single thing that is wrong keeps it from being certain.
            let extent = try #require(extents.randomElement(using: &random))
            let key = ReverseMap.key(extent).span.array
            var longer = extent
            longer.length += 1
            let shorter = [UInt8](repeating: 0, count: 3) + [1, 0]
            let wrongs: [[UInt8]?] = [
                nil, ReverseMap.value(longer).span.array, extent.length > 1 ? shorter : nil,
            ]
            for payload in wrongs {
                _ = try volume.alter(VolumeSlots.rmap, key: key, payload: payload)
                #expect(try volume.read().tiling(extent.start..<extent.startEnd) == nil)
            }
            _ = try volume.alter(
                VolumeSlots.rmap, key: key, payload: ReverseMap.value(extent).span.array)
            var stray = extent
            stray.offset += 1 << 40
            _ = try volume.alter(
                VolumeSlots.rmap, key: ReverseMap.key(stray).span.array,
                payload: ReverseMap.value(stray).span.array)
            #expect(try volume.read().tiling(extent.start..<extent.startEnd) == nil)
        }
    }

    @Test(arguments: [false, true])
    func `a scope reads its own records, and blocks read all only where they must`(
        isDamaged: Bool
    ) throws {
        try withVolume { volume in
            try volume.perform { ops in
                for n in 0..<400 {
                    let file = try ops.create(.root, name(n), NewInode()).number
                    try ops.reserve(file, [0..<8192], .written, size: 8192)
                }
            }
            let all = try volume.derived().rmap
            let last = try #require(all.keys.max { $0.lexicographicallyPrecedes($1) })
            if isDamaged { _ = try volume.alter(VolumeSlots.rmap, key: last, payload: nil) }
            let block = last.prefix(8).reduce(0) { $0 << 8 | UInt64($1) }
            for (scope, most) in [
                (VolumeScope.inode(.root), 401), (.inode(.root + 7), 2),
                (.blocks(start: block, count: 1), isDamaged ? all.count : 1),
            ] {
                var stepped = SteppedRun(volume, scope.indexes, .check, seed: 1) {
                    $0.scope = try? volume.read().scope(scope)
                }
                let report = try stepped.finish { _ in }
                let isWrong = isDamaged && scope.indexes.count == 1
                #expect(report.outcome == (isWrong ? .corrupt : .clean), "\(report)")
                #expect(report.primaryRecords <= most)
                #expect(report.scope == scope.description)
            }
        }
    }

    @Test func `a subtree is the set of inodes below it when the run begins`() throws {
        try withVolume { volume in
            let (inside, moved, file) = try volume.perform { ops in
                let inside = try ops.makeDirectory(.root, bytes("d")).number
                let moved = try ops.makeDirectory(.root, bytes("moved")).number
                let file = try ops.create(inside, bytes("f")).number
                _ = try ops.link(file, .root, bytes("outside"))
                return (inside, moved, file)
            }
            let scope = try volume.read().scope(.subtree("/d"))
            func holds(_ number: InodeNumber) -> Bool {
                scope.records.contains(ExtentRecord.key(number, .data, 0).span)
            }
            #expect(holds(inside) && holds(file) && !holds(moved) && !holds(.root))
            try volume.perform { try $0.rename(.root, bytes("moved"), to: inside, bytes("m")) }
            #expect(
                try volume.read().scope(.subtree("/d")).records.contains(
                    InodeRecord.key(moved).span))
            #expect(throws: VolumeError.self) { try volume.read().scope(.subtree("/d/f")) }
            #expect(throws: VolumeError.self) { try volume.read().scope(.subtree("/no")) }
            #expect(throws: VolumeError.self) {
                try volume.read().scope(.blocks(start: 0, count: 1 << 40))
            }
        }
    }

    @Test func `what is limited to is said and understood again`() {
        let scopes: [VolumeScope] = [
            .inode(17), .subtree("/a b/c"), .subtree("/"), .blocks(start: 4, count: 9),
        ]
        for scope in scopes { #expect(VolumeScope(scope.description) == scope) }
        #expect(VolumeScope(blocks: "7") == .blocks(start: 7, count: 1))
        for text in ["", ":", "1:", "1:0", "-1", "1:2:3", "18446744073709551615:1", "x"] {
            #expect(VolumeScope(blocks: text) == nil)
        }
        for text in ["", "inode", "inode x", "file 3", "blocks 1:0"] {
            #expect(VolumeScope(text) == nil)
        }
    }

    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func `ranges hold what they were made of, and come back from their bytes`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var ranges = RecordRanges(), held: Set<UInt8> = []
        var next = 0
        while next < 200 {
            let lower = next + Int.random(in: 0...5, using: &random)
            let upper = lower + Int.random(in: 1...9, using: &random)
            ranges.append(
                KeyRange(lower: KeyBytes([UInt8(lower)]), upper: KeyBytes([UInt8(upper)])))
            for key in lower..<upper { held.insert(UInt8(key)) }
            next = upper
        }
        let same = RecordRanges(bytes: ranges.bytes, ends: ranges.ends)
        #expect(same == ranges)
        if seed % 2 == 0 { ranges.complete() }
        for key in 0...255 as ClosedRange<UInt8> {
            #expect(ranges.contains([key].rawSpan) == held.contains(key), "SEED=\(seed) \(key)")
            let place = ranges.place(from: [key].rawSpan)
            if place < ranges.count {
                #expect(ranges[place].upper.map { KeyBytes([key]) < $0 } != false)
            }
            if place > 0 {
                #expect(ranges[place - 1].upper.map { !(KeyBytes([key]) < $0) } == true)
            }
        }
        #expect(RecordRanges(bytes: ranges.bytes.reversed(), ends: ranges.ends) == nil)
        #expect(RecordRanges(bytes: ranges.bytes, ends: ranges.ends + [1]) == nil)
        let hulls = ranges.hulls(4)
        #expect(hulls.count == min(4, ranges.count) && hulls.first?.lower == ranges[0].lower)
        #expect(hulls.last?.upper == ranges[ranges.count - 1].upper)
    }

    @Test func `a scope goes through a checkpoint, and half of one is refused`() throws {
        try withVolume { volume in
            try volume.perform { ops in
                let directory = try ops.makeDirectory(.root, bytes("d")).number
                for n in 0..<20 {
                    _ = try ops.create(n % 3 == 0 ? directory : .root, name(n), NewInode())
                }
            }
            let scopes: [Scope?] = [
                nil, try volume.read().scope(.subtree("/d")),
                try volume.read().scope(.blocks(start: 3, count: 4)),
                try volume.read().scope(.inode(.max)),
            ]
            for scope in scopes {
                let checkpoint = Checkpoint(
                    commit: 4,
                    position: .init(
                        cursor: nil, unread: scope?.unread ?? [], applied: 3, elided: 4),
                    voids: [], runs: [[], []], nextRun: 5, primaryRecords: 1, windows: 2,
                    damage: [], damageCount: 0, scope: scope)
                let bytes = checkpoint.encoded
                let decoded = Checkpoint(bytes.rawSpan)
                let read = try #require(decoded)
                #expect(read.scope == scope && read.scan.unread == checkpoint.scan.unread)
                for size in bytes.indices {
                    let cut = Checkpoint(bytes.rawSpan.extracting(first: size))
                    #expect(cut == nil)
                }
            }
        }
    }
}
