// The rules by which a run is slowed, with a clock that the test turns; and what limits may be.

import Bytes
import Testing

@testable import Driver
import Tidemark

@Suite struct PaceTests {
    /// Reads as fast as the bucket lets it, for `seconds` of a clock of its own.
    private func read(
        _ bucket: inout TokenBucket, from start: UInt64, seconds: Double, perSecond: Int,
        atOnce: Int, each: Double = 0
    ) -> (records: Int, end: UInt64) {
        var now = start, records = 0
        let end = start + UInt64(seconds * 1e9)
        while now < end {
            now += UInt64(each * 1e9)
            bucket.take(atOnce, at: now, perSecond: perSecond)
            records += atOnce
            now += UInt64(bucket.wait(at: now, perSecond: perSecond) * 1e9) + 1
        }
        return (records, now)
    }

    @Test(arguments: [1, 7, 100, 10_000, 1_000_000], [0.0, 0.5])
    func `a speed limit is kept on the average`(limit: Int, part: Double) {
        var limits = RunLimits()
        limits.speedLimit = limit
        let atOnce = limits.recordsAtOnce(indexes: 2)
        var bucket = TokenBucket()
        // Reading itself takes a part of the time that the limit gives it.
        let each = part * Double(atOnce) / Double(limit)
        let done = read(
            &bucket, from: 5, seconds: 100, perSecond: limit, atOnce: atOnce, each: each)
        let rate = Double(done.records) / (Double(done.end - 5) / 1e9)
        #expect(abs(rate - Double(limit)) <= max(0.02 * Double(limit), 0.02), "\(rate)")
    }

    @Test func `a limit that was lowered holds at once, and nothing old is held against it`() {
        var bucket = TokenBucket()
        let fast = read(
            &bucket, from: 0, seconds: 1, perSecond: 1_000_000, atOnce: 32768)
        // As if a whole window had been read the moment before.
        bucket.take(32768, at: fast.end, perSecond: 1_000_000)
        let wait = bucket.wait(at: fast.end, perSecond: 100)
        #expect(wait > 0 && wait <= 0.11)
        let slow = read(&bucket, from: fast.end, seconds: 10, perSecond: 100, atOnce: 5)
        #expect((980...1020).contains(slow.records))
    }

    @Test func `what was not read in a rest is not made up for`() {
        var bucket = TokenBucket()
        let first = read(&bucket, from: 0, seconds: 1, perSecond: 1000, atOnce: 10)
        let later = first.end + 3_600_000_000_000
        let second = read(&bucket, from: later, seconds: 1, perSecond: 1000, atOnce: 10)
        #expect(second.records <= 1000 + 100 + 10)
    }

    @Test(arguments: [1, 10, 50, 99])
    func `a share of the time is kept by resting in proportion to the work`(share: Int) {
        var cycle = DutyCycle()
        var worked = 0.0, rested = 0.0
        for step in 0..<10_000 {
            let work = Double(step % 7) * 0.001
            worked += work
            cycle.work(work, share: Double(share) / 100)
            let rest = cycle.due
            cycle.rested(rest, isChanged: false)
            rested += rest
        }
        let kept = worked / (worked + rested) * 100
        #expect(abs(kept - Double(share)) < 0.01 * Double(share) + 0.01, "\(kept)")
    }

    @Test func `without a share nobody rests, and a change forgives what was owed`() {
        var cycle = DutyCycle()
        cycle.work(10, share: 0.01)
        #expect(cycle.due > 900)
        cycle.rested(0.1, isChanged: true)
        #expect(cycle.due == 0)
        cycle.work(10, share: 0.01)
        cycle.work(10, share: 1)
        #expect(cycle.due == 0)
    }

    @Test func `windows are small where the limit or the queue is`() {
        var limits = RunLimits()
        #expect(limits.recordsAtOnce(indexes: 2) == limits.window)
        limits.speedLimit = 100
        #expect(limits.recordsAtOnce(indexes: 2) == 5)
        limits.speedLimit = 1
        #expect(limits.recordsAtOnce(indexes: 2) == 1)
        limits.speedLimit = nil
        limits.queueBytes = LimitChange.leastQueue
        #expect(limits.recordsAtOnce(indexes: 4) == LimitChange.leastQueue / 256)
    }
}

@Suite struct LimitTests {
    private func applied(_ body: (inout LimitChange) -> Void) throws -> RunLimits {
        var change = LimitChange()
        body(&change)
        return try change.applied(to: RunLimits())
    }

    @Test func `memory is divided between the queue and sorting, which takes twice its budget`()
        throws
    {
        let limits = try applied { $0.memoryBytes = 64 << 20 }
        #expect(limits.queueBytes == 16 << 20)
        #expect(limits.sortBytes == 24 << 20)
        #expect(limits.memoryBytes == 64 << 20)
        #expect(limits == RunLimits())
        let both = try applied {
            $0.memoryBytes = 10 << 20
            $0.queueBytes = 1 << 20
        }
        #expect(both.queueBytes == 1 << 20)
        #expect(both.memoryBytes == 10 << 20)
    }

    @Test func `0 takes away a limit that can be none, and nil leaves it`() throws {
        var limits = try applied {
            $0.speedLimit = 5
            $0.stopAfter = 3
            $0.maximumSeconds = 9
            $0.isBackground = true
        }
        #expect(limits.speedLimit == 5 && limits.stopAfter == 3)
        #expect(try LimitChange().applied(to: limits) == limits)
        var change = LimitChange()
        change.speedLimit = 0
        change.stopAfter = 0
        change.maximumSeconds = 0
        change.isBackground = false
        limits = try change.applied(to: limits)
        #expect(limits == RunLimits())
    }

    @Test func `what can't be kept is refused in words`() {
        let refused: [(inout LimitChange) -> Void] = [
            { $0.speedLimit = -1 }, { $0.speedLimit = .max }, { $0.share = 0 }, { $0.share = 101 },
            { $0.window = 0 }, { $0.window = .max },
            { $0.memoryBytes = 0 }, { $0.memoryBytes = .max },
            { $0.queueBytes = 1 }, { $0.queueBytes = .max }, { $0.stopAfter = -1 },
            { $0.maximumSeconds = -1 }, { $0.maximumSeconds = .nan },
            { $0.maximumSeconds = .infinity },
            {
                $0.memoryBytes = 1 << 20
                $0.queueBytes = 1 << 20
            },
        ]
        for (number, body) in refused.enumerated() {
            let refusal = #expect(throws: LimitChange.Refusal.self, "\(number)") {
                try applied(body)
            }
            #expect(refusal?.description.isEmpty == false)
        }
    }

    @Test func `a refused change changes nothing`() {
        let controls = RunControls()
        var change = LimitChange()
        change.share = 50
        change.window = 0
        #expect(throws: LimitChange.Refusal.self) { try controls.change(change) }
        #expect(controls.limits == RunLimits())
    }
}
