// The walk through the trees of one commit.

internal import Bytes

/// What is known while the pages of a file are checked.
struct PageWalk {
    let file: PageFile
    let scope: PageScope
    private let goOn: () -> Bool
    var report = PageReport()
    var inUse = PageSet()
    var free = PageSet()
    private(set) var lastPage: UInt64 = 1
    /// Pages that lie in the file as a whole.
    private var pagesInFile: UInt64 = 0

    init(_ file: PageFile, _ scope: PageScope, _ goOn: @escaping () -> Bool) {
        self.file = file
        self.scope = scope
        self.goOn = goOn
    }

    var pageSize: Int { report.pageSize }

    // MARK: The file

    /// The meta pages that are sound; what the others are is reported.
    mutating func readMetas() -> [Meta] {
        let page = PageBuffer(size: PageLayout.metaSize)
        var metas: [Meta] = []
        // Without a sound first page the second lies where pages of 4 KiB put it.
        var distance: UInt64 = 4096
        for number: UInt64 in 0...1 {
            if let failure = page.fill(file.descriptor, at: number * distance) {
                let found = failure == 0 ? "\(file.size) bytes" : systemText(failure)
                find(.noMeta, failure == 0 ? nil : number, nil, found, "two meta pages")
                continue
            }
            do throws(MetaDamage) {
                let meta = try Meta(page, number: number)
                if number == 0 { distance = UInt64(meta.pageSize) }
                metas.append(meta)
            } catch {
                find(error.defect, number, nil, error.found, error.expected)
            }
        }
        if metas.count == 2, metas[0].pageSize != metas[1].pageSize {
            find(
                .metaPageSize, 1, nil, "\(metas[1].pageSize) bytes",
                "\(metas[0].pageSize) bytes, as in page 0")
        }
        return metas
    }

    mutating func check(_ meta: Meta) {
        report.commit = meta.commit
        report.pageSize = meta.pageSize
        report.pages = meta.lastPage + 1
        report.pagesInUse = 2
        lastPage = meta.lastPage
        pagesInFile = file.size / UInt64(meta.pageSize)
        for page: UInt64 in 0...1 { _ = inUse.insert(page) }
        guard scope != .metas else { return }
        checkRecord(meta.tables, .tables)
        TreeCheck(.tables, meta.tables, pageSize).run(&self)
        checkRecord(meta.freePages, .freePages)
        TreeCheck(.freePages, meta.freePages, pageSize).run(&self)
    }

    /// What a table's record can say at all.
    /// - Returns: whether its tree can be walked.
    @discardableResult
    mutating func checkRecord(_ record: TableRecord, _ table: TreeName) -> Bool {
        let isFreePages = table == .freePages
        let mask = isFreePages ? ~PageLayout.noSubdirectory : UInt16.max
        let flags = record.flags & mask, expected = isFreePages ? PageLayout.integerKeys : 0
        if flags != expected {
            find(.tableRecord, nil, table.name, "flags \(flags)", "flags \(expected)")
            return false
        }
        if !isFreePages, record.pad != 0 {
            find(.tableRecord, nil, table.name, "pad \(record.pad)", "pad 0")
        }
        if Int(record.depth) > PageLayout.deepest {
            find(.depth, nil, table.name, "\(record.depth) levels", "up to \(PageLayout.deepest)")
            return false
        }
        if (record.root == PageLayout.noRoot) != (record.depth == 0) {
            find(
                .tableRecord, nil, table.name,
                "root \(record.root == PageLayout.noRoot ? "none" : "\(record.root)"), "
                    + "depth \(record.depth)", "a root and a depth, or neither")
            return false
        }
        return true
    }

    // MARK: Pages

    /// Notes that a tree leads to the page.
    /// - Returns: whether it can be looked at: it is within the file, and nothing else led there.
    mutating func claim(_ page: UInt64, _ table: String) -> Bool {
        guard page >= 2, page <= lastPage else {
            find(.beyondLastPage, page, table, "page \(page)", "a page from 2 to \(lastPage)")
            return false
        }
        // Before it is noted: the set's size follows the file, not what a page claims.
        guard page < pagesInFile else {
            find(
                .beyondFile, page, table, "a file of \(file.size) bytes",
                "\(page + 1) pages of \(pageSize) bytes")
            return false
        }
        guard inUse.insert(page) else {
            find(.reachedTwice, page, table, "a second way to it", "one")
            return false
        }
        report.pagesInUse += 1
        if free.contains(page) {
            find(.freeInUse, page, table, "free and in use", "one of the two")
        }
        return true
    }

    /// Notes that the page is listed as free.
    mutating func free(_ page: UInt64, listedBy commit: UInt64, at place: UInt64) {
        guard page >= 2, page <= lastPage else {
            find(
                .freeRange, place, TreeName.freePages.name, "page \(page), freed by \(commit)",
                "a page from 2 to \(lastPage)")
            return
        }
        report.pagesFree += 1
        // A free page that was never written may lie beyond the end of the file.
        guard page < pagesInFile else { return }
        if !free.insert(page) {
            find(.freeTwice, page, TreeName.freePages.name, "listed twice", "once")
        }
        if inUse.contains(page) {
            find(.freeInUse, page, TreeName.freePages.name, "free and in use", "one of the two")
        }
    }

    /// Reads the page.
    /// - Returns: false, and it is reported, where the system can't.
    mutating func read(_ page: UInt64, into buffer: PageBuffer, _ table: String) -> Bool {
        report.pagesRead += 1
        guard let failure = buffer.fill(file.descriptor, at: page * UInt64(pageSize)) else {
            return true
        }
        let found = failure == 0 ? "the end of the file" : systemText(failure)
        find(.unreadable, page, table, found, "\(pageSize) bytes")
        return false
    }

    /// Whether to look at more.
    mutating func mayGoOn() -> Bool {
        guard report.isComplete else { return false }
        if report.pagesRead % 256 == 255, !goOn() { report.isComplete = false }
        return report.isComplete
    }

    mutating func find(
        _ defect: PageDefect, _ page: UInt64?, _ table: String?, _ found: String,
        _ expected: String
    ) {
        report.counts[defect, default: 0] += 1
        guard report.findings.count < PageCheck.mostFindings else { return }
        report.findings.append(
            PageFinding(
                defect: defect, page: page, table: table, found: found, expected: expected))
    }
}

/// Which tree a page belongs to.
enum TreeName: Equatable {
    case tables, freePages
    case table(String)

    var name: String {
        switch self {
        case .tables: "the tables"
        case .freePages: "the free pages"
        case .table(let name): "table \(name)"
        }
    }
}
