// Why a volume could not be mounted, or its mount not be ended.

public enum MountError: Error, Hashable, Sendable {
    /// Nothing is there to mount on.
    case missing(String)
    case notDirectory(String)
    /// Something is mounted there.
    case inUse(String, by: String)
    /// The kernel offers no FUSE.
    case noDevice(why: String)
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
        case .noDevice(let why):
            "there is no FUSE here (/dev/fuse: \(why)); load the module fuse, or give the container"
                + " the device"
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
