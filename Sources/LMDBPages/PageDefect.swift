// What can be wrong with a page of an LMDB file, and where it was seen.

internal import Bytes

/// One rule of the file's structure that a page, or the file as a whole, breaks. liblmdb relies on
/// every one of them without a look.
public enum PageDefect: String, Sendable, CaseIterable {
    // The file and its two meta pages.
    case noMeta, metaFlags, metaFormat, metaPageSize, metaMapSize, metaLastPage, metaCommit
    case tableRecord
    // A page, by itself.
    case beyondLastPage, beyondFile, unreadable, wrongNumber, wrongFlags, bounds
    case nodeOffset, nodeSize, nodeFlags, nodeOverlap, keySize, noNodes, branchOfOne
    // Pages beside each other.
    case reachedTwice, keyOrder, keyRange, depth, overflow, counts
    // The list of free pages.
    case freeList, freeRange, freeOrder, freeTwice, freeInUse

    /// What it means, in words for a report.
    public var meaning: String {
        switch self {
        case .noMeta: "the file is too short for its two meta pages"
        case .metaFlags: "a meta page that is not marked as one, or with another page's number"
        case .metaFormat: "a meta page without LMDB's magic number, or of another data version"
        case .metaPageSize: "a meta page with an impossible page size"
        case .metaMapSize: "a meta page with a map that does not hold the last page"
        case .metaLastPage: "a meta page with an impossible last page"
        case .metaCommit: "a meta page with an impossible number of its commit"
        case .tableRecord: "the record of a table holds what it can't"
        case .beyondLastPage: "a page number beyond the last page, or that of a meta page"
        case .beyondFile: "a page in use lies beyond the end of the file"
        case .unreadable: "a page that the system can't read"
        case .wrongNumber: "a page that carries another page's number"
        case .wrongFlags: "a page of another kind than its place asks for"
        case .bounds: "a page whose free space has impossible bounds"
        case .nodeOffset: "a node outside the part of its page that holds nodes"
        case .nodeSize: "a node that is longer than its place"
        case .nodeFlags: "a node of a kind that its table does not have"
        case .nodeOverlap: "nodes of a page that overlap, or leave a gap"
        case .keySize: "a key that is empty, or longer than LMDB lets it be"
        case .noNodes: "a page without nodes"
        case .branchOfOne: "a branch page with one child"
        case .reachedTwice: "a page that two others lead to"
        case .keyOrder: "keys of a page that do not ascend"
        case .keyRange: "a key outside the range that the branch pages above give its page"
        case .depth: "a tree that is deeper than LMDB can walk"
        case .overflow: "overflow pages that are fewer than their value needs"
        case .counts: "a table whose record counts other pages or entries than it has"
        case .freeList: "a list of free pages that is longer than its record"
        case .freeRange: "a free page that is a meta page, or beyond the last page"
        case .freeOrder: "a list of free pages that do not descend"
        case .freeTwice: "a page that is listed as free twice"
        case .freeInUse: "a page that is listed as free and in use"
        }
    }
}

/// One thing that is not as it must be.
public struct PageFinding: Hashable, Sendable {
    public let defect: PageDefect
    /// The page that breaks the rule; nil: the file as a whole.
    public let page: UInt64?
    /// The table whose tree leads there: a name, `the tables` for the tree of tables, `the free
    /// pages` for the list of those; nil: a meta page.
    public let table: String?
    /// What stands there, and what would have been right.
    public let found, expected: String
}

extension PageFinding: CustomStringConvertible {
    public var description: String {
        let page = page.map { "page \($0)" } ?? "the file"
        let place = table.map { "\(page) of \($0)" } ?? page
        return "\(place): \(defect.rawValue): found \(found), expected \(expected)"
    }
}

/// What a check of the pages found.
public struct PageReport: Hashable, Sendable {
    /// The commit whose pages were checked; nil where no meta page names one.
    public internal(set) var commit: UInt64?
    /// Bytes.
    public internal(set) var pageSize = 0
    /// Pages that the commit reaches, meta pages and overflow pages included, as far as was looked.
    public internal(set) var pagesInUse: UInt64 = 0
    /// Pages that were read.
    public internal(set) var pagesRead: UInt64 = 0
    /// Pages that the commit lists as free.
    public internal(set) var pagesFree: UInt64 = 0
    /// Pages up to the last one.
    public internal(set) var pages: UInt64 = 0
    /// Whether all was looked at that was asked for: false after `goOn` said no.
    public internal(set) var isComplete = true
    /// How often each rule is broken.
    public internal(set) var counts: [PageDefect: UInt64] = [:]
    /// The first findings.
    public internal(set) var findings: [PageFinding] = []

    /// Of a file that was not looked at.
    public init() {}

    /// Whether no rule is broken, as far as was looked.
    public var isSound: Bool { counts.isEmpty }

    /// All breaches of rules.
    public var count: UInt64 { counts.values.reduce(0, +) }
}

/// Why the file could not be looked at at all. (What is found in it is no error.)
public struct PageCheckError: Error, Hashable, Sendable, CustomStringConvertible {
    public let operation, path: String
    /// errno(3).
    public let errno: Int32

    public init(operation: String, path: String, errno: Int32) {
        self.operation = operation
        self.path = path
        self.errno = errno
    }

    public var description: String { "\(operation) \(path): \(systemText(errno))" }
}
