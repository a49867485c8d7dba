// Reclaim in the background: what an operation leaves for later, and what a crash left, is
// given back on the writer thread, one bounded piece in each group, between the jobs of
// others. A piece that ends queues the next.

internal import LMDB
internal import Logging
internal import VolumeFormat

final class ReclaimJob: Job {
    private let core: VolumeCore
    private let cursor: InodeNumber
    private let last: InodeNumber
    private var next: InodeNumber?
    private(set) var mustAbort: LMDBError?

    /// For the records of the inodes after `cursor`, up to `last`.
    init(_ core: VolumeCore, after cursor: InodeNumber, through last: InodeNumber = .max) {
        self.core = core
        self.cursor = cursor
        self.last = last
    }

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
        guard failure == nil, let next else { return }
        // Refused where the volume is being closed: the next opening goes on.
        _ = core.inbox.add(ReclaimJob(core, after: next, through: last))
    }
}

extension Operations {
    /// Has what the operation under way leaves of `n` given back, once its group is committed.
    func reclaimLater(_ n: InodeNumber) {
        _ = core.inbox.add(ReclaimJob(core, after: n - 1, through: n))
    }
}
