// Many threads on few files of a volume that is nearly full, so that blocks change hands all
// the time: nobody ever sees what another file has written.

import Bytes
import Dispatch
import Synchronization
import TestSupport
import Testing
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct OperationsThreadsTests {
    @Test(arguments: UInt64(1)...4, [0, 0.002])
    func `threads never see the contents of other files`(seed: UInt64, commitDelay: Double) throws {
        let small = try SmallVolume(blocks: 100, commitDelay: commitDelay)
        let volume = small.volume
        let problems = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
            var worker = Worker(volume, ModelRandom(state: seed &* 100 &+ UInt64(thread)))
            do {
                for _ in 0..<400 { try worker.step() }
            } catch {
                problems.withLock { $0.append("thread \(thread): \(error)") }
            }
        }
        #expect(problems.withLock { $0 } == [], "SEED=\(seed)")
        // All that is left can be deleted, and every block comes back.
        for name in Worker.names {
            _ = try errnoOf { try volume.perform { try $0.unlink(.root, name) } }
        }
        try volume.reclaimPending()
        #expect(try small.snapshot().fileSystemStatistics().freeBlocks == 97, "SEED=\(seed)")
        #expect(try small.snapshot().fileSystemStatistics().inodes == 1, "SEED=\(seed)")
    }

    /// Writes into each file only bytes that tell its generation.
    private struct Worker {
        static let names = (0..<5).map { bytes("f\($0)") }
        let volume: Volume
        var random: ModelRandom

        init(_ volume: Volume, _ random: ModelRandom) {
            self.volume = volume
            self.random = random
        }

        private mutating func pick(_ count: Int) -> Int {
            Int.random(in: 0..<count, using: &random)
        }

        mutating func step() throws {
            let name = Worker.names[pick(5)]
            do {
                guard let target = try volume.read().lookup(.root, name) else {
                    _ = try volume.perform { try $0.create(.root, name) }
                    return
                }
                try work(target, name)
            } catch let error as VolumeError {
                switch error {
                case .noEntry, .noSpace, .exists: return
                default: throw error
                }
            }
        }

        private mutating func work(_ target: DirentTarget, _ name: [UInt8]) throws {
            let (n, generation) = (target.child, target.generation)
            let tag = UInt8(generation % 255) + 1
            let offset = UInt64(pick(12_000))
            let count = pick(6_000) + 1
            switch pick(12) {
            case 0: try volume.perform { try $0.unlink(.root, name) }
            case 1, 2: try volume.perform { _ = try $0.truncate(n, to: offset) }
            case 3: try volume.perform { try $0.allocate(n, offset, UInt64(count), .punchHole) }
            case 4:
                try volume.perform {
                    try $0.allocate(n, offset, UInt64(count), .zeroRange(keepSize: false))
                }
            case 5, 6, 7, 8:
                let contents = [UInt8](repeating: tag, count: count)
                try volume.write(n, generation: generation, at: offset, contents.span.bytes)
            default:
                let read = try volume.read(n, generation: generation, at: 0, 20_000)
                if let wrong = read.firstIndex(where: { $0 != 0 && $0 != tag }) {
                    throw Strange(text: "byte \(wrong) of \(n) is \(read[wrong]), not \(tag)")
                }
            }
        }
    }

    private struct Strange: Error { let text: String }
}
