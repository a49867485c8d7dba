// The protocol under random interleavings: writers, scanners, the assistant, spills, cut,
// patch, load, commit and reap, one step at a time in an order that the seed chooses, with
// I1 checked whenever a barrier is reached.

import Bytes
import Catalogue
import Testing

import Tidemark

/// One run of the protocol, stepped at random.
struct Interleaving {
    var random: SplitMix64
    let catalogue: Catalogue
    let run: Run
    var scanners: [Scanner]
    let store: MemoryStore

    init(seed: Int, strategy: Strategy, voidEvery: Int = 0) {
        random = SplitMix64(seed: seed)
        catalogue = Catalogue(voidEvery: voidEvery)
        for _ in 0..<Int.random(in: 0...30, using: &random) { catalogue.randomTransaction(&random) }
        var options = RunOptions()
        options.strategy = strategy
        options.limits.window = Int.random(in: 1...3, using: &random)
        options.limits.sortBytes = Int.random(in: 1...600, using: &random)
        options.chunkBytes = Int.random(in: 40...200, using: &random)
        options.batchEntries = Int.random(in: 1...5, using: &random)
        options.overlayBytes = Int.random(in: 1...400, using: &random)
        options.compareEntries = Int.random(in: 1...5, using: &random)
        options.compareParts = Int.random(in: 1...3, using: &random)
        options.patchEntries = Int.random(in: 1...4, using: &random)
        store = MemoryStore()
        run = Run(
            owner: catalogue, indexes: slots, store: store, options: options,
            clock: countingClock())
        scanners = []
    }

    mutating func write(_ probability: Double = 0.6) {
        while random.chance(probability) { catalogue.randomTransaction(&random) }
    }

    /// Scans to the end, in any order of steps; checks I1 at every barrier.
    mutating func scan() throws {
        if scanners.isEmpty {
            try run.prepare()
            scanners = (0..<Int.random(in: 1...3, using: &random)).map { _ in run.makeScanner() }
        }
        var quiet = 0
        while !run.isScanned {
            switch Int.random(in: 0..<6, using: &random) {
            case 0, 1: if quiet < 400 { catalogue.randomTransaction(&random) }
            case 2, 3: _ = try scanners.randomElement(using: &random)?.step()
            case 4: _ = try run.handleItem()
            default: if random.chance(0.2) { try run.assistant.spill() }
            }
            quiet += 1
            try checkCoverage()
        }
    }

    /// I1: where no window is open and nothing is queued, the shadow is what the records
    /// below the cursor derive.
    func checkCoverage() throws {
        let status = run.hook.status
        guard status.isEmpty, run.hook.openWindowCount == 0, run.hook.rereadCount == 0 else {
            return
        }
        try run.assistant.spill()
        let cursor: KeyBytes? =
            switch status.cursor {
            case .at(let key): key
            case .end: nil
            }
        for slot in slots {
            #expect(try shadow(slot) == catalogue.expected(slot, below: cursor), "I1")
        }
    }

    func shadow(_ slot: IndexSlot) throws -> [[UInt8]: [UInt8]] {
        let merge = try run.assistant.freeze().merge(
            slot.rawValue, index: catalogue.indexes[slot.rawValue])
        let batch = EntryBatch()
        while try merge.fill(batch, limit: 7) {}
        var result: [[UInt8]: [UInt8]] = [:]
        var position = 0
        while position < batch.endPosition {
            result[batch.key(at: position).array] = batch.value(at: position).array
            position = batch.position(after: position)
        }
        return result
    }

    /// Settles, lets writers in between, and cuts.
    mutating func settleAndCut() throws -> Run.Cut? {
        try run.settle()
        write(0.4)
        return try run.cut()
    }

    /// Compares at a cut, with writers going on.
    mutating func compare(_ cut: Run.Cut, isRecheck: Bool = false) throws -> [Comparison] {
        try slots.map { slot in
            let comparison = try run.compare(slot, at: cut, isRecheck: isRecheck)
            var open = comparison.parts
            while !open.isEmpty {
                let place = Int.random(in: open.indices, using: &random)
                if try !open[place].step() { open.remove(at: place) }
                write(0.2)
                if random.chance(0.3) { _ = try run.handleItem() }
            }
            try run.finish(comparison, isRecheck: isRecheck)
            return comparison
        }
    }

    mutating func mend(_ comparison: Comparison) throws {
        switch try run.plan(comparison) {
        case .none: break
        case .patch:
            var start = 0
            while let patch = try run.beginPatch(comparison, from: start) {
                write(0.4)
                if random.chance(0.5) { try run.drain() }
                write(0.4)
                try run.apply(patch)
                start = patch.end
            }
        case .rebuild:
            var merger = try run.beginLoad(comparison)
            var ahead: [LoadBatch] = []
            var isLoaded = false
            while !isLoaded {
                write(0.5)
                if random.chance(0.4) { _ = try run.handleItem() }
                if ahead.count < 3, let loadBatch = try merger.next(entries: run.batchEntries) {
                    ahead.append(loadBatch)
                    if random.chance(0.5) { continue }
                }
                isLoaded = try !run.load(ahead.removeFirst()).more
                if let fresh = try run.refreeze() {
                    merger = fresh
                    ahead = []
                }
            }
            write()
            try run.commit()
        }
    }

    /// The whole run, up to the commits.
    mutating func drive() throws {
        try scan()
        var cut = try settleAndCut()
        while cut == nil {
            try scan()
            cut = try settleAndCut()
        }
        guard let cut else { return }
        let comparisons = try compare(cut)
        for comparison in comparisons { try mend(comparison) }
    }
}

@Suite struct ProtocolTests {
    @Test(arguments: 0..<300)
    func `a rebuild under random interleavings ends in what the records derive`(seed: Int) throws {
        var it = Interleaving(seed: seed, strategy: .rebuild)
        try it.drive()
        it.write()
        for slot in slots {
            #expect(
                it.catalogue.entries(of: slot) == it.catalogue.expected(slot), "SEED=\(seed)")
        }
        try it.recheckIsClean(seed)
        while try it.run.reap(limit: 3).more { it.write(0.3) }
        it.run.finish(nil)
        for slot in slots { #expect(it.catalogue.generations(of: slot) == [2], "SEED=\(seed)") }
    }

    @Test(arguments: 0..<150)
    func `damage is found exactly, and none is invented, while writers go on`(seed: Int) throws {
        for strategy in [Strategy.rebuild, .patch] {
            var it = Interleaving(seed: seed, strategy: strategy)
            try it.scan()
            let found = try it.plantAndCompare()
            for (comparison, counts) in found {
                let report = it.run.report.indexes[comparison.slot.rawValue]
                #expect(report.found == counts, "SEED=\(seed) \(strategy)")
                try it.mend(comparison)
            }
            it.write()
            for slot in slots {
                #expect(
                    it.catalogue.entries(of: slot) == it.catalogue.expected(slot),
                    "SEED=\(seed) \(strategy)")
            }
            try it.recheckIsClean(seed)
            it.run.finish(nil)
        }
    }

    @Test(arguments: 0..<150)
    func `ranges reported as void are read again`(seed: Int) throws {
        var it = Interleaving(seed: seed, strategy: .check, voidEvery: 3)
        var cut: Run.Cut?
        while cut == nil {
            try it.scan()
            cut = try it.settleAndCut()
        }
        if let cut { _ = try it.compare(cut) }
        for index in it.run.report.indexes { #expect(index.found.total == 0, "SEED=\(seed)") }
        it.run.finish(nil)
    }

    @Test(arguments: 0..<100)
    func `an aborted run leaves the live index and its generation alone`(seed: Int) throws {
        var it = Interleaving(seed: seed, strategy: .rebuild)
        try it.scan()
        let comparison = try #require(try it.plantAndCompare().first?.0)
        let merger = try it.run.beginLoad(comparison)
        let loadBatch = try #require(try merger.next(entries: 1))
        let live = it.catalogue.entries(of: comparison.slot)
        it.run.hook.abort(AbortReason("as the test wants"))
        #expect(throws: AbortReason.self) { try it.run.load(loadBatch) }
        it.run.finish(AbortReason("as the test wants"))
        #expect(it.catalogue.entries(of: comparison.slot) == live)
        it.write()
        try it.catalogue.atCommitBoundary { boundary in
            while try boundary.requireGenerations().reap(limit: 4) {}
        }
        #expect(it.catalogue.generations(of: comparison.slot) == [1], "SEED=\(seed)")
    }
}

extension Interleaving {
    /// Plants damage, cuts and compares, with no transaction between planting and the cut:
    /// one that touched a damaged entry would mend it.
    mutating func plantAndCompare() throws -> [(Comparison, DiscrepancyCounts)] {
        try run.settle()
        let planted = slots.map { catalogue.randomDamage(&random, $0) }
        guard let cut = try run.cut() else { throw AbortReason("nothing is to be read again") }
        return Array(zip(try compare(cut), planted))
    }

    mutating func recheckIsClean(_ seed: Int) throws {
        guard let cut = try settleAndCut() else { throw AbortReason("nothing is to be read again") }
        _ = try compare(cut, isRecheck: true)
        for index in run.report.indexes {
            #expect(index.recheck?.total == 0, "SEED=\(seed)")
        }
    }
}
