// Makes all changes of a volume, on its own thread or on a caller's.

internal import Synchronization
internal import Threads

final class Writer: @unchecked Sendable {
    private let core: VolumeCore
    /// Whoever has the turn uses them.
    private var operations: Operations
    private let thread = Mutex<DedicatedThread?>(nil)

    init(_ core: VolumeCore, state: GroupState) {
        self.core = core
        operations = Operations(core, state: state)
    }

    /// Does from here on what is put into the inbox.
    func start() {
        thread.withLock {
            $0 = DedicatedThread(name: "volume writer") { [self] in
                while let turn = core.inbox.takeTurn() {
                    operations.run(turn)
                    core.inbox.leave(openUntil: operations.openUntil)
                }
            }
        }
    }

    /// Runs a job on the caller's thread: in a group of its own, or in the open group. It has
    /// ended then.
    /// - Returns: nil where it is not the caller's turn, and nothing was done.
    func runHere<J: Job>(_ job: () -> J) -> J? {
        guard core.inbox.enter(openGroup: core.acknowledgesEarly) else { return nil }
        let job = job()
        if core.acknowledgesEarly {
            operations.runInGroup(job)
            operations.commitUnlessOpen()
            core.inbox.leave(isFull: !operations.mayStayOpen)
        } else {
            operations.run([job])
            core.inbox.leave()
        }
        return job
    }

    /// Runs `body`, which changes nothing, on the caller's thread in the group that was open after
    /// `ended` others.
    /// - Returns: nil where that has ended.
    func look<R>(after ended: UInt64, _ body: (inout Operations) throws -> R) rethrows -> R? {
        guard core.inbox.enterGroup(after: ended) else { return nil }
        defer { core.inbox.leave(isFull: !operations.mayStayOpen) }
        guard operations.openGroup.isOpen else { return nil }
        return try body(&operations)
    }

    /// Waits until the inbox, which is closed, is empty.
    func join() { thread.withLock { $0.take() }?.join() }
}
