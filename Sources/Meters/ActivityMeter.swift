// What happened in the last second, of what is only counted: it is looked at four times a second,
// by a thread of its own. Who asks has what is counted at that moment compared with the look a
// second before it.

internal import Synchronization
internal import Threads

/// What is counted of one activity, since it began.
public struct ActivityCount: Sendable {
    public let name: String
    /// Operations; a recorded latency may be of several.
    public let operations: UInt64
    public let latencies: Latencies

    public init(_ name: String, operations: UInt64, _ latencies: Latencies) {
        self.name = name
        self.operations = operations
        self.latencies = latencies
    }
}

/// An activity, over the last second or so. Times in seconds.
public struct Activity: Codable, Hashable, Sendable {
    public let name: String
    /// Since the beginning.
    public let count: UInt64
    public let perSecond: Double
    /// Nil where nothing was done in that time.
    public let median: Double?
    public let percentile99: Double?
    public let maximum: Double?
    /// Since the beginning: the recorded latencies, their sum, and how many of them took no longer
    /// than each of these times.
    public let recorded: Int
    public let seconds: Double
    public let within: [Within]

    public struct Within: Codable, Hashable, Sendable {
        public let seconds: Double
        public let count: Int
    }

    /// - Parameter elapsed: between the two, in nanoseconds.
    init(_ now: ActivityCount, since earlier: ActivityCount?, elapsed: UInt64) {
        name = now.name
        count = now.operations
        let recent = earlier.map { now.latencies.since($0.latencies) } ?? now.latencies
        let done = now.operations &- (earlier?.operations ?? 0)
        perSecond = elapsed > 0 ? Double(done) * 1e9 / Double(elapsed) : 0
        func seconds(_ nanoseconds: UInt64) -> Double? {
            recent.count > 0 ? Double(nanoseconds) / 1e9 : nil
        }
        median = seconds(recent.percentile(50))
        percentile99 = seconds(recent.percentile(99))
        maximum = seconds(recent.maximum)
        recorded = now.latencies.count
        self.seconds = Double(now.latencies.sum) / 1e9
        within = now.latencies.cumulative.map {
            Within(seconds: Double($0.nanoseconds) / 1e9, count: $0.count)
        }
    }
}

public final class ActivityMeter: Sendable {
    private struct Sample {
        let time: UInt64
        let counts: [ActivityCount]
    }

    private struct State {
        var samples: [Sample] = []
        var isEnded = false
    }

    private static let interval = 0.25
    /// How long ago the sample is that the last one is compared with, in nanoseconds.
    private static let span: UInt64 = 1_000_000_000
    private let state = Monitor(State())
    private let look: @Sendable () -> [ActivityCount]
    private let thread = Mutex<DedicatedThread?>(nil)

    /// - Parameter look: what is counted, always in the same order; asked on several threads.
    public init(_ look: @escaping @Sendable () -> [ActivityCount]) {
        let state = state
        self.look = look
        let first = Sample(time: monotonicNanoseconds(), counts: look())
        state.withLock { $0.samples = [first] }
        thread.withLock {
            $0 = DedicatedThread(name: "activity") {
                while state.wait(seconds: ActivityMeter.interval, { $0.isEnded ? true : nil })
                    == nil
                {
                    let sample = Sample(time: monotonicNanoseconds(), counts: look())
                    state.withLock { ActivityMeter.note(sample, &$0.samples) }
                }
            }
        }
    }

    private static func note(_ sample: Sample, _ samples: inout [Sample]) {
        samples.append(sample)
        while samples.count > 2, samples[1].time + span <= sample.time { samples.removeFirst() }
    }

    public var activities: [Activity] {
        guard let first = state.withLock({ $0.samples.first }) else { return [] }
        let now = Sample(time: monotonicNanoseconds(), counts: look())
        return now.counts.enumerated().map { index, count in
            Activity(
                count, since: index < first.counts.count ? first.counts[index] : nil,
                elapsed: now.time - first.time)
        }
    }

    /// Looks no more. To be called once.
    public func end() {
        state.withLock(notify: true) { $0.isEnded = true }
        thread.withLock { $0.take() }?.join()
    }
}
