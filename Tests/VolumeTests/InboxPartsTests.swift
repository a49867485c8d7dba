// The three parts of the inbox, each by itself and without a thread or a clock: the turn, what
// waits for it, and when the open group is due.

import LMDB
import Testing

@testable import Volume

private final class NamedJob: Job, BoundaryJob {
    let name: String
    var mustAbort: LMDBError? { nil }

    init(_ name: String) { self.name = name }
    func run(_ operations: inout Operations) {}
    func end(_ failure: LMDBError?) {}
}

/// Expectations may call what changes a value only behind a reference.
private final class Box<Value> {
    var it: Value
    init(_ value: Value) { it = value }
}

private func names(_ jobs: [any Job]) -> [String] { jobs.compactMap { ($0 as? NamedJob)?.name } }

@Suite struct TurnLockTests {
    @Test func `one thread has the turn, and gives it back once`() async {
        var lock = TurnLock()
        #expect(!lock.isTaken && !lock.isOfThisThread)
        lock.take()
        #expect(lock.isTaken && lock.isOfThisThread)
        lock.release()
        #expect(!lock.isTaken && !lock.isOfThisThread)
        await #expect(processExitsWith: .failure) {
            var lock = TurnLock()
            lock.release()
        }
        await #expect(processExitsWith: .failure) {
            var lock = TurnLock()
            lock.take()
            lock.take()
        }
    }

    @Test func `a call is delegated by who has the turn, and taken once`() async throws {
        var lock = TurnLock(), hasRun = false
        lock.take()
        withoutActuallyEscaping({ hasRun = true }) { body in
            let call = DelegatedCall(body)
            lock.delegate(call)
            let taken = lock.takeCall(), again = lock.takeCall()
            #expect(taken === call && again == nil && !lock.hasCall)
            taken?.run()
            call.wait()
        }
        #expect(hasRun)
        await #expect(processExitsWith: .failure) {
            var lock = TurnLock()
            lock.delegate(DelegatedCall {})
        }
    }
}

@Suite struct JobQueueTests {
    @Test func `jobs are taken together, in the order in which they came`() {
        let queue = Box(JobQueue())
        #expect(queue.it.isEmpty)
        for name in ["a", "b", "c"] { #expect(queue.it.add(NamedJob(name)) == true) }
        #expect(!queue.it.isEmpty && queue.it.count == 3)
        #expect(names(queue.it.takeJobs(0).jobs) == ["a", "b", "c"])
        #expect(queue.it.isEmpty)
        #expect(names(queue.it.takeJobs(0).jobs) == [])
    }

    @Test func `work for a boundary waits apart from jobs`() {
        let queue = Box(JobQueue())
        #expect(queue.it.add(NamedJob("job")) && queue.it.add(boundary: NamedJob("boundary")))
        #expect(queue.it.hasBoundaries && queue.it.count == 2)
        #expect(queue.it.takeBoundaries().count == 1 && !queue.it.hasBoundaries)
        #expect(names(queue.it.takeJobs(0).jobs) == ["job"])
    }

    @Test func `deferred jobs wait for their time, and then go before others, by themselves`() {
        let queue = Box(JobQueue())
        #expect(queue.it.add(deferred: NamedJob("one"), 0) == true)
        #expect(queue.it.changesDueTime)
        #expect(queue.it.add(deferred: NamedJob("two"), 0.009) == true)
        #expect(!queue.it.changesDueTime)
        #expect(queue.it.add(NamedJob("job")) == true)
        #expect(!queue.it.isDeferredDue(0.0099) && queue.it.isDeferredDue(0.01))
        #expect(names(queue.it.takeJobs(0.0099).jobs) == ["job"])
        #expect(!queue.it.isRunningDeferred)
        #expect(queue.it.add(NamedJob("job")) == true)
        #expect(names(queue.it.takeJobs(0.01).jobs) == ["one", "two"])
        #expect(queue.it.isRunningDeferred && queue.it.deferredTurns == 0)
        let isAwaited = queue.it.turnEnded()
        #expect(isAwaited && !queue.it.isRunningDeferred && queue.it.deferredTurns == 1)
        #expect(names(queue.it.takeJobs(9).jobs) == ["job"])
        let isAwaitedAgain = queue.it.turnEnded()
        #expect(!isAwaitedAgain && queue.it.deferredTurns == 1)
    }

    @Test func `deferred jobs are due at once when there are many, or a caller waits for them`() {
        let queue = Box(JobQueue())
        for number in 1...JobQueue.mostDeferred {
            #expect(!queue.it.isDeferredDue(0))
            #expect(queue.it.add(deferred: NamedJob("\(number)"), 0) == true)
        }
        #expect(queue.it.isDeferredDue(0) && queue.it.changesDueTime)
        #expect(queue.it.takeJobs(0).jobs.count == JobQueue.mostDeferred)

        #expect(queue.it.expedite() == false)
        #expect(queue.it.add(deferred: NamedJob("late"), 0) && queue.it.isEmpty)
        #expect(queue.it.expedite() == true)
        #expect(queue.it.expedite() == false)
        #expect(queue.it.isDeferredDue(0) && !queue.it.isEmpty)
        let taken = queue.it.takeJobs(0)
        #expect(names(taken.jobs) == ["late"] && taken.isExpedited)
        #expect(!queue.it.isExpedited && queue.it.isEmpty)
    }

    @Test func `a closed queue takes no more, and its deferred jobs are due`() {
        let queue = Box(JobQueue())
        #expect(queue.it.add(deferred: NamedJob("deferred"), 0) && queue.it.add(NamedJob("job")))
        queue.it.close()
        #expect(!queue.it.add(NamedJob("x")) && !queue.it.add(boundary: NamedJob("x")))
        #expect(queue.it.add(deferred: NamedJob("x"), 0) == false)
        #expect(names(queue.it.takeJobs(0).jobs) == ["deferred"])
        #expect(names(queue.it.takeJobs(0).jobs) == ["job"])
    }
}

@Suite struct GroupTimerTests {
    @Test func `an open group is due at its time, once`() {
        var timer = GroupTimer()
        #expect(!timer.isOpen && timer.remaining(0) == nil)
        timer.check(1e9)
        #expect(!timer.isDue)
        timer.set(10)
        #expect(timer.isOpen && timer.remaining(7) == 3)
        timer.check(9.999)
        #expect(!timer.isDue)
        timer.check(10)
        #expect(timer.isDue && timer.remaining(10) == nil)
        let isFirst = timer.takeDue(), isSecond = timer.takeDue()
        #expect(isFirst && !isSecond)
        timer.set(nil)
        #expect(!timer.isOpen)
    }

    @Test func `a group can be made due, also before it is left open`() {
        var timer = GroupTimer()
        timer.expire()
        timer.set(10)
        #expect(timer.isDue && timer.isOpen && timer.remaining(0) == nil)
        let isDue = timer.takeDue()
        #expect(isDue && timer.remaining(0) == 10)
    }

    @Test func `groups that ended are counted`() {
        var timer = GroupTimer()
        timer.groupEnded()
        timer.groupEnded()
        #expect(timer.groupsEnded == 2)
    }
}
