// The indexes of a volume, in the order of their slots.

public import Tidemark

public enum VolumeSlots {
    public static let rmap = IndexSlot(0)
    public static let parents = IndexSlot(1)
    public static let quota = IndexSlot(2)
    public static let links = IndexSlot(3)

    /// An `IndexSlot` is a position in this list.
    public static let all: [any SecondaryIndex] = [
        ReverseMap(), ParentPointers(), QuotaIndex(), LinkIndex(),
    ]

    public static func isSummary(_ slot: IndexSlot) -> Bool { all[slot.rawValue].summary != nil }

    /// Those that live in tables of their own, generation by generation.
    public static let withGenerations: [(slot: IndexSlot, name: String)] =
        all.enumerated().compactMap { place, index in
            if let summary = index.summary, !summary.hasGenerations { return nil }
            return (IndexSlot(place), index.name)
        }
}
