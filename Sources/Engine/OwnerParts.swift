// What a run's owner offers, as far as the plan must know it.

package import Contract

/// The parts of the contract that an owner offers beside its commit lock.
package struct OwnerParts: Hashable, Sendable {
    /// Whether a run may load a new generation.
    package var hasGenerations = false
    /// Whether it may change single entries, and correct counters.
    package var canAmend = false, canCorrect = false
    /// Whether it may outlive its process.
    package var hasJournal = false

    package init() {}

    package init(_ boundary: any CommitBoundary) {
        hasGenerations = boundary.generations != nil
        canAmend = boundary.amending != nil
        canCorrect = boundary.counters != nil
        hasJournal = boundary.journal != nil
    }
}
