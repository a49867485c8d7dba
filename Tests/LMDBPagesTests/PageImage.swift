// The bytes of a small LMDB file, with a reader of its own that finds the places to damage.

import Bytes
import Foundation
import LMDB

/// A file in memory; damaged there, and written to a path to be checked.
struct PageImage {
    static let pageSize = 4096
    var bytes: [UInt8]

    init(_ path: String) throws { bytes = [UInt8](try Data(contentsOf: URL(filePath: path))) }

    func write(to path: String) throws { try Data(bytes).write(to: URL(filePath: path)) }

    func load<T: FixedWidthInteger>(_ offset: Int, as: T.Type = T.self) -> T {
        var value: T = 0
        for index in (0..<MemoryLayout<T>.size).reversed() {
            value = value << 8 | T(bytes[offset + index])
        }
        return value
    }

    mutating func store<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
        for index in 0..<MemoryLayout<T>.size {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value >> T(8 * index))
        }
    }

    // MARK: Places, as offsets of bytes

    static func page(_ number: UInt64) -> Int { Int(number) * pageSize }

    /// The newer of the two meta pages.
    var meta: Int { load(144, as: UInt64.self) >= load(4096 + 144, as: UInt64.self) ? 0 : 4096 }
    var lastPage: UInt64 { load(meta + 136) }

    func node(_ page: Int, _ index: Int) -> Int {
        page + Int(load(page + 16 + 2 * index, as: UInt16.self))
    }

    func nodes(_ page: Int) -> Int { (Int(load(page + 12, as: UInt16.self)) - 16) / 2 }

    func isBranch(_ page: Int) -> Bool { load(page + 10, as: UInt16.self) == 1 }

    func child(_ page: Int, _ index: Int) -> Int {
        let node = node(page, index)
        return PageImage.page(
            UInt64(load(node, as: UInt32.self)) | UInt64(load(node + 4, as: UInt16.self)) << 32)
    }

    /// The record of a table, in the leaf of the tree of tables.
    func record(_ table: String) -> Int {
        let leaf = PageImage.page(load(meta + 88 + 40))
        precondition(!isBranch(leaf), "few tables")
        for index in 0..<nodes(leaf) {
            let node = node(leaf, index), size = Int(load(node + 6, as: UInt16.self))
            if Array(bytes[node + 8..<node + 8 + size]) == Array(table.utf8) {
                return node + 8 + size
            }
        }
        preconditionFailure("no table \(table)")
    }

    func root(_ table: String) -> Int { PageImage.page(load(record(table) + 40)) }

    /// The pages from the root to the leaf that is reached by these children, then by the first.
    func path(_ table: String, _ children: Int...) -> [Int] {
        var pages = [root(table)], children = children[...]
        while isBranch(pages.last!) { pages.append(child(pages.last!, children.popFirst() ?? 0)) }
        return pages
    }

    func leaf(_ table: String, _ children: Int...) -> Int {
        var page = root(table), children = children[...]
        while isBranch(page) { page = child(page, children.popFirst() ?? 0) }
        return page
    }

    /// The first leaf of the list of free pages.
    var freeLeaf: Int {
        var page = PageImage.page(load(meta + 40 + 40))
        while isBranch(page) { page = child(page, 0) }
        return page
    }

    /// Where the first list in that leaf begins: its length.
    var freeList: Int {
        let node = node(freeLeaf, 0)
        let key = Int(load(node + 6, as: UInt16.self))
        let isLarge = load(node + 4, as: UInt16.self) & 1 != 0
        let place = node + 8 + key
        return isLarge ? PageImage.page(load(place)) + 16 : place
    }
}

/// A directory that is gone with the value.
final class PageScratch {
    let path: String
    var file: String { path + "/test.mdb" }

    init() throws {
        path = NSTemporaryDirectory() + "/lmdb-pages-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// Tables: `deep` of three levels, `large` with values in overflow pages, `small` of one page,
    /// `empty`. Entries were deleted, so that pages are free.
    func fill(entries: UInt64 = 3000) throws {
        let environment = try Environment(path: file, options: .init(isUnsynced: true))
        try environment.write { transaction in
            for name in ["deep", "empty", "large", "small"] {
                let table = try transaction.table(name, create: true)!
                guard name != "empty" else { continue }
                for number in 0..<(name == "deep" ? entries : name == "large" ? 40 : 10) {
                    var key = KeyBytes()
                    key.append(number)
                    // Long keys make branch pages with few children.
                    key.append([UInt8](repeating: 7, count: 100).rawSpan)
                    let size = name == "large" ? 3000 + Int(number) * 400 : 20
                    let value = [UInt8](repeating: UInt8(truncatingIfNeeded: number), count: size)
                    try transaction.put(table, key.span, value.rawSpan)
                }
            }
        }
        for part: UInt64 in 0..<3 {
            try environment.write { transaction in
                let deep = try transaction.table("deep", create: false)!
                let first = entries / 2 + part * 300
                for number in first..<first + 250 {
                    var key = KeyBytes()
                    key.append(number)
                    key.append([UInt8](repeating: 7, count: 100).rawSpan)
                    _ = try transaction.delete(deep, key.span)
                }
            }
        }
    }
}
