// Failures on purpose: which call fails, and how. Shared by everything on a stage that can
// fail; counts the calls of each point, so that an explorer learns which there are.

internal import Bytes
public import Inspection
internal import LMDB
internal import Tidemark
internal import Volume

/// The failures of a scenario, which a stage lets happen at the calls that can fail.
public final class Faults {
    /// Those that are in force.
    var planned: [Fault]
    /// Calls so far, by the point's number.
    private var counts = [Int](repeating: 0, count: Fault.Point.allCases.count)
    /// Faults that have happened.
    private(set) var struck: [Fault] = []
    private var rate = 0.0
    private var random = SplitMix64(seed: 0)
    /// While false nothing fails and nothing is counted: when the stage looks for itself.
    var isArmed = false

    public init(_ planned: [Fault]) { self.planned = planned }

    /// Begins anew, with these faults.
    public func begin(_ planned: [Fault]) {
        self.planned = planned
        for place in counts.indices { counts[place] = 0 }
        struck = []
        isArmed = false
        rate = 0
    }

    /// From here on every call fails with this probability.
    func strike(rate: Double, random: SplitMix64) {
        planned = []
        self.rate = rate
        self.random = random
    }

    /// How far it is to each fault that has not struck: a part of a state.
    public func describe(into digest: inout StateDigest) {
        for fault in planned where fault.call > 0 {
            digest.add(min(counts[fault.point.number], fault.call))
        }
    }

    /// Calls of `point` so far.
    func calls(of point: Fault.Point) -> Int { counts[point.number] }

    /// Throws where this call is to fail.
    public func check(_ point: Fault.Point) throws {
        guard isArmed else { return }
        counts[point.number] += 1
        let number = counts[point.number]
        for fault in planned where fault.point == point && fault.unreadable == nil {
            guard fault.call == 0 || fault.call == number else { continue }
            struck.append(fault)
            throw error(fault)
        }
        guard rate > 0, Double.random(in: 0..<1, using: &random) < rate else { return }
        let cause = Fault.Cause.allCases.randomElement(using: &random) ?? .ioError
        let fault = Fault(point, call: number, cause: cause)
        struck.append(fault)
        throw error(fault)
    }

    private func error(_ fault: Fault) -> any Error {
        let code: LMDBError.Code =
            switch fault.cause {
            case .noSpace: .mapFull
            case .noMemory: .system(12)
            case .ioError: .system(5)
            case .damaged: .corrupted
            }
        return LMDBError(code: code, operation: fault.point.rawValue, object: "by the scenario")
    }
}

extension Fault.Point {
    /// Its place among all: counting must cost next to nothing.
    fileprivate var number: Int {
        switch self {
        case .sideFileAppend: 0
        case .sideFileRead: 1
        case .snapshot: 2
        case .lookahead: 3
        case .windowRead: 4
        case .entriesRead: 5
        case .room: 6
        case .createGeneration: 7
        case .appendBatch: 8
        case .validate: 9
        case .activate: 10
        case .amend: 11
        case .discard: 12
        case .reap: 13
        case .makeDurable: 14
        case .rollBack: 15
        case .forgetPrevious: 16
        case .storeRun: 17
        case .saveCheckpoint: 18
        case .logRead: 19
        case .subscribe: 20
        case .poll: 21
        case .mark: 22
        }
    }
}
