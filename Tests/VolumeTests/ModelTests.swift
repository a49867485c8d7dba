// Random operations on a volume and on a model, which must agree on every result, and at the
// end on everything that can be seen.

import TestSupport
import Testing
import VolumeFormat

@testable import Volume

@Suite(.temporaryDirectory) struct ModelTests {
    @Test(arguments: UInt64(1)...40)
    func `a volume and a model of POSIX agree after any operations`(seed: UInt64) throws {
        // Every third volume is so small that it is full most of the time.
        let blocks: UInt64 = [400, 140, 60][Int(seed % 3)]
        var pair = try ModelPair(seed: seed, blocks: blocks)
        for step in 0..<400 {
            try pair.step()
            if let difference = pair.difference {
                Issue.record("SEED=\(seed), step \(step), \(pair.last): \(difference)")
                return
            }
            if step % 100 == 99 {
                let isReopened = step % 200 == 199
                if isReopened { try pair.reopen() }
                let differences = try pair.compareAll()
                #expect(differences == [], "SEED=\(seed), after step \(step), \(isReopened)")
                guard differences.isEmpty else { return }
            }
        }
    }
}

extension ModelTests {
    @Test func `the random operations meet every answer that they can`() throws {
        var answers: [Int32: Int] = [:]
        for seed in UInt64(100)...105 {
            var pair = try ModelPair(seed: seed, blocks: 60)
            for _ in 0..<500 { try pair.step() }
            answers.merge(pair.answers, uniquingKeysWith: +)
        }
        for error in ModelError.allCases {
            #expect(answers[error.rawValue, default: 0] > 0, "\(error) never came: \(answers)")
        }
        // Most operations do something.
        #expect(answers[0, default: 0] > 600, "\(answers)")
    }
}

/// SplitMix64.
struct ModelRandom: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}

/// A volume and a model that are put through the same operations.
struct ModelPair {
    let small: SmallVolume
    var model: ModelFileSystem
    var random: ModelRandom
    /// The operation that was done last, in words.
    var last = ""
    var difference: String?
    /// How often each answer came; 0: success.
    var answers: [Int32: Int] = [:]
    /// Inodes that both have open, once for each open.
    var opened: [UInt64] = []

    var volume: Volume { small.volume }

    init(seed: UInt64, blocks: UInt64) throws {
        // Every other volume answers changes before they are committed.
        small = try SmallVolume(blocks: blocks, commitDelay: seed % 2 == 0 ? 0 : 0.002)
        random = ModelRandom(state: seed)
        let root = try small.snapshot().attributes(.root).record
        let node = ModelNode(
            type: ModelNode.directory, permissions: root.permissions, uid: root.uid,
            gid: root.gid, project: root.project, links: 2, generation: root.generation,
            parent: 1, accessed: root.accessed.model, modified: root.modified.model,
            changed: root.changed.model, born: root.born.model)
        let counters = try small.volume.perform { $0.counters }
        model = ModelFileSystem(
            blockSize: 512, blocks: Int(blocks), reserved: 3, root: node,
            nextGeneration: counters.nextGeneration)
    }

    // MARK: Choices

    mutating func pick(_ count: Int) -> Int { Int.random(in: 0..<count, using: &random) }

    mutating func inode() -> UInt64 { UInt64(pick(14)) }

    mutating func directory() -> UInt64 {
        let directories = model.nodes.filter { $0.value.type == ModelNode.directory }.keys.sorted()
        return pick(8) == 0 ? inode() : directories[pick(directories.count)]
    }

    mutating func file() -> UInt64 {
        let files = model.nodes.filter { $0.value.type == ModelNode.regular }.keys.sorted()
        return files.isEmpty || pick(10) == 0 ? inode() : files[pick(files.count)]
    }

    mutating func name() -> Name {
        switch pick(60) {
        case 0: return []
        case 1: return Array("x/y".utf8)
        case 2: return [0x2e, 0x2e]
        case 3: return [UInt8](repeating: 0x61, count: 256)
        case 4: return [UInt8](repeating: 0xff, count: 255)
        case 5: return [0x61, 0]
        default: return [[0x61], [0x62], [0x63], [0xe4, 0xff], [0x64, 0x64]][pick(5)]
        }
    }

    mutating func offset() -> UInt64 {
        pick(50) == 0 ? UInt64(Int64.max) - UInt64(pick(3)) : UInt64(pick(12_000))
    }

    mutating func xattrName() -> Name {
        switch pick(30) {
        case 0: Array("user.".utf8)
        case 1: Array("other.a".utf8)
        case 2: Array("user.".utf8) + [UInt8](repeating: 0x61, count: 251)
        default: Array(["user.a", "user.b", "trusted.c", "security.d"][pick(4)].utf8)
        }
    }

    mutating func contents(_ most: Int) -> [UInt8] {
        let count = pick(most)
        let fill = UInt8(truncatingIfNeeded: random.next() | 1)
        return (0..<count).map { fill &+ UInt8(truncatingIfNeeded: $0 / 7) | 1 }
    }

    // MARK: Comparing results

    /// Does the same on both and compares what they answer.
    mutating func both<R: Equatable>(
        _ text: String, _ real: (Volume) throws -> R,
        _ modelled: (inout ModelFileSystem) throws(ModelError) -> R
    ) throws {
        last = text
        let found: Result<R, ModelFailure>
        do {
            found = .success(try real(volume))
        } catch let error as VolumeError {
            found = .failure(ModelFailure(errno: error.errno, text: "\(error)"))
        }
        let expected: Result<R, ModelError>
        do {
            expected = .success(try modelled(&model))
        } catch {
            expected = .failure(error)
        }
        if case .failure(let error) = expected {
            answers[error.rawValue, default: 0] += 1
        } else {
            answers[0, default: 0] += 1
        }
        switch (found, expected) {
        case (.success(let a), .success(let b)) where a == b: break
        case (.failure(let a), .failure(let b)) where a.errno == b.rawValue: break
        default: difference = "found \(found), expected \(expected)"
        }
    }

    struct ModelFailure: Error {
        let errno: Int32
        let text: String
    }

    mutating func reopen() throws {
        try small.reopen()
        opened = []
        model.forgetOpens()
        try volume.reclaimPending()
    }
}

extension Timestamp {
    var model: ModelTime { ModelTime(seconds: seconds, nanoseconds: nanoseconds) }
}
