// Why a mounted filesystem can't be checked, or no longer, and what to do.

public import LinuxFilesystem

/// What keeps a mounted filesystem from being checked.
public struct LinuxOwnerError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Reason: Hashable, Sendable {
        case notPrivileged(String)
        case wrongFilesystem(String)
        case noReverseMap
        case noIndex(String)
        case tooOldKernel(String)
        case noTracing(String)
        case instanceTaken
        case shutDown
        /// What can't be read of a filesystem that answers, and the tool that looks at it offline.
        case unreadable(String, tool: String)
        case grown
        case failed(LinuxCallError)
        case malformed(String)
    }

    public let path: String
    public let reason: Reason

    public init(_ path: String, _ reason: Reason) {
        self.path = path
        self.reason = reason
    }

    /// The reason behind a call that failed.
    init(_ path: String, _ error: LinuxCallError) {
        self.init(
            path,
            error.isForbidden
                ? .notPrivileged(error.call)
                : error.isDamaged ? .shutDown : .failed(error))
    }

    /// The reason behind a call that failed on an ext4 or on its device.
    package init(ext4 path: String, _ error: LinuxCallError) {
        if error.isDamaged {
            self.init(path, .unreadable("\(error)", tool: "e2fsck -fn"))
        } else {
            self.init(path, error)
        }
    }

    public var description: String { "\(path): \(what)" }

    private var what: String {
        switch reason {
        case .notPrivileged(let call):
            "\(call) is not allowed: run it as root, or with CAP_SYS_ADMIN and CAP_DAC_READ_SEARCH"
        case .wrongFilesystem(let kind):
            "this is \(kind), and only mounted XFS and ext4 can be checked; "
                + "`tidemark create` makes a volume"
        case .noReverseMap:
            "this XFS has no reverse map and no parent pointers, so there is nothing to check; "
                + "`mkfs.xfs -m rmapbt=1` makes one that has"
        case .noIndex(let name):
            "this filesystem has no index \(name) that can be checked; `tidemark doctor` says "
                + "which it has"
        case .tooOldKernel(let what):
            "the kernel has no \(what): Linux 6.10 or newer is needed"
        case .noTracing(let why):
            "the kernel's trace events can't be used (\(why)), and without them nobody can tell "
                + "what changes during a check: run it outside of containers that hide tracefs"
        case .instanceTaken:
            "somebody has changed the trace instance of this run: start it again, "
                + "and leave the instances tidemark-* in tracefs alone"
        case .shutDown:
            "the filesystem has been shut down or its device fails: look at the kernel's log, "
                + "unmount it, then run `xfs_repair -n`, on ext4 `e2fsck -fn`"
        case .unreadable(let what, let tool):
            "\(what): look at the kernel's log, unmount it, then run `\(tool)` on its device"
        case .grown:
            "the filesystem was resized during the check: start it again"
        case .failed(let error): error.description
        case .malformed(let what): what
        }
    }
}
