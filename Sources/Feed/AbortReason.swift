// Why runs end early.

/// Why a run ends before it is done. It never changes the live index from then on (I4).
public struct AbortReason: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Kind: Sendable {
        /// It gave way, or could not vouch for its result.
        case gaveWay
        /// Something failed.
        case failure
        /// What it was to go on from can't be used: it is to be started again.
        case uselessPosition
        /// Somebody, or a limit, has stopped it. Its position is kept.
        case stop
        /// The owner is closed. Its position is kept.
        case pause
    }

    public let description: String
    public let kind: Kind

    public init(_ description: String, _ kind: Kind = .gaveWay) {
        self.description = description
        self.kind = kind
    }

    /// The reason itself, or an error as one.
    public init(_ error: any Error) {
        switch error {
        case let reason as AbortReason: self = reason
        case let error as any PositionError: self.init(error.description, .uselessPosition)
        default: self.init("\(error)", .failure)
        }
    }

    /// Whether the run's position is kept.
    public var isStop: Bool { kind == .stop || kind == .pause }
}

/// An error by which the position of a run can't be used: the run is to be started again.
public protocol PositionError: Error, CustomStringConvertible {}
