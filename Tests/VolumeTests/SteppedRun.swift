// A run whose steps are called one by one, with something else happening between them.

import Bytes
import Inspection
import Tidemark

@testable import Volume

/// Makes the steps of a run in an order that a seed chooses.
struct SteppedRun {
    let run: Run
    private let coordinator: Coordinator
    private var random: SplitMix64

    init(
        _ volume: any ExactOwner, _ indexes: [IndexSlot], _ strategy: Strategy, seed: UInt64,
        store: any SideStore = MemoryStore(), keeping: Keeping? = nil,
        change: (inout RunOptions) -> Void = { _ in }
    ) {
        var options = RunOptions()
        options.strategy = strategy
        options.limits.window = 16
        options.compareEntries = 5
        options.batchEntries = 4
        options.limits.sortBytes = 4096
        options.chunkBytes = 512
        change(&options)
        run = Run(
            owner: volume, indexes: indexes, store: store, options: options,
            clock: RunClock { 0 }, keeping: keeping)
        coordinator = Coordinator(run)
        random = SplitMix64(seed: seed)
    }

    /// Runs to the end; `between` is called between any two steps.
    mutating func finish(_ between: (Coordinator.Step) throws -> Void) throws -> RunReport {
        while !coordinator.isEnded {
            switch coordinator.need {
            case .nothing, .ended, .watermark: break
            case .scan: try scan { try between(.prepare) }
            case .comparison(let comparison):
                var open = comparison.parts
                while let place = open.indices.randomElement(using: &random) {
                    if try !open[place].step() { open.remove(at: place) }
                    try between(.compare)
                }
            case .loadBatch(let merger):
                coordinator.loadBatch = try merger.next(entries: 4)
            }
            let step = coordinator.next
            coordinator.step()
            try between(step)
        }
        return run.report
    }

    private mutating func scan(_ between: () throws -> Void) throws {
        let scanners = [run.makeScanner(), run.makeScanner()]
        while !run.isScanned, run.abortReason == nil {
            if Bool.random(using: &random) {
                _ = try scanners[Int.random(in: 0...1, using: &random)].step()
            } else {
                _ = try run.handleItem()
            }
            try between()
        }
    }
}
