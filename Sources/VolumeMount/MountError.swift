// Why a volume could not be mounted, or its mount not be ended.

internal import Bytes

public enum MountError: Error, Hashable, Sendable {
    /// Nothing is there to mount on.
    case missing(String)
    case notDirectory(String)
    /// Something is mounted there.
    case inUse(String, by: String)
    /// The volume lies there, or below: nobody could get at it any more.
    case hidesVolume(String, volume: String)
    /// The kernel has FUSE, and there is no /dev/fuse.
    case noDeviceNode
    /// /dev/fuse may not be opened by this user, or not in this container.
    case noDevicePermission(why: String)
    /// The kernel has no driver for FUSE.
    case moduleNotLoaded(why: String)
    /// libfuse or the kernel refused; libfuse has said why.
    case refused(String)
    /// No volume is mounted there.
    case notMounted(String)
    /// Programs have files open below it, or work there.
    case busy(String)
    case system(operation: String, object: String, errno: Int32)
}

extension MountError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing(let path): "\(path) does not exist; make the directory first"
        case .notDirectory(let path): "\(path) is not a directory; give one to mount on"
        case .inUse(let path, let source):
            "\(path) is a mount point already, of \(source); unmount that first, or give another"
        case .hidesVolume(let path, let volume):
            "\(path): a mount there would hide the volume \(volume); give another directory"
        case .noDeviceNode:
            "there is no device node /dev/fuse; make it (as root: mknod -m 666 /dev/fuse c 10 229),"
                + " or start the container with --device /dev/fuse"
        case .noDevicePermission(let why):
            "no permission to open /dev/fuse (\(why)); let every user open it (as root: chmod 666"
                + " /dev/fuse, as udev has it), or start the container with --device /dev/fuse"
        case .moduleNotLoaded(let why):
            "the kernel has no FUSE (/dev/fuse: \(why)); load its module (as root: modprobe fuse),"
                + " on the host where this is a container"
        case .refused(let path):
            "\(path): the system does not mount there; see the message of fuse, and that the"
                + " package fuse3 is installed"
        case .notMounted(let path): "\(path): no volume is mounted there"
        case .busy(let path):
            "\(path) is in use; end the programs that have files open there (fuser -m names them)"
        case .system(let operation, let object, let number):
            "\(operation) \(object): \(systemText(number))"
        }
    }
}
