// Which worker waits for requests, which stand by, and when one of those is called.

import Bytes
import Meters
import Synchronization
import TestSupport
import Testing
import Threads

@testable import VolumeMount

#if canImport(Glibc)
import Glibc
#endif

@Suite struct WorkerPoolTests {
    /// A worker that stands by until it is called, once.
    private final class Stander: Sendable {
        private let outcome: Monitor<Bool?>
        private let thread: DedicatedThread

        init(_ pool: WorkerPool) {
            let outcome = Monitor<Bool?>(nil)
            self.outcome = outcome
            thread = DedicatedThread(name: "stander") {
                let isTurn = pool.enter(WorkerPool.Call(false))
                outcome.withLock(notify: true) { $0 = isTurn }
            }
        }

        /// What `enter` has returned; nil: nothing in so many seconds.
        func outcome(within seconds: Double) -> Bool? { outcome.wait(seconds: seconds) { $0 } }
        func join() { thread.join() }
    }

    private func standing(_ pool: WorkerPool, _ count: Int = 1) throws -> [Stander] {
        let standers = (0..<count).map { _ in Stander(pool) }
        try until { pool.standBy == count }
        return standers
    }

    @Test func `one waits, and who comes then stands by until the end`() throws {
        let pool = WorkerPool()
        #expect(pool.enter(WorkerPool.Call(false)))
        let standers = try standing(pool, 3)
        for stander in standers { #expect(stander.outcome(within: 0) == nil) }
        // It comes back again and again, and has to wait each time.
        for _ in 0..<100 {
            pool.leave(waitedSince: 0)
            #expect(pool.enter(WorkerPool.Call(false)))
        }
        for stander in standers { #expect(stander.outcome(within: 0) == nil) }
        pool.end()
        for stander in standers {
            #expect(stander.outcome(within: patience) == false)
            stander.join()
        }
        #expect(!pool.enter(WorkerPool.Call(false)))
    }

    @Test func `another is called where requests wait for those at work`() throws {
        let pool = WorkerPool()
        let stander = try standing(pool: pool)
        var times = 0
        while stander.outcome(within: 0) == nil, times < 10_000 {
            pool.leave(waitedSince: monotonicNanoseconds())
            times += 1
            // Called: it waits, and the first would stand by.
            if pool.standBy == 0 { break }
            #expect(pool.enter(WorkerPool.Call(false)))
        }
        #expect(times >= 8)
        #expect(stander.outcome(within: patience) == true)
        stander.join()
    }

    /// One that stands by while another waits.
    private func standing(pool: WorkerPool) throws -> Stander {
        try #require(pool.enter(WorkerPool.Call(false)))
        return try standing(pool)[0]
    }

    @Test func `another is called where nobody comes back, also after a long silence`() throws {
        let pool = WorkerPool()
        let watchdog = DedicatedThread(name: "watchdog") { pool.watch() }
        let first = try standing(pool: pool)
        try until("sleeping watchdog") { pool.isWatchdogAsleep }
        #expect(first.outcome(within: 0) == nil)
        pool.leave(waitedSince: 0)
        #expect(first.outcome(within: patience) == true)
        let second = try standing(pool)[0]
        try until("sleeping watchdog") { pool.isWatchdogAsleep }
        #expect(second.outcome(within: 0) == nil)
        pool.leave(waitedSince: 0)
        #expect(second.outcome(within: patience) == true)
        pool.end()
        watchdog.join()
        first.join()
        second.join()
    }

    @Test(arguments: 1...5 as ClosedRange<UInt64>)
    func `every request is served, whichever workers are held up`(seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let pool = WorkerPool()
        let requests = Monitor<(waiting: [Bool], isOver: Bool)>(([], false))
        let held = Monitor(false), served = Atomic(0), heldUp = Atomic(0)
        var threads = (0..<6).map { _ in
            DedicatedThread(name: "worker") {
                let call = WorkerPool.Call(false)
                while pool.enter(call) {
                    let start = monotonicNanoseconds()
                    let isLong: Bool? = requests.wait { state in
                        if state.waiting.isEmpty { return state.isOver ? .some(nil) : nil }
                        return state.waiting.removeFirst()
                    }
                    pool.leave(waitedSince: start)
                    guard let isLong else { break }
                    if isLong {
                        heldUp.add(1, ordering: .relaxed)
                        held.wait { $0 ? () : nil }
                    }
                    served.add(1, ordering: .relaxed)
                }
                pool.end()
            }
        }
        threads.append(DedicatedThread(name: "watchdog") { pool.watch() })
        // Five may be held up: the sixth serves the rest.
        var long = 0
        let all = (0..<2000).map { _ in
            let isLong = long < 5 && Int.random(in: 0..<100, using: &random) == 0
            if isLong { long += 1 }
            return isLong
        }
        for request in all { requests.withLock(notify: true) { $0.waiting.append(request) } }
        try until("answers to all requests, SEED=\(seed)") {
            served.load(ordering: .relaxed) == all.count - long
                && heldUp.load(ordering: .relaxed) == long
        }
        held.withLock(notify: true) { $0 = true }
        requests.withLock(notify: true) { $0.isOver = true }
        for thread in threads { thread.join() }
        #expect(served.load(ordering: .relaxed) == all.count, "SEED=\(seed)")
    }
}
