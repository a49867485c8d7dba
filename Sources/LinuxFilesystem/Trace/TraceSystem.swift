// tracefs, without a place in the directory tree: a detached mount (fsopen(2), fsmount(2)), so
// that nothing need be mounted on /sys/kernel/tracing and nothing stays behind.

internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// The kernel's trace directory, open.
public final class TraceSystem: Sendable {
    public let root: Descriptor

    public init() throws(LinuxCallError) {
        let mount = unsafe lfs_detached_mount("tracefs")
        guard mount >= 0 else { throw LinuxCallError("mount", "tracefs") }
        root = Descriptor(mount)
    }

    /// Whether the kernel has all events of `set`.
    public func has(_ set: TraceEventSet) -> Bool {
        set.names.allSatisfy { event in
            (try? root.text(of: "events/\(event.system)/\(event.name)/format")) != nil
        }
    }

    /// A decoder for `set` and for markers.
    public func decoder(_ set: TraceEventSet) throws -> TraceDecoder {
        var formats = [("print", try root.text(of: "events/ftrace/print/format"))]
        for (system, name) in set.names {
            formats.append((name, try root.text(of: "events/\(system)/\(name)/format")))
        }
        return try TraceDecoder(page: try root.text(of: "events/header_page"), formats: formats)
    }

    /// Instances that a process of ours has left behind when it was killed: their names end in
    /// the number of a process that is no more. One that is in use the kernel does not remove.
    func removeAbandoned() {
        guard let instances = try? root.open("instances", flags: O_RDONLY | O_DIRECTORY),
            let names = try? instances.names()
        else { return }
        for name in names where name.hasPrefix(TraceInstance.prefix) {
            guard let process = name.split(separator: "-").last.flatMap({ pid_t($0) }),
                process > 0, kill(process, 0) != 0, Glibc.errno == ESRCH
            else { continue }
            _ = unsafe unlinkat(instances.number, name, AT_REMOVEDIR)
        }
    }
}
