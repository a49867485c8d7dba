// Calls to the kernel that failed, and answers that can't be what the kernel documents.

internal import Bytes
internal import CLinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// A system call on a mounted filesystem that failed, or whose answer is malformed.
public struct LinuxCallError: Error, Hashable, Sendable {
    public enum Reason: Hashable, Sendable {
        /// The number of errno(3).
        case failed(Int32)
        /// What is wrong with the bytes of the answer.
        case malformed(String)
    }

    /// The call, as its manual page names it: `XFS_IOC_BULKSTAT`.
    public let call: String
    /// What it was asked about: `inode 128`.
    public let object: String
    public let reason: Reason

    public init(_ call: String, _ object: String, _ reason: Reason) {
        self.call = call
        self.object = object
        self.reason = reason
    }

    /// The call that has just returned -1.
    init(_ call: String, _ object: String) { self.init(call, object, .failed(Glibc.errno)) }

    static func malformed(_ call: String, _ object: String, _ what: String) -> LinuxCallError {
        LinuxCallError(call, object, .malformed(what))
    }

    public var errno: Int32? {
        if case .failed(let number) = reason { number } else { nil }
    }

    /// Whether the object was there a moment ago, and is gone.
    public var isVanished: Bool { errno == ENOENT || errno == ESTALE || errno == ENXIO }

    /// Whether somebody holds what the call needs, and it may do later: a lease on a file.
    public var isBusy: Bool { errno == EAGAIN || errno == EBUSY }

    /// Whether the object is encrypted, and nobody has given its key.
    public var isLocked: Bool { errno == ENOKEY }

    /// Whether the process lacks the privilege for the call.
    public var isForbidden: Bool { errno == EPERM || errno == EACCES }

    /// Whether this kernel or filesystem does not know the call.
    public var isUnsupported: Bool {
        errno == ENOTTY || errno == EOPNOTSUPP || errno == ENOSYS || errno == ENODEV
    }

    /// Whether the filesystem has been shut down or its device fails: `EIO`, and `EUCLEAN`
    /// (`EFSCORRUPTED`), which XFS answers where a block of metadata does not verify.
    public var isDamaged: Bool { errno == EIO || errno == EUCLEAN }
}

extension LinuxCallError: CustomStringConvertible {
    public var description: String {
        switch reason {
        case .failed(let number): "\(call) of \(object): \(systemText(number))"
        case .malformed(let what): "\(call) of \(object): the kernel's answer is malformed: \(what)"
        }
    }
}
