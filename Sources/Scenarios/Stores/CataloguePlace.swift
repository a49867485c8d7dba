// What both stages that are catalogues read of a scenario.

internal import Bytes
internal import Catalogue
internal import Tidemark

enum CataloguePlace {
    /// A stray entry is one that the place would derive with this weight.
    private static let strayWeight: UInt32 = 9999

    static func tagging(_ place: Place) throws -> Tagging {
        guard case .tagging(let item, let tag) = place.part else {
            throw StageError.refused("a place in a catalogue is ITEM:TAG")
        }
        return Tagging(item: item, tag: Array(tag.utf8))
    }

    static func words(_ place: Place) -> String {
        guard case .tagging(let item, let tag) = place.part else { return "a place of a tree" }
        return "tag \(tag) of item \(item)"
    }

    /// Damages the entry that the record at the place derives, or would derive.
    /// - Returns: its key.
    @discardableResult
    static func damage(
        _ damage: Damage, _ slot: Int, records: [Tagging: UInt32],
        entries: inout [[UInt8]: [UInt8]]
    ) throws -> [UInt8] {
        let tagging = try tagging(damage.place)
        var weight = strayWeight
        if damage.kind != .stray {
            guard let stored = records[tagging] else {
                throw StageError.refused("\(words(damage.place)): there is no such record")
            }
            weight = stored
        }
        let entry = derive(slot, tagging, weight)
        guard (entries[entry.key] == nil) == (damage.kind == .stray) else {
            throw StageError.refused(
                "\(damage.kind.rawValue) \(damage.index), \(words(damage.place)): the live index "
                    + (damage.kind == .stray ? "has this entry already" : "has no such entry"))
        }
        switch damage.kind {
        case .missing: entries[entry.key] = nil
        case .stray: entries[entry.key] = entry.value
        case .wrong: entries[entry.key] = entry.value.isEmpty ? [0] : entry.value.map { ~$0 }
        }
        return entry.key
    }

    /// Of a line for each record: item, tag, weight, separated by tabs.
    static func digest(_ records: [Tagging: UInt32]) -> String {
        var text: [UInt8] = []
        for (tagging, weight) in records.sorted(by: { $0.key < $1.key }) {
            text += "\(tagging.item)\t".utf8 + tagging.tag + "\t\(weight)\n".utf8
        }
        return TreeContents.digest(of: text)
    }
}
