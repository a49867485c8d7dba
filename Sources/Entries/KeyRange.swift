// Ranges of primary keys, which are byte strings in lexicographic order.

public import Bytes

/// The half-open range `[lower, upper)`; without `upper` it has no end.
public struct KeyRange: Sendable, Equatable {
    public var lower: KeyBytes
    public var upper: KeyBytes?

    public init(lower: KeyBytes, upper: KeyBytes?) {
        self.lower = lower
        self.upper = upper
    }

    public static var all: KeyRange { KeyRange(lower: KeyBytes(), upper: nil) }

    public func contains(_ key: RawSpan) -> Bool {
        guard compareBytes(key, lower.span) >= 0 else { return false }
        guard let upper else { return true }
        return compareBytes(key, upper.span) < 0
    }
}
