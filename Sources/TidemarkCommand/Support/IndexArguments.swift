// `--index NAME`, for every command that takes it.

internal import ArgumentParser
internal import Tidemark
internal import Volume

struct IndexName: ExpressibleByArgument, Hashable {
    let name: String

    /// What a volume has, in the order of its slots.
    static let all = ["rmap", "parents", "quota", "links"]

    init?(argument: String) {
        guard IndexName.all.contains(argument) else { return nil }
        name = argument
    }

    /// Whether it counts, instead of listing.
    var isSummary: Bool { name == "quota" || name == "links" }

    static var allValueStrings: [String] { all }

    var slot: IndexSlot {
        guard let place = IndexName.all.firstIndex(of: name) else {
            preconditionFailure("an index name is checked when it is parsed")
        }
        return IndexSlot(place)
    }
}

extension [IndexName] {
    /// All that a volume has where none is named.
    var slots: [IndexSlot] {
        isEmpty ? IndexName.all.indices.map { IndexSlot($0) } : Set(map(\.slot)).sorted()
    }
}
