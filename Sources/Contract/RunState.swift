// The states of a run, and which of them may follow which. `Docs/operations.md` shows the
// same as a table.
//
//     prepared → scanning → settling → comparing → loading → committing → …
//        … each index … → settling → rechecking → reaping → completed
//
// From each state in which it works a run may also end in `stopped` or `paused`, from which it
// goes on; in `crashed`, which is what its owner finds on opening, and from which it goes on
// too; or in `failed`, `aborted`, or `incomplete`, from which it can only be started again.

public enum RunState: String, Sendable, CaseIterable, Codable {
    /// Its hooks are in force, and nothing is read yet.
    case prepared
    /// Windows are opened and read.
    case scanning
    /// Everything is read; what is queued is handled.
    case settling
    /// Live and shadow index are compared, as of one commit.
    case comparing
    /// A new generation is filled.
    case loading
    /// Entries are patched, or the new generation is made the active one.
    case committing
    /// What was mended is compared once more.
    case rechecking
    /// The storage of replaced generations is given back.
    case reaping
    /// It has done what it was to do; the outcome says what it found.
    case completed
    /// Somebody, or a limit, has stopped it; its position is kept.
    case stopped
    /// The owner was closed; the run goes on when it is opened again.
    case paused
    /// Its process has died; found on opening.
    case crashed
    /// It could not go on: an error of the system, named in the reason.
    case failed
    /// Not everything could be read: nothing was changed.
    case incomplete
    /// It gave way to writers, or could not vouch for its result: nothing more is changed.
    case aborted

    /// Whether steps are made in it.
    public var isWorking: Bool {
        switch self {
        case .prepared, .scanning, .settling, .comparing, .loading, .committing, .rechecking,
            .reaping:
            true
        case .completed, .stopped, .paused, .crashed, .failed, .incomplete, .aborted: false
        }
    }

    /// Whether the run can go on, or is going on: its position and its hook log are kept.
    public var isResumable: Bool {
        isWorking || self == .stopped || self == .paused || self == .crashed
    }

    /// Whether `next` may follow.
    public func mayBecome(_ next: RunState) -> Bool {
        switch (self, next) {
        case (_, _) where self == next: return isWorking
        case (.prepared, .scanning), (.scanning, .settling): return true
        // A load that a crash has interrupted goes on after settling.
        case (.settling, .comparing), (.settling, .rechecking), (.settling, .loading),
            (.settling, .incomplete):
            return true
        // Nothing is to be done, by this process: an earlier one of the run may have changed
        // something, which is rechecked.
        case (.comparing, .loading), (.comparing, .committing), (.comparing, .reaping),
            (.comparing, .settling), (.comparing, .completed):
            return true
        case (.loading, .committing): return true
        case (.committing, .loading), (.committing, .settling): return true
        // A stop that comes when only storage is left to be returned ends the run for good.
        case (.rechecking, .reaping), (.rechecking, .completed), (.reaping, .completed):
            return true
        case (.reaping, .stopped), (.reaping, .paused), (.reaping, .aborted): return false
        case (_, .stopped), (_, .paused), (_, .crashed), (_, .failed): return isWorking
        // One that was interrupted gives way to another.
        case (_, .aborted): return isResumable
        // Going on.
        case (.stopped, .prepared), (.paused, .prepared), (.crashed, .prepared): return true
        default: return false
        }
    }
}
