// Undo: the generation that a rebuild replaced, where it was kept, becomes the active one again.
//
// What is kept is maintained: every transaction of the owner changes the previous generation as it
// changes the active one. So the two differ where the old one was wrong, and going back needs
// no work: the two change places in one transaction, which changes no primary record. Done
// twice it undoes itself.
//
// A patch keeps nothing: it changes entries of the active generation in place. It leaves a
// previous generation alone, which goes on being what it is.

public import Contract

/// One index after a rollback.
public struct RolledBack: Hashable, Sendable {
    public let index: IndexSlot
    /// The generation that is active again.
    public let active: UInt32
    /// The one that was active, and is kept.
    public let previous: UInt32
}

/// Why a generation is not made active again. Nothing was changed.
public struct UndoRefusal: Error, Hashable, CustomStringConvertible {
    public let description: String
}

public enum Undo {
    /// Makes the previous generations of `indexes` active again, all in one transaction.
    /// - Parameter indexes: empty: all that have one.
    /// - Throws: `UndoRefusal` where one has none, or a run is at work on it: what that has
    ///   compared, or is about to patch, is the generation that is active. `PartMissing` where
    ///   the owner has no generations.
    public static func rollBack(
        _ indexes: [IndexSlot], of owner: any ExactOwner
    ) throws -> [RolledBack] {
        try owner.atCommitBoundary { boundary in
            let generations = try boundary.requireGenerations()
            let slots = try slots(indexes, of: owner, in: generations)
            guard !slots.isEmpty else { throw refusal("no index has a previous generation") }
            for slot in slots { try checkPrevious(slot, of: owner, at: boundary, in: generations) }
            let before = try slots.map { try generations.previousGeneration(of: $0) }
            try generations.rollBack(slots)
            return try zip(slots, before).compactMap { slot, active in
                guard let active, let previous = try generations.previousGeneration(of: slot) else {
                    preconditionFailure("two generations change places")
                }
                return RolledBack(index: slot, active: active, previous: previous)
            }
        }
    }

    /// Discards the previous generations of `indexes`: they are to be reaped.
    /// - Parameter indexes: empty: all.
    /// - Returns: those that had one, and its number.
    public static func forget(
        _ indexes: [IndexSlot], of owner: any ExactOwner
    ) throws -> [(index: IndexSlot, generation: UInt32)] {
        try owner.atCommitBoundary { boundary in
            guard let generations = boundary.generations else { return [] }
            let slots = indexes.isEmpty ? owner.indexes.indices.map { IndexSlot($0) } : indexes
            let previous = try slots.compactMap { slot in
                try generations.previousGeneration(of: slot).map { (index: slot, generation: $0) }
            }
            if !previous.isEmpty { try generations.forgetPrevious(of: previous.map(\.index)) }
            return previous
        }
    }

    private static func slots(
        _ indexes: [IndexSlot], of owner: any ExactOwner, in generations: any Generations
    ) throws -> [IndexSlot] {
        guard indexes.isEmpty else { return Set(indexes).sorted() }
        return try owner.indexes.indices.map { IndexSlot($0) }
            .filter { try generations.previousGeneration(of: $0) != nil }
    }

    private static func checkPrevious(
        _ slot: IndexSlot, of owner: any ExactOwner, at boundary: any CommitBoundary,
        in generations: any Generations
    ) throws {
        let name = owner.indexes[slot.rawValue].name
        guard !boundary.hooks.contains(where: { $0.isAbout(slot) }) else {
            throw UndoRefusal(
                description: "a run is at work on \(name): stop it, or wait for its end")
        }
        // What it has mended so far, or goes on to mend, is the generation that is active.
        let interrupted = try boundary.journal?.runs().first {
            $0.state.isResumable && $0.strategy != .check && !$0.isDryRun
                && $0.indexes.contains(name)
        }
        if let interrupted {
            throw UndoRefusal(
                description: "run \(interrupted.number) was interrupted and goes on with \(name): "
                    + "resume it, or repair \(name) anew, before it is rolled back")
        }
        guard try generations.previousGeneration(of: slot) != nil else {
            throw refusal("\(name) has no previous generation")
        }
    }

    private static func refusal(_ what: String) -> UndoRefusal {
        UndoRefusal(
            description: what + " to go back to: a rebuild keeps the one that it replaces where "
                + "it is asked to (repair --keep-old); a patch replaces none")
    }
}
