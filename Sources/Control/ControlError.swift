// The control socket: how one process steers what another does with a volume.
//
// `control.sock` lies in the volume's directory as long as a process serves the volume. Who may
// connect to it is checked twice: the file's mode lets only its owner (and root) in, and the
// server asks the kernel who the peer is. Requests and answers are lines of JSON
// (Docs/control.md). A client can do no harm to a server but ask: lines, clients and waiting
// times are bounded, and what is no request is answered with an error.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

/// What keeps a request from being answered.
public enum ControlError: Error, Hashable, Sendable {
    /// No process serves the volume.
    case notServed(String)
    case noPermission(String)
    /// Something that is no socket lies where the socket is to be.
    case inTheWay(String)
    /// Another process serves the volume.
    case served(String)
    /// The server does not answer in time.
    case stalled(String)
    /// The server hung up, or answered what can't be understood.
    case garbled(String, why: String)
    /// The server was gone before its answer was whole.
    case hungUp(String)
    /// The answer was not waited for to its end.
    case abandoned(String)
    /// The server understood and does not do it.
    case refused(code: String, message: String)
    case system(operation: String, path: String, errno: Int32)
}

extension ControlError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .notServed(let path):
            "\(path): no process is at work on it that could be asked; start one, or see "
                + "`tidemark stat`"
        case .noPermission(let path):
            "\(path): not permitted; ask as the user who runs that process, or as root"
        case .inTheWay(let path):
            "\(path) is no socket and lies where one is to be; move it away"
        case .served(let path):
            "\(path) is served by another process already"
        case .stalled(let path):
            "\(path): the process that serves it does not answer; try again, or look at it "
                + "with ps(1)"
        case .garbled(let path, let why):
            "\(path): what serves it can't be understood (\(why)); use the same version of "
                + "tidemark for both"
        case .hungUp(let path):
            "\(path): the process that serves it has ended, or its answer was read too slowly; "
                + "`tidemark status` tells what became of a run"
        case .abandoned(let path): "\(path): its answer was not waited for"
        case .refused(_, let message): message
        case .system(let operation, let path, let number):
            "\(operation) \(path): \(systemText(number))"
        }
    }

    /// The failure of a system call that has just returned.
    static func system(_ operation: String, _ path: String) -> ControlError {
        let number = Glibc.errno
        switch number {
        case ENOENT, ECONNREFUSED: return .notServed(path)
        case EACCES, EPERM: return .noPermission(path)
        case EAGAIN, ETIMEDOUT: return .stalled(path)
        case EPIPE, ECONNRESET: return .garbled(path, why: "it hung up")
        default: return .system(operation: operation, path: path, errno: number)
        }
    }
}
