// What this kernel, this filesystem and this process's privileges allow, and what each limit
// means: `tidemark doctor`.

public import LinuxFilesystem

/// What is there of one thing that a check, an index or a repair needs.
public struct Ability: Hashable, Sendable {
    public enum State: String, Sendable {
        /// It is there.
        case available
        /// It is not, and something can be done without it.
        case limited
        /// It is not, and nothing can be checked without it.
        case missing
    }

    /// A word for programs: `events`.
    public let name: String
    public let state: State
    /// What was found.
    public let found: String
    /// What that means for check, index and repair.
    public let meaning: String

    init(_ name: String, _ state: State, _ found: String, _ meaning: String) {
        self.name = name
        self.state = state
        self.found = found
        self.meaning = meaning
    }
}

/// An examination of a mounted filesystem. It changes nothing.
public struct Examination: Sendable {
    public let path: String
    public private(set) var abilities: [Ability] = []

    /// Whether a check can be made.
    public var canCheck: Bool { !abilities.contains { $0.state == .missing } }

    /// - Throws: where `path` can't be opened at all.
    public init(path: String) throws(LinuxCallError) {
        self.path = path
        let mount = try MountedFilesystem(path: path)
        add("kernel", .available, "Linux \(kernelRelease())", "")
        let line = try? mount.mount()
        let place = line.map { " of \($0.source), mounted on \($0.point)" } ?? ""
        if mount.kind == .ext4 {
            add("filesystem", .available, "ext4" + place, "")
            examineExt4(mount)
            return
        }
        guard mount.kind == .xfs else {
            add(
                "filesystem", .missing, (line?.type ?? "type \(mount.type)") + place,
                "only mounted XFS and ext4 can be checked; a directory of a volume is checked as "
                    + "a volume")
            return
        }
        add("filesystem", .available, "XFS" + place, "")
        do throws(LinuxCallError) {
            try examine(try XFSFilesystem(mount))
        } catch {
            add("privileges", .missing, "\(error)", LinuxOwnerError(path, error).description)
        }
    }

    mutating func add(
        _ name: String, _ state: Ability.State, _ found: String, _ meaning: String
    ) {
        abilities.append(Ability(name, state, found, meaning))
    }

    private mutating func examine(_ xfs: XFSFilesystem) throws(LinuxCallError) {
        let batch = InodeBatch(capacity: 1)
        _ = try xfs.readInodes(from: 0, limit: 1, into: batch)
        if let root = batch.inodes.first {
            _ = try xfs.open(root.inode, generation: root.generation)
        }
        add("privileges", .available, "inodes and handles can be read", "")
        examineFeatures(xfs.geometry)
        examineEvents(.xfs, "XFS")
        try examineRepair(xfs)
    }

    private mutating func examineFeatures(_ geometry: XFSGeometry) {
        if geometry.hasReverseMap {
            add("rmap", .available, "reverse mappings", "which file owns a block is checked")
        } else {
            add(
                "rmap", geometry.hasParentPointers ? .limited : .missing, "no reverse mappings",
                "owners of blocks can't be checked; `mkfs.xfs -m rmapbt=1` makes them")
        }
        if geometry.hasParentPointers {
            add("parents", .available, "parent pointers", "the names of each inode are checked")
            add("links", .available, "link counts", "the counts of all inodes are checked")
        } else {
            add(
                "parents", .limited, "no parent pointers",
                "names of inodes can't be checked; Linux 6.10 and `mkfs.xfs -n parent=1` have them")
            add(
                "links", .limited, "link counts",
                "only the counts of directories are checked: those of files need parent pointers")
        }
        if geometry.hasQuota {
            add("quota", .limited, "quota is on", "its counters are not checked")
        }
        if geometry.hasRealtime {
            add("realtime", .limited, "a realtime device", "its blocks are not checked")
        }
    }

    mutating func examineEvents(_ set: TraceEventSet, _ kind: String) {
        do throws(LinuxCallError) {
            let system = try TraceSystem()
            if system.has(set) {
                add(
                    "events", .available, "\(kind)'s trace events",
                    "what changes during a check is known")
            } else {
                add(
                    "events", .missing, "tracefs without \(kind)'s events",
                    "nobody can tell what changes during a check, so none can be made")
            }
        } catch {
            add(
                "events", .missing, "\(error)",
                "nobody can tell what changes during a check, so none can be made")
        }
    }

    private mutating func examineRepair(_ xfs: XFSFilesystem) throws(LinuxCallError) {
        switch try xfs.onlineScrub() {
        case .none:
            add(
                "repair", .limited, "no online scrub in this kernel",
                "what is found is mended by xfs_repair, unmounted")
        case .checks:
            add(
                "repair", .limited, "online scrub without repair",
                "what is found is mended by xfs_repair, unmounted")
        case .repairs:
            add(
                "repair", .available, "online scrub and repair",
                "the kernel can rebuild single structures while the filesystem is in use")
        }
        guard let automatic = try xfs.automaticRepair() else { return }
        let isDangerous = automatic == "repair"
        add(
            "autofsck", isDangerous ? .limited : .available, "autofsck is '\(automatic)'",
            isDangerous
                ? "a repair that starts by itself may believe a wrong record: check first, and "
                    + "`xfs_property \(shellWord(path)) set autofsck=check` holds it off"
                : "no repair starts by itself")
    }
}
