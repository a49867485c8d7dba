// Repairs that start by themselves. xfs_scrub (`-o autofsck`, which its timer uses) and xfs_healer
// go by the property `autofsck` of the filesystem: `trusted.xfs:autofsck` on its root. `repair`
// repairs; `check`, `optimize`, `none`, and no property, do not. Which record they believe is
// fixed: a lying reverse map costs an extent map, a lying parent pointer a name.

public import LinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

public struct AutomaticRepair: Hashable, Sendable {
    /// The value of `autofsck`; nil: none is set.
    public let property: String?
    /// Units of systemd that are enabled, and programs that are at work with their process ids.
    public let units: [String]
    public let programs: [String]

    public init(property: String?, units: [String], programs: [String]) {
        self.property = property
        self.units = units
        self.programs = programs
    }

    /// - Parameters:
    ///   - system: where directories of units are; the root of the system.
    ///   - processes: `/proc`.
    public init(
        _ xfs: XFSFilesystem, system: String = "/", processes: String = "/proc"
    ) throws(LinuxCallError) {
        property = try xfs.automaticRepair()
        units = AutomaticRepair.units(system)
        programs = AutomaticRepair.programs(processes)
    }

    /// Links in `*.wants` directories are what `systemctl enable` makes.
    static func units(_ system: String) -> [String] {
        var found = Set<String>()
        for place in ["etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"] {
            for want in names(in: "\(system)/\(place)") where want.hasSuffix(".wants") {
                for unit in names(in: "\(system)/\(place)/\(want)") where isRepairing(unit) {
                    found.insert(unit)
                }
            }
        }
        return found.sorted()
    }

    static func isRepairing(_ unit: String) -> Bool {
        ["xfs_scrub@", "xfs_scrub_media@", "xfs_scrub_all.", "xfs_healer@", "xfs_healer_start."]
            .contains { unit.hasPrefix($0) }
    }

    static func programs(_ processes: String) -> [String] {
        var found: [String] = []
        for name in names(in: processes) where UInt32(name) != nil {
            guard
                let place = try? Descriptor.open(
                    "\(processes)/\(name)", flags: O_RDONLY | O_DIRECTORY),
                let words = try? place.text(of: "cmdline").split(separator: "\0"),
                let program = words.first?.split(separator: "/").last
            else { continue }
            // A check alone changes nothing.
            let isCheck = words.dropFirst().contains("-n")
            guard ["xfs_scrub", "xfs_healer"].contains(program), !isCheck else { continue }
            found.append("\(program) (process \(name))")
        }
        return found.sorted()
    }

    private static func names(in path: String) -> [String] {
        guard let place = try? Descriptor.open(path, flags: O_RDONLY | O_DIRECTORY) else {
            return []
        }
        return (try? place.names()) ?? []
    }

    /// What is about to believe a wrong record, and how to hold it off; empty: nothing.
    public func warnings(on path: String) -> [String] {
        var lines: [String] = []
        if property == "repair" {
            let who =
                units.isEmpty
                ? "any xfs_scrub or xfs_healer that is started by its unit"
                : units.joined(separator: ", ")
            lines.append(
                "autofsck is 'repair': \(who) will repair this filesystem by itself, from the "
                    + "records that are wrong here; "
                    + "`xfs_property \(shellWord(path)) set autofsck=check` holds it off")
        }
        if !programs.isEmpty {
            lines.append(
                "\(programs.joined(separator: ", ")) is at work, and may repair from the records "
                    + "that are wrong here: stop it until they are mended")
        }
        if !lines.isEmpty, units.contains(where: { $0.hasPrefix("xfs_scrub_all.") }) {
            lines.append("`systemctl stop xfs_scrub_all.timer` stops the weekly scrub")
        }
        return lines
    }
}

extension XFSCheck {
    /// What repairs the filesystem by itself.
    public func automaticRepair() throws(LinuxCallError) -> AutomaticRepair {
        try AutomaticRepair(owner.xfs)
    }
}
