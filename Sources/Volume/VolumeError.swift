// Everything that can go wrong with a volume, in three groups: what POSIX lets an
// operation answer (the volume is as it was), damage (a result of looking, not a failure
// to look), and what keeps a volume from being opened or changed at all.

internal import Bytes
public import LMDB
public import LMDBPages
public import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

/// Strings name the object, as the middle of a sentence: `name "a" in directory 5`.
public enum VolumeError: Error, Hashable, Sendable {
    // Answers of operations. Nothing was changed.
    case noEntry(String)
    case exists(String)
    case notDirectory(String)
    case isDirectory(String)
    case notEmpty(String)
    case noSpace(String)
    case nameTooLong(String)
    case invalid(String)
    case tooManyLinks(String)
    /// A directory was to be moved below itself.
    case crossesItself(String)
    case noAttribute(String)
    /// The place that the caller has for the result is too small.
    case rangeTooSmall(String)
    case notPermitted(String)
    case tooLarge(String)
    case notSupported(String)
    /// There is no data, or no hole, at or after the place asked for.
    case noSuchOffset(String)
    case readOnly(String)

    /// A record that is there and can't be right.
    case damaged(table: String, object: String, _ damage: RecordDamage)
    /// Pages of the metadata that liblmdb must not be let near.
    case damagedPages(path: String, PageReport)

    /// The transaction that held the operation could not be committed: nothing of it, nor
    /// of the others in it, has happened.
    case groupAborted(LMDBError)

    // Opening.
    case notAVolume(path: String, why: String)
    case newerFormat(path: String, version: UInt32)
    case olderFormat(path: String, version: UInt32)
    /// `holder` is the process that has the volume open, where it is known.
    case inUse(path: String, holder: Int32?)
    /// The system came down with the volume open, and it is to be opened for reading only.
    case needsRecovery(path: String)

    /// A call to the system failed.
    case io(operation: String, object: String, errno: Int32)
    /// An earlier failure left the state on the disk uncertain: no more changes.
    case stopped(path: String, why: String)
}

extension VolumeError {
    /// The number that a file system would answer with.
    public var errno: Int32 {
        switch self {
        case .noEntry: ENOENT
        case .exists: EEXIST
        case .notDirectory: ENOTDIR
        case .isDirectory: EISDIR
        case .notEmpty: ENOTEMPTY
        case .noSpace: ENOSPC
        case .nameTooLong: ENAMETOOLONG
        case .invalid, .crossesItself, .notAVolume: EINVAL
        case .tooManyLinks: EMLINK
        case .noAttribute: ENODATA
        case .rangeTooSmall: ERANGE
        case .notPermitted: EPERM
        case .tooLarge: EFBIG
        case .notSupported, .newerFormat, .olderFormat: EOPNOTSUPP
        case .noSuchOffset: ENXIO
        case .readOnly, .needsRecovery: EROFS
        case .damaged, .damagedPages, .stopped: EIO
        case .groupAborted(let cause): cause.isNoSpace ? ENOSPC : EIO
        case .inUse: EBUSY
        case .io(_, _, let number): number
        }
    }

    init(_ error: LMDBError) { self = .groupAborted(error) }

    /// The failure of a system call that has just returned.
    static func system(_ operation: String, _ object: String) -> VolumeError {
        .io(operation: operation, object: object, errno: Glibc.errno)
    }
}

extension VolumeError: CustomStringConvertible {
    public var description: String {
        switch self {
        case .noEntry(let object): "\(object): does not exist"
        case .exists(let object): "\(object): exists already"
        case .notDirectory(let object): "\(object): is not a directory"
        case .isDirectory(let object): "\(object): is a directory"
        case .notEmpty(let object): "\(object): is not empty; remove its entries first"
        case .noSpace(let object): "\(object): no space left; delete something, or make more room"
        case .nameTooLong(let object): "\(object): too long; use a shorter one"
        case .invalid(let object): "\(object): not possible"
        case .tooManyLinks(let object): "\(object): has as many links as it can have"
        case .crossesItself(let object): "\(object): can't be moved below itself"
        case .noAttribute(let object): "\(object): no such attribute"
        case .rangeTooSmall(let object): "\(object): longer than the room given; ask with more"
        case .notPermitted(let object): "\(object): not permitted"
        case .tooLarge(let object): "\(object): beyond the largest size"
        case .notSupported(let object): "\(object): not supported"
        case .noSuchOffset(let object): "\(object): nothing at or after that offset"
        case .readOnly(let object): "\(object): open for reading only; open it for writing"
        default: outerDescription
        }
    }

    private var outerDescription: String {
        switch self {
        case .damaged(let table, let object, let damage):
            "\(object) in table \(table) is damaged: \(damage); run `tidemark verify` to see what"
                + " else is, and restore it from a copy"
        case .damagedPages(let path, let report):
            "\(path) is damaged: "
                + (report.findings.first.map { "\($0)" } ?? "its pages")
                + (report.count > 1 ? ", and \(report.count - 1) more" : "")
                + "; run `tidemark verify` to see them, and restore the volume from a copy"
        case .groupAborted(let cause):
            "nothing was changed: \(cause)"
                + (cause.isNoSpace ? "; make room and try again" : "; try again")
        case .notAVolume(let path, let why):
            "\(path) is not a volume: \(why); give the directory that `tidemark create` made"
        case .newerFormat(let path, let version):
            "\(path) has format version \(version), and this program knows versions up to"
                + " \(Geometry.currentVersion); use a newer one"
        case .olderFormat(let path, let version):
            "\(path) has format version \(version), which keeps no quota usage, and this program"
                + " writes version \(Geometry.currentVersion); make a new volume and import the"
                + " files, or use the program that made this one"
        case .inUse(let path, let holder):
            "\(path) is in use by \(holder.map { "process \($0)" } ?? "another process");"
                + " end that first"
        case .needsRecovery(let path):
            "\(path) was open when the system came down; open it once for writing"
        case .io(let operation, let object, let number):
            "\(operation) \(object): \(systemText(number))"
                + (number == EROFS
                    ? "; open the volume for reading only, or make that filesystem writable" : "")
        case .stopped(let path, let why):
            "\(path) takes no more changes: \(why); close it, see to the disk, and open it again"
        default: "volume error \(errno)"
        }
    }
}
