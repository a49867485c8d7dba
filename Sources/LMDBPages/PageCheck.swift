// The structure of an LMDB file, checked before liblmdb walks it.
//
// liblmdb trusts its pages: an offset, a size, a page number or a count that is wrong is followed
// wherever it leads, out of the page, beyond the file (SIGBUS), or in a circle. This check reads
// the pages that one commit reaches, with pread(2), and believes nothing of them.
//
// What must hold of a commit:
// - Its meta page is one, and its last page lies within the map.
// - The trees of the free pages, of the tables, and of each table reach pages from 2 to the last
//   one, each once, within the file, and each with its own number, of the kind that its depth asks
//   for, with nodes that fill the page from `upper` to its end without overlap.
// - Keys ascend: within a page, and within the range that the keys of the branch pages above give
//   it (the first key of a branch page stands for the lowest one and is not looked at).
// - A value with the flag `large` has enough overflow pages, one behind the other.
// - The record of a table counts what its tree holds.
// - The free pages are within the last page, listed once, and not reached by any tree.
//
// What need not hold: the file may end before its last page, where free pages are at the end that
// were never written. Pages may be neither in use nor free: they are lost room, and do no harm.
//
// Memory: one page for each level of two trees, and a bit for each page in use and each free page:
// 64 KiB for each GiB of the file at the most, with pages of 4 KiB.

/// How much of the structure is looked at.
public enum PageScope: Sendable {
    /// The meta pages: what liblmdb reads when it opens a file.
    case metas
    /// The meta pages, the branch pages of all trees, the tree of tables and the list of free
    /// pages: about a hundredth of the pages. Leaf pages of tables are not read, but that each is
    /// within the file and is reached once is known.
    case branches
    /// Every page.
    case all
}

public struct PageCheck {
    /// Findings that a report keeps.
    public static let mostFindings = 64

    /// Checks the pages of `path` that a commit reaches.
    ///
    /// No transaction may use its pages again meanwhile: nobody writes, or the caller holds a read
    /// transaction at `commit`.
    /// - Parameters:
    ///   - commit: the one whose pages are checked; nil: the last one.
    ///   - goOn: asked every 256 pages; where it says no, the report is not complete.
    /// - Throws: where the file can't be opened, or no meta page names `commit`. What is found
    ///   in the file is in the report.
    public static func check(
        _ path: String, commit: UInt64? = nil, scope: PageScope = .all,
        goOn: @escaping () -> Bool = { true }
    ) throws(PageCheckError) -> PageReport {
        var walk = PageWalk(try PageFile(path), scope, goOn)
        let metas = walk.readMetas()
        let wanted = metas.filter { commit == nil || $0.commit == commit }
        if let meta = wanted.max(by: { $0.commit < $1.commit }) {
            walk.check(meta)
        } else if let commit, walk.report.isSound {
            throw PageCheckError(operation: "find commit \(commit) in", path: path, errno: 11)
        }
        return walk.report
    }
}
