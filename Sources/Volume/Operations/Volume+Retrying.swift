// When a change is attempted again. This is the one place that decides it, and it waits for one
// deadline: an attempt never contains another call of `retrying`, so no wait contains a wait.
//
// - The plan no longer holds: somebody else has changed the file meanwhile. At once; each such
//   attempt means that another change has succeeded.
// - The group was aborted, for the sake of another change in it perhaps: nothing has happened. At
//   once, and not often.
// - There is no space, but space is about to be given back. After that, until the deadline: others
//   may delete files all the time, and take what that frees.

internal import LMDB
internal import Synchronization
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

extension Volume {
    /// Seconds from the first attempt that finds no space to the answer, at the most.
    static let spaceTimeout = 2.0
    /// Attempts after an aborted group.
    private static let abortedGroups = 2

    /// Runs `attempt` until it succeeds or fails for good. Not inside another attempt, nor inside
    /// `perform`.
    /// - Parameters:
    ///   - needsSettledBlocks: whether it takes only blocks that were free at the last durable
    ///     point, and another point may so give it space.
    ///   - attempt: returns nil where what it found at its beginning no longer holds.
    /// - Throws: what the last attempt has thrown; ENOSPC 2 s after the first at the latest.
    public func retrying<R>(
        needsSettledBlocks: Bool = false, _ attempt: () throws -> R?
    ) throws -> R {
        var aborted = 0
        var space: SpaceWait?
        while true {
            do {
                if let result = try attempt() { return result }
            } catch VolumeError.groupAborted(let cause)
                where !cause.isNoSpace && aborted < Volume.abortedGroups
            {
                aborted += 1
            } catch let error as VolumeError where error.errno == ENOSPC {
                var wait = space ?? SpaceWait(core, needsPoint: needsSettledBlocks)
                guard !core.isReadOnly, wait.next() else { throw error }
                space = wait
            }
        }
    }
}

/// What one caller who finds no space waits for.
private struct SpaceWait {
    private let core: VolumeCore
    private let deadline: Deadline
    private var needsPoint: Bool

    init(_ core: VolumeCore, needsPoint: Bool) {
        self.core = core
        self.needsPoint = needsPoint
        deadline = Deadline(after: Volume.spaceTimeout, core.monotonicClock)
    }

    /// Waits for more space: for a piece of what is being reclaimed, else, once, for a durable
    /// point.
    /// - Returns: whether another attempt may find some.
    mutating func next() -> Bool {
        guard deadline.remaining > 0 else { return false }
        if core.reclaims.load(ordering: .acquiring) > 0, core.inbox.expedite(until: deadline) {
            return true
        }
        guard needsPoint, let keeper = core.keeper.withLock({ $0 }), let ticket = keeper.request()
        else { return false }
        needsPoint = false
        return keeper.isAnswered(ticket, until: deadline)
    }
}

/// Writes that have begun. Closing a volume waits for them: the blocks that they fill may be
/// another file's for the next who opens it.
final class OpenWrites: Sendable {
    private let state = Monitor((count: 0, isClosed: false))

    /// - Returns: false where no more writes begin.
    func begin() -> Bool {
        state.withLock {
            guard !$0.isClosed else { return false }
            $0.count += 1
            return true
        }
    }

    func end() {
        let isAwaited = state.withLock {
            $0.count -= 1
            return $0.isClosed
        }
        if isAwaited { state.notify() }
    }

    /// Begins no more, and waits until all that were begun have ended.
    func close() {
        state.withLock { $0.isClosed = true }
        state.wait { $0.count == 0 ? () : nil }
    }
}
