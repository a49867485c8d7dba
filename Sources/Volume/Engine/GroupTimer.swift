// When the open group is to be committed (Operations+OpenGroup.swift), and who waits for
// that. `Inbox` guards this value with its lock, and wakes those who wait.

struct GroupTimer {
    /// nil: no group is open.
    private var openUntil: Double?
    /// Whether the open group is to be committed now.
    private(set) var isDue = false
    /// Open groups that have ended so far.
    private(set) var groupsEnded: UInt64 = 0
    /// Threads that wait for the turn inside the open group, or for its end.
    var waiters = 0

    var isOpen: Bool { openUntil != nil }

    /// The writer thread leaves a group open until then, or none.
    mutating func set(_ time: Double?) { openUntil = time }

    /// Seconds until the open group is due; nil where none is open, or it is due already.
    func remaining(_ now: Double) -> Double? {
        guard let openUntil, !isDue else { return nil }
        return max(0, openUntil - now)
    }

    mutating func check(_ now: Double) {
        if let openUntil, now >= openUntil { isDue = true }
    }

    /// Has the open group committed now. Where none is open yet, that is for the one that a turn
    /// under way leaves open.
    mutating func expire() { isDue = true }

    /// - Returns: whether the turn that begins is to commit the open group.
    mutating func takeDue() -> Bool {
        defer { isDue = false }
        return isDue
    }

    mutating func groupEnded() { groupsEnded += 1 }
}
