// Where the fields of LMDB 0.9's pages stand. Source: mdb.c of LMDB 0.9.24, data version 1:
// MDB_page, MDB_node, MDB_db, MDB_meta; mdb_node_add, mdb_page_new, mdb_freelist_save. Integers are
// in the processor's own byte order, offsets and sizes in bytes.
//
//     page      number u64, pad u16, flags u16, then lower u16 and upper u16, or, of an overflow
//               page, the number of pages u32; then 2 bytes for each node: its offset
//     node      low u16, high u16, flags u16, key size u16, key, value. In a branch page low, high
//               and flags are the child's page number, and there is no value. In a leaf page low
//               and high are the value's size; with the flag `large` the first of the overflow
//               pages that hold it stands in its place, u64.
//     table     pad u32, flags u16, depth u16, branch pages u64, leaf pages u64, overflow pages
//               u64, entries u64, root u64 (all ones: the table is empty)
//     meta      a page's head of 16, magic u32, version u32, address u64, map size u64, the table
//               of free pages (its pad is the page size), the table of tables, last page u64,
//               transaction u64

enum PageLayout {
    static let headSize = 16
    static let flags = 10, lower = 12, upper = 14, overflowPages = 12

    static let branch: UInt16 = 0x01, leaf: UInt16 = 0x02, overflow: UInt16 = 0x04
    static let meta: UInt16 = 0x08

    static let nodeHead = 8
    /// Flags of nodes.
    static let large: UInt16 = 0x01, table: UInt16 = 0x02

    static let tableSize = 48
    static let noRoot = UInt64.max
    /// The flag of the table of free pages: its keys are integers.
    static let integerKeys: UInt16 = 0x08
    /// What the environment was opened with stands in the same field: one file, no directory.
    static let noSubdirectory: UInt16 = 0x4000

    static let magic: UInt32 = 0xbeef_c0de
    static let version: UInt32 = 1
    static let metaSize = 152

    /// `CURSOR_STACK`, the deepest tree that a cursor walks.
    static let deepest = 32
    /// `MDB_MAXKEYSIZE`.
    static let longestKey = 511

    /// The most that a node takes in a leaf page: two fit (`me_nodemax`).
    static func largestNode(_ pageSize: Int) -> Int {
        ((pageSize - headSize) / 2 & ~1) - 2
    }

    /// Overflow pages of a value (`OVPAGES`).
    static func overflowPages(_ valueSize: UInt64, _ pageSize: Int) -> UInt64 {
        (UInt64(headSize) - 1 + valueSize) / UInt64(pageSize) + 1
    }

    static func name(_ flags: UInt16) -> String {
        switch flags {
        case branch: "a branch page"
        case leaf: "a leaf page"
        case overflow: "an overflow page"
        case meta: "a meta page"
        case 0: "a page without flags"
        default: "flags 0x\(String(flags, radix: 16))"
        }
    }
}

/// The record of a table: the root of its tree, and what is counted of it.
struct TableRecord: Equatable {
    var pad: UInt32
    var flags, depth: UInt16
    var branchPages, leafPages, overflowPages, entries, root: UInt64

    init(_ page: PageBuffer, at offset: Int) {
        pad = page.load(offset)
        flags = page.load(offset + 4)
        depth = page.load(offset + 6)
        branchPages = page.load(offset + 8)
        leafPages = page.load(offset + 16)
        overflowPages = page.load(offset + 24)
        entries = page.load(offset + 32)
        root = page.load(offset + 40)
    }
}

/// A meta page that can be one.
struct Meta {
    let pageSize: Int
    let mapSize, lastPage, commit: UInt64
    let freePages, tables: TableRecord

    /// - Parameter number: the meta page's own, 0 or 1.
    /// - Throws: what is wrong with it.
    init(_ page: PageBuffer, number: UInt64) throws(MetaDamage) {
        guard page.load(PageLayout.flags) == PageLayout.meta, page.load(0) == number else {
            throw MetaDamage(
                .metaFlags, "number \(page.load(0, as: UInt64.self)), "
                    + PageLayout.name(page.load(PageLayout.flags)), "number \(number), a meta page")
        }
        let magic: UInt32 = page.load(16), version: UInt32 = page.load(20)
        guard magic == PageLayout.magic, version == PageLayout.version else {
            throw MetaDamage(
                .metaFormat, "0x\(String(magic, radix: 16)), version \(version)",
                "0x\(String(PageLayout.magic, radix: 16)), version \(PageLayout.version)")
        }
        freePages = TableRecord(page, at: 40)
        tables = TableRecord(page, at: 88)
        guard freePages.pad.nonzeroBitCount == 1, (512...65536).contains(freePages.pad) else {
            throw MetaDamage(
                .metaPageSize, "\(freePages.pad) bytes", "a power of two from 512 to 65,536")
        }
        pageSize = Int(freePages.pad)
        mapSize = page.load(32)
        lastPage = page.load(136)
        commit = page.load(144)
        // Page numbers have 48 bits in branch pages.
        guard lastPage >= 1, lastPage < 1 << 48 else {
            throw MetaDamage(.metaLastPage, "page \(lastPage)", "a page from 1 to 2^48 - 1")
        }
        guard commit < 1 << 62 else {
            throw MetaDamage(.metaCommit, "commit \(commit)", "one that was counted up to")
        }
        guard mapSize / UInt64(pageSize) > lastPage else {
            throw MetaDamage(
                .metaMapSize, "a map of \(mapSize) bytes",
                "more than \(lastPage) pages of \(pageSize) bytes")
        }
    }
}

struct MetaDamage: Error {
    let defect: PageDefect
    let found, expected: String

    init(_ defect: PageDefect, _ found: String, _ expected: String) {
        self.defect = defect
        self.found = found
        self.expected = expected
    }
}
