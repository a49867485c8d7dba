// Reclaim in the background: what an operation leaves for later, and what a crash left, is
// given back in the writer's turn, one bounded piece in each group, between the jobs of
// others. A piece that ends queues the next.

internal import LMDB
internal import Logging
internal import Synchronization
internal import VolumeFormat

final class ReclaimJob: Job {
    private let core: VolumeCore
    private let cursor: InodeNumber
    private let last: InodeNumber
    /// Whether it was in a group that could not be committed, for the sake of another perhaps.
    let isAlone: Bool
    private var next: InodeNumber?
    private(set) var mustAbort: LMDBError?

    /// For the records of the inodes after `cursor`, up to `last`.
    init(
        _ core: VolumeCore, after cursor: InodeNumber, through last: InodeNumber = .max,
        isAlone: Bool = false
    ) {
        self.core = core
        self.cursor = cursor
        self.last = last
        self.isAlone = isAlone
        core.reclaims.add(1, ordering: .acquiringAndReleasing)
    }

    deinit { core.reclaims.subtract(1, ordering: .acquiringAndReleasing) }

    func run(_ operations: inout Operations) {
        do {
            next = try operations.reclaim(after: cursor, through: last).next
        } catch let error as LMDBError {
            mustAbort = error
        } catch {
            // The records stay: the next opening of the volume goes on with them.
            core.logger.info("reclaim stopped", metadata: ["why": "\(error)"])
        }
    }

    func end(_ failure: LMDBError?) {
        let from = failure == nil ? next : isAlone ? nil : cursor
        guard let from else { return }
        let job = ReclaimJob(core, after: from, through: last, isAlone: failure != nil)
        // Refused where the volume is being closed: the next opening goes on.
        _ = failure == nil ? core.inbox.add(deferred: job) : core.inbox.add(job)
    }
}

extension Operations {
    /// Has what the operation under way leaves of `n` given back, once its group is committed.
    func reclaimLater(_ n: InodeNumber) {
        _ = core.inbox.add(ReclaimJob(core, after: n - 1, through: n))
    }
}
