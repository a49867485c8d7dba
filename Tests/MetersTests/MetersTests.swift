import Synchronization
import Testing
import Threads

@testable import Meters

@Suite struct MetersTests {
    @Test func `every duration lies in its bucket, and buckets follow one another`() {
        for index in 1..<Bucket.count {
            let first = Bucket.end(of: index - 1)
            #expect(Bucket.index(of: first) == index)
            #expect(Bucket.index(of: first - 1) == index - 1)
            #expect(Bucket.end(of: index) > first)
        }
        #expect(Bucket.index(of: 0) == 0)
        #expect(Bucket.index(of: .max) == Bucket.count - 1)
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `percentiles are right within a thirty-second, the longest exactly`(seed: UInt64) {
        let recorder = LatencyRecorder()
        var state = seed, values: [UInt64] = []
        for _ in 0..<10_000 {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            values.append(600 + (state >> 33) % (1 << (10 + (state >> 20) % 20)))
        }
        for value in values { recorder.record(value) }
        values.sort()
        let latencies = recorder.latencies
        #expect(latencies.count == values.count)
        #expect(latencies.maximum == values.last)
        #expect(latencies.sum == values.reduce(0, +))
        for percent in [1.0, 50, 90, 99, 99.9, 100] {
            let exact = values[max(0, Int((Double(values.count) * percent / 100).rounded(.up)) - 1)]
            let told = latencies.percentile(percent)
            #expect(told >= exact, "\(percent) % of seed \(seed)")
            #expect(Double(told) <= Double(exact) * 1.032, "\(percent) % of seed \(seed)")
        }
        for (bound, count) in latencies.cumulative {
            #expect(count == values.count { $0 < bound }, "\(bound) ns of seed \(seed)")
        }
    }

    @Test func `what was recorded since an earlier look is the difference`() {
        let recorder = LatencyRecorder()
        for _ in 0..<5 { recorder.record(1_000_000) }
        let earlier = recorder.latencies
        for _ in 0..<3 { recorder.record(10_000) }
        let recent = recorder.latencies.since(earlier)
        #expect(recent.count == 3)
        #expect(recent.sum == 30_000)
        #expect(recent.maximum < 12_000)
        #expect(recorder.latencies.since(recorder.latencies).percentile(99) == 0)
    }

    @Test func `threads that record at once lose nothing`() {
        let recorder = LatencyRecorder()
        let threads = (0..<4).map { number in
            DedicatedThread(name: "recorder") {
                for value in 0..<20_000 { recorder.record(UInt64(1000 * (number + 1) + value)) }
            }
        }
        for thread in threads { thread.join() }
        #expect(recorder.latencies.count == 80_000)
        #expect(recorder.latencies.maximum == 23_999)
    }

    @Test func `what is counted, and what came to be counted, is told at once`() {
        let recorder = LatencyRecorder(), more = Atomic(false)
        let meter = ActivityMeter {
            let counted = ActivityCount("a", operations: 7, recorder.latencies)
            return more.load(ordering: .relaxed) ? [counted, counted] : [counted]
        }
        defer { meter.end() }
        #expect(meter.activities.map(\.recorded) == [0])
        recorder.record(5000)
        more.store(true, ordering: .relaxed)
        #expect(meter.activities.map(\.recorded) == [1, 1])
    }

    @Test func `an activity is told by the second, and as a whole`() {
        var earlier = Latencies(), now = Latencies()
        earlier.add(recorded([5000, 5000]))
        now.add(recorded([5000, 5000, 700_000]))
        let activity = Activity(
            ActivityCount("writers", operations: 34, now),
            since: ActivityCount("writers", operations: 10, earlier), elapsed: 500_000_000)
        #expect(activity.perSecond == 48)
        #expect(activity.count == 34)
        #expect(activity.recorded == 3)
        #expect(activity.median == activity.maximum)
        #expect(activity.maximum.map { (0.0007...0.0008).contains($0) } == true)
        let idle = Activity(
            ActivityCount("writers", operations: 34, now),
            since: ActivityCount("writers", operations: 34, now), elapsed: 1)
        #expect(idle.perSecond == 0 && idle.median == nil && idle.maximum == nil)
    }

    private func recorded(_ values: [UInt64]) -> Latencies {
        let recorder = LatencyRecorder()
        for value in values { recorder.record(value) }
        return recorder.latencies
    }
}
