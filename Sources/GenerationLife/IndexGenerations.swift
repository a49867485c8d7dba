// The life of a generation, once for all owners: which generation of an index is what, and what
// may become of it next.
//
//     begin ──> loading ──activate──> active <──rollBack──> previous
//                  └──discard──> to be reaped <──────────────┘ activate, forgetPrevious
//
// Exactly one generation is active; at most one is being loaded; at most one is the previous one.
// What is none of them is to be reaped. An owner gives the tables, maintains them (the active and
// the previous one always, the loading one below its load cursor), and stores what became what, in
// one transaction with the change itself.

/// One complete copy of an index, or what is there of it so far.
public protocol IndexGeneration {
    /// Among the generations of its index nothing else that takes up storage has this number.
    var number: UInt32 { get }
}

/// The generation that a run is loading.
public protocol GenerationLoad {
    associatedtype Generation: IndexGeneration
    var generation: Generation { get }
    /// Whether the load cursor is beyond every key.
    var isWhole: Bool { get }
    /// Why it can't be used, once that is so: a transaction added what was there already, or
    /// removed what was not.
    var invalidity: String? { get }
}

/// Why a generation does not become what was asked for. Nothing was changed.
public struct GenerationRefusal: Error, Hashable, Sendable, CustomStringConvertible {
    public let description: String

    public init(_ description: String) { self.description = description }
}

/// What a generation has become.
public struct GenerationMove<Generation> {
    public enum Role: Sendable, Hashable { case active, previous, retired }

    public let generation: Generation
    public let role: Role
}

/// The generations of one index of an owner, which gives what is stored here.
public protocol IndexGenerations {
    associatedtype Load: GenerationLoad
    /// The name of the index, for messages.
    var name: String { get }
    /// The one that is served.
    var active: Load.Generation { get set }
    /// The one that a run is loading.
    var load: Load? { get set }
    /// The one that a rollback goes back to.
    var previous: Load.Generation? { get set }
}

extension IndexGenerations {
    /// The number of a generation that is to be loaded: above all that take up storage.
    /// - Parameter retired: the numbers of those that are to be reaped.
    /// - Throws: where one is being loaded already.
    public func newNumber(
        retired: some Sequence<UInt32>
    ) throws(GenerationRefusal) -> UInt32 {
        if load != nil {
            throw GenerationRefusal(
                "a second new generation of \(name): one is being loaded already")
        }
        return max(active.number, previous?.number ?? 0, retired.max() ?? 0) + 1
    }

    /// The load of generation `number`.
    /// - Throws: where that is not being loaded.
    public func loading(_ number: UInt32) throws(GenerationRefusal) -> Load {
        guard let load, load.generation.number == number else {
            throw GenerationRefusal("generation \(number) of \(name): it is not being loaded")
        }
        return load
    }

    /// What is wrong with the generation that is being loaded, or nil.
    /// - Parameter entries: how many its table holds, and how many it must hold; asked last.
    public func problem(
        of number: UInt32, entries: (Load) throws -> (held: Int, expected: Int)
    ) throws -> String? {
        let load = try loading(number)
        if let invalidity = load.invalidity { return invalidity }
        guard load.isWhole else { return "it is not loaded to its end" }
        let (held, expected) = try entries(load)
        guard held == expected else {
            return "the table holds \(held) entries, and should hold \(expected)"
        }
        return nil
    }

    /// Generation `number` becomes the active one, the one before it the previous one where
    /// `keepsOld`. The caller has validated it.
    /// - Returns: what has become of all that have changed, in the order in which it is stored.
    public mutating func activate(
        _ number: UInt32, keepsOld: Bool
    ) throws(GenerationRefusal) -> [GenerationMove<Load.Generation>] {
        let new = try loading(number).generation
        var moves: [GenerationMove<Load.Generation>] = []
        if let previous { moves.append(.init(generation: previous, role: .retired)) }
        moves.append(.init(generation: active, role: keepsOld ? .previous : .retired))
        moves.append(.init(generation: new, role: .active))
        previous = keepsOld ? active : nil
        active = new
        load = nil
        return moves
    }

    /// The active and the previous generation change places.
    /// - Throws: where there is no previous one.
    public mutating func rollBack()
        throws(GenerationRefusal) -> [GenerationMove<Load.Generation>]
    {
        guard let old = previous else {
            throw GenerationRefusal(
                "going back to another generation of \(name): there is no previous one")
        }
        previous = active
        active = old
        return [
            .init(generation: previous ?? old, role: .previous),
            .init(generation: old, role: .active),
        ]
    }

    /// There is no previous generation any more.
    /// - Returns: the one that there was, which is to be reaped.
    public mutating func forgetPrevious() -> Load.Generation? {
        defer { previous = nil }
        return previous
    }

    /// The generation `number` that is being loaded is discarded.
    /// - Returns: it, which is to be reaped.
    public mutating func discard(
        _ number: UInt32
    ) throws(GenerationRefusal) -> Load.Generation {
        let generation = try loading(number).generation
        load = nil
        return generation
    }

    /// The numbers of those that are served or maintained: what is not to be reaped.
    public var served: [UInt32] { [active.number] + (previous.map { [$0.number] } ?? []) }
}
