// Why an index file can't be used, and what to do.

internal import LMDB
internal import LMDBPages

/// What is wrong with an index file.
package struct IndexFileError: Error, Sendable, CustomStringConvertible {
    package enum Reason: Sendable {
        case notFound
        case noIndex(String)
        case version(UInt32)
        case damaged(String)
        case foreign(of: String, mounted: String)
        case served
        case onServedFilesystem
        case noRoom(String)
        case realtime
        case failed(String)
    }

    package let path: String
    package let reason: Reason

    package init(_ path: String, _ reason: Reason) {
        self.path = path
        self.reason = reason
    }

    init(_ path: String, _ error: LMDBError) {
        switch error.code {
        case .invalid: self.init(path, .noIndex("it is not of LMDB"))
        case .versionMismatch: self.init(path, .noIndex("it is of another version of LMDB"))
        case .corrupted, .pageNotFound, .panic: self.init(path, .damaged(error.reason))
        default:
            self.init(path, error.isNoSpace ? .noRoom(error.reason) : .failed("\(error)"))
        }
    }

    init(_ path: String, _ report: PageReport) {
        // Neither of its first two pages is one of LMDB's.
        if report.counts[.noMeta] != nil || report.counts[.metaFormat, default: 0] > 1 {
            self.init(path, .noIndex("it is not of LMDB"))
            return
        }
        self.init(
            path, .damaged(report.findings.first.map { "\($0)" } ?? "\(report.count) defects"))
    }

    package var description: String { "\(path): \(what)" }

    private static let again =
        "delete it; `tidemark serve MOUNTPOINT --index FILE` builds a new one"

    private var what: String {
        switch reason {
        case .notFound:
            "there is no index; `tidemark serve MOUNTPOINT --index FILE` makes one"
        case .noIndex(let why):
            "this is no index file (\(why)), and is left as it is"
        case .version(let version):
            "this index is of version \(version), and this program knows version "
                + "\(IndexHeader.version): \(IndexFileError.again)"
        case .damaged(let why): "the index is damaged (\(why)): \(IndexFileError.again)"
        case .foreign(let other, let mounted):
            "this is the index of the filesystem \(other), and \(mounted) is mounted: give another "
                + "file"
        case .served: "another server keeps this index"
        case .onServedFilesystem:
            "the index can't lie on the filesystem that it is of: each of its changes would be one "
                + "to be kept; give a file elsewhere"
        case .noRoom(let why):
            "there is no room for the index (\(why)): what it holds is as of its last commit; make "
                + "room and start the server again"
        case .realtime: "files of a realtime device can't be indexed"
        case .failed(let why): why
        }
    }
}
