// The coordinator's steps for an owner that nobody can lock, where it has others than for one that
// can be locked:
//
//     … settle → mark → (watermark) → cut → compare → (parts) → compared → mark → (watermark)
//       → judge ─┬─ look up… → mark → (watermark) → judge …    while candidates have news
//                ├─ compare → (parts) → …                      while a part has paused
//                └─ …each index… → plan → end
//
// Where a mark has come through and something is to be read again, it is read, and the feed is
// marked once more. While candidates are judged that is only what they can be derived from, where
// the owner says what that is: a loss costs a few records then, and not a second scan, in which
// more is lost. What was left out is read before the next comparison.

internal import Contract
internal import Feed
internal import Mutation
internal import Shadow

extension Coordinator {
    /// Whether `step` was one of these.
    func performUnlocked(_ step: Step) throws -> Bool {
        switch step {
        case .settle:
            try run.settle()
            goMark(.cut)
        case .mark:
            try run.markFeed()
            go(behindMark, .watermark)
        case .cut: try takeSettled()
        case .compare: try beginLooking()
        case .compared: endLooking()
        case .judge: try judge()
        case .lookUp: try lookUp()
        default: return false
        }
        return true
    }

    private func goMark(_ step: Step) {
        behindMark = step
        go(.mark)
    }

    /// The shadow is settled; else what is to be read again is read, and the feed marked anew.
    private func takeShadow() throws -> SettledShadow? {
        guard let settled = try run.settledShadow() else {
            unsettledMarks += 1
            guard unsettledMarks < run.options.settleAttempts else {
                throw AbortReason(
                    "changes are lost faster than they can be read again: give the owner more "
                        + "room for them, or check it while less is changed")
            }
            go(.mark, .scan)
            return nil
        }
        unsettledMarks = 0
        guard run.assistant.damageCount == 0 || run.options.mutants.have(.incompleteCommits) else {
            endIncomplete()
            return nil
        }
        return settled
    }

    private func takeSettled() throws {
        guard let settled = try takeShadow() else { return }
        self.settledShadow = settled
        uncompared = toCompare
        toCompare = []
        go(.compare)
    }

    private func beginLooking() throws {
        guard let settled = try settledShadow ?? takeShadow() else { return }
        let looking = looking.take()
        let slot = looking?.slot ?? uncompared.removeFirst()
        self.slot = slot
        let next = try run.look(slot, at: settled, goingOn: looking)
        self.settledShadow = nil
        self.looking = next
        go(.compared, .comparison(next.comparison))
    }

    private func endLooking() {
        guard var looking = looking.take() else { preconditionFailure("a comparison has begun") }
        for part in looking.parts { looking.candidates += part.takeCandidates() }
        self.looking = looking
        run.narrow(to: looking)
        // Without a candidate too: what the parts have paused for is none, and the next index is
        // compared with a shadow of its own time.
        goMark(.judge)
    }

    private func judge() throws {
        guard let settled = try takeShadow() else { return }
        guard var looking = looking.take() else { preconditionFailure("a comparison has begun") }
        try run.judge(&looking, at: settled)
        if !looking.candidates.isEmpty {
            self.looking = looking
            run.narrow(to: looking)
            return go(.lookUp)
        }
        let isWhole = run.widen()
        self.settledShadow = isWhole ? settled : nil
        if looking.parts.contains(where: { !$0.isAtEnd }) {
            self.looking = looking
            return goCompare(isWhole)
        }
        try run.finish(looking)
        if !uncompared.isEmpty { return goCompare(isWhole) }
        self.settledShadow = nil
        slot = nil
        go(.plan)
    }

    /// What was left to be read again while candidates were judged is read before anything else is
    /// compared.
    private func goCompare(_ isWhole: Bool) {
        guard !isWhole else { return go(.compare) }
        behindMark = .compare
        go(.mark, .scan)
    }

    private func lookUp() throws {
        guard var looking = looking.take() else { preconditionFailure("a comparison has begun") }
        let hasMore = try run.lookUp(&looking)
        self.looking = looking
        hasMore ? go(.lookUp) : goMark(.judge)
    }
}
