// A volume as a store whose runs a process serves.

internal import Bytes
public import Meters
public import RunService
public import Tidemark
public import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension Volume: RunStore {
    public var identity: (UInt64, UInt64) { geometry.identity }

    public func lastCommit() throws -> UInt64 { try read().commit }

    public var writerActivity: ActivityCount? { writing }

    /// The volume's own `runs`; where nothing can be written there, since the volume lies on what
    /// can only be read, or has no such directory, the system's for large temporary files.
    public var temporaryDirectory: String {
        access(runsDirectory.hostPath, W_OK | X_OK) == 0 ? runsDirectory : largeTemporaryDirectory
    }

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

/// `TMPDIR`, or where files of any size belong that need not outlive a process (hier(7)).
private var largeTemporaryDirectory: String {
    guard let value = getenv("TMPDIR"), value.pointee != 0 else { return "/var/tmp" }
    return String(hostPath: value)
}
