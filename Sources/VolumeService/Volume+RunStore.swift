// A volume as a store whose runs a process serves.

public import Meters
public import RunService
public import Tidemark
public import Volume
internal import VolumeFormat

extension Volume: RunStore {
    public var identity: (UInt64, UInt64) { geometry.identity }

    public func lastCommit() throws -> UInt64 { try read().commit }

    public var writerActivity: ActivityCount? { writing }

    public var temporaryDirectory: String { runsDirectory }

    /// - Parameter words: what `VolumeScope.description` gives.
    public func scope(_ words: String) throws -> Scope {
        guard let scope = VolumeScope(words) else {
            throw VolumeError.invalid("the scope \"\(words)\", which this version does not know")
        }
        return try read().scope(scope)
    }

    public func expectedRecords(of slots: [IndexSlot]) throws -> Int {
        let wanted = Set(slots.map { indexes[$0.rawValue].name })
        let derived = [
            "inodes": ["quota"], "dirents": ["parents", "links"], "extents": ["rmap"],
        ]
        return try statistics().tables.reduce(0) { records, table in
            let isRead = !wanted.isDisjoint(with: derived[table.name] ?? [])
            return records + (isRead ? table.records : 0)
        }
    }

    public func positionLimit() throws -> UInt64? { try statistics().counters.nextInode }
}
