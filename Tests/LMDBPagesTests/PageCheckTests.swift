// Every rule of the file's structure, broken in one place and found there.

import Bytes
import Foundation
import LMDB
import LMDBPages
import Testing

/// One way to break one rule.
struct Damage: Sendable, CustomTestStringConvertible {
    let defect: PageDefect
    let name: String
    /// nil: found in the whole file, whatever it is.
    let table: String?
    let isInBranches: Bool
    let make: @Sendable (inout PageImage) -> Void

    init(
        _ defect: PageDefect, _ name: String, in table: String? = nil, branches: Bool = false,
        _ make: @escaping @Sendable (inout PageImage) -> Void
    ) {
        self.defect = defect
        self.name = name
        self.table = table
        isInBranches = branches
        self.make = make
    }

    var testDescription: String { "\(defect.rawValue): \(name)" }
}

@Suite struct PageCheckTests {
    static let image: Result<PageImage, any Error> = Result {
        let scratch = try PageScratch()
        try scratch.fill()
        return try PageImage(scratch.file)
    }

    static func check(
        _ image: PageImage, _ scope: PageScope = .all, goOn: @escaping () -> Bool = { true }
    ) throws -> PageReport {
        let scratch = try PageScratch()
        try image.write(to: scratch.file)
        return try PageCheck.check(scratch.file, scope: scope, goOn: goOn)
    }

    @Test func `a file that liblmdb wrote breaks no rule`() throws {
        let report = try Self.check(Self.image.get())
        #expect(report.isSound, "\(report.findings)")
        #expect(report.isComplete)
        #expect(report.pagesFree > 20)
        #expect(report.pagesRead > 80)
        #expect(report.pagesInUse + report.pagesFree == report.pages)
    }

    @Test func `the branches are read without the leaves`() throws {
        let image = try Self.image.get()
        let whole = try Self.check(image), part = try Self.check(image, .branches)
        #expect(part.isSound, "\(part.findings)")
        #expect(part.pagesRead < whole.pagesRead / 2)
        #expect(part.pagesFree == whole.pagesFree)
    }

    @Test func `a check that is told to stop stops`() throws {
        var asked = 0
        let scratch = try PageScratch()
        try scratch.fill(entries: 20_000)
        let report = try PageCheck.check(scratch.file) {
            asked += 1
            return asked < 2
        }
        #expect(!report.isComplete)
        #expect(report.pagesRead == 511)
        #expect(report.isSound)
    }

    @Test func `a file that is still written to is checked at a reader's commit`() throws {
        let scratch = try PageScratch()
        try scratch.fill(entries: 2000)
        let environment = try Environment(path: scratch.file, options: .init(isUnsynced: true))
        let reader = try environment.beginRead()
        #expect(try PageCheck.check(scratch.file, commit: reader.commit).isSound)
        for _ in 0..<3 {
            try environment.write { transaction in
                let table = try transaction.table("deep", create: false)!
                _ = try transaction.delete(table, [UInt8](repeating: 0, count: 8).rawSpan)
                try transaction.put(table, [1, 2, 3].rawSpan, [4].rawSpan)
            }
        }
        #expect(throws: PageCheckError.self) {
            try PageCheck.check(scratch.file, commit: reader.commit)
        }
    }

    @Test(arguments: damages) func `what breaks a rule is found`(_ damage: Damage) throws {
        var image = try Self.image.get()
        damage.make(&image)
        let report = try Self.check(image)
        #expect(report.counts[damage.defect] ?? 0 > 0, "\(report.findings)")
        let found = report.findings.first { $0.defect == damage.defect }
        if let table = damage.table { #expect(found?.table == table) }
        #expect(found.map { !"\($0)".isEmpty } ?? false)
        if damage.isInBranches {
            #expect(try Self.check(image, .branches).counts[damage.defect] ?? 0 > 0)
        }
    }

    @Test func `every kind of defect but those of the system has a test, and words`() {
        let tested = Set(Self.damages.map(\.defect))
        // A page that the system can't read needs a device that fails.
        #expect(Set(PageDefect.allCases).subtracting(tested) == [.unreadable])
        #expect(Set(PageDefect.allCases.map(\.meaning)).count == PageDefect.allCases.count)
    }

    @Test func `free pages at the end of a file need not be in it`() throws {
        var image = try Self.image.get()
        let free = image.lastPage + 1
        // A page more, freed by the first transaction of the list, that was never written.
        image.store(free, image.meta + 136)
        let place = image.freeList, count: UInt64 = image.load(place)
        let before: UInt64 = image.load(place + 8)
        #expect(count > 1)
        image.store(free, place + 8)
        let report = try Self.check(image)
        #expect(report.isSound, "\(report.findings)")
        // The page that was listed before is lost, which is no defect.
        #expect(report.pagesInUse + report.pagesFree + 1 == report.pages && before < free)
    }

    @Test(arguments: 0..<24 as Range<UInt64>)
    func `whatever is flipped, the check ends and does not trap`(_ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let image = try Self.image.get()
        for _ in 0..<8 {
            var damaged = image
            for _ in 0..<Int.random(in: 1...40, using: &random) {
                // Heads of pages, and anything.
                let page = Int.random(in: 0..<damaged.bytes.count / 4096, using: &random) * 4096
                let offset = Int.random(
                    in: Bool.random(using: &random) ? 0..<256 : 0..<4096, using: &random)
                damaged.bytes[page + offset] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            if seed % 4 == 0 {
                let count = Int.random(in: 0...damaged.bytes.count, using: &random)
                damaged.bytes.removeLast(damaged.bytes.count - count)
            }
            _ = try Self.check(damaged)
            _ = try Self.check(damaged, .branches)
        }
    }

    /// Were it not so, this process would end with a signal.
    @Test(arguments: 0..<8 as Range<UInt64>)
    func `what the check calls sound liblmdb walks, changes and empties`(_ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        let image = try Self.image.get()
        var sound = 0
        for _ in 0..<24 {
            var damaged = image
            let page = Int.random(in: 0..<damaged.bytes.count / 4096, using: &random) * 4096
            let offset = Int.random(
                in: Bool.random(using: &random) ? 0..<128 : 0..<4096, using: &random)
            damaged.bytes[page + offset] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            guard try Self.check(damaged).isSound else { continue }
            sound += 1
            let scratch = try PageScratch()
            try damaged.write(to: scratch.file)
            try Self.emptyAll(scratch.file)
        }
        #expect(sound > 0)
    }

    private static func emptyAll(_ path: String) throws {
        let environment = try Environment(path: path, options: .init(isUnsynced: true))
        for name in ["deep", "empty", "large", "small"] {
            // Its name may be what was damaged.
            guard let table = try environment.table(name, create: false) else { continue }
            var walked = 0
            let transaction = try environment.beginRead()
            var cursor = try transaction.cursor(table)
            while try cursor.next() { walked += 1 }
            #expect(try transaction.statistics(table).entries == walked)
            try environment.write { transaction in
                try transaction.withCursor(table) { cursor in
                    while try cursor.first() { try cursor.delete() }
                }
            }
        }
        #expect(try PageCheck.check(path).isSound)
    }

    @Test(arguments: 0..<4 as Range<UInt64>)
    func `bytes that are no pages are never sound`(_ seed: UInt64) throws {
        var random = SplitMix64(seed: seed)
        var image = try Self.image.get()
        for page in 2..<UInt64(image.bytes.count / 4096) {
            for offset in 0..<4096 {
                image.bytes[PageImage.page(page) + offset] = UInt8.random(
                    in: 0...255, using: &random)
            }
        }
        #expect(try !Self.check(image).isSound)
    }

    @Test func `a file that is not there is an error`() {
        #expect(throws: PageCheckError.self) { try PageCheck.check("/nonexistent/file") }
    }
}
