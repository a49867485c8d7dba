// The exit status: a sum of what is to be said, as in xfs_scrub(8).

internal import LMDB
internal import Tidemark
internal import Volume
internal import VolumeVerify
internal import HostFiles

struct ExitStatus: OptionSet {
    let rawValue: Int32

    static let success: ExitStatus = []
    /// Errors were found and are left uncorrected.
    static let uncorrected = ExitStatus(rawValue: 1)
    /// Nothing is wrong, and something could be better.
    static let optimisable = ExitStatus(rawValue: 2)
    /// It could not be looked, or not everywhere.
    static let operational = ExitStatus(rawValue: 4)
    static let usage = ExitStatus(rawValue: 8)
    /// Something never stood still while it was looked at: it is neither right nor wrong.
    static let unsettled = ExitStatus(rawValue: 16)
}

/// The end of a command that has said all there is to say.
struct CommandEnd: Error {
    let status: ExitStatus
}

/// What keeps a command from doing what it is for, in words for its user: what happened, to
/// what, and what to do next.
struct CommandFailure: Error, CustomStringConvertible {
    let description: String
    let status: ExitStatus

    init(_ description: String, _ status: ExitStatus = .operational) {
        self.description = description
        self.status = status
    }
}

/// What is printed of an error that ended a command.
func explanation(of error: any Error) -> String {
    switch error {
    case let error as LMDBError:
        "\(error); nothing was changed by this transaction"
            + (error.isNoSpace ? "; make room on the disk and try again" : "")
    case let error as HostError: "standard output: \(error.reason)"
    default: "\(error)"
    }
}

extension RunReport.Outcome {
    var status: ExitStatus {
        switch self {
        case .clean, .repaired: .success
        case .corrupt: .uncorrected
        case .unsettled: .unsettled
        case .incomplete, .aborted, .stopped: .operational
        }
    }
}
