// Which inodes a name has led to.

import Bytes
import Testing

@testable import LinuxOwner

@Suite struct NameBookTests {
    static let name = Array("name".utf8)

    /// What a replacement at `stamp` says is not there any more.
    static func replaced(
        _ book: NameBook, _ inode: UInt64, at stamp: UInt64
    ) -> (others: Set<UInt64>, isKnown: Bool, untrueSince: UInt64?) {
        var others = Set<UInt64>()
        let name = Self.name
        let (isKnown, untrueSince) = book.replace(7, name.rawSpan, inode, at: stamp) {
            others.insert($0)
        }
        return (others, isKnown, untrueSince)
    }

    static func note(_ book: NameBook, _ inode: UInt64, at stamp: UInt64) -> UInt64? {
        let name = Self.name
        return book.note(7, name.rawSpan, inode, at: stamp)
    }

    @Test func `a replacement names every other inode that the name has led to`() {
        let book = NameBook()
        #expect(Self.note(book, 1, at: 10) == nil)
        #expect(Self.note(book, 2, at: 20) == nil)
        let first = Self.replaced(book, 3, at: 30)
        #expect(first.others == [1, 2] && first.isKnown && first.untrueSince == nil)
        let second = Self.replaced(book, 1, at: 40)
        // Of 2 the first replacement has said it.
        #expect(second.others == [3] && second.isKnown && second.untrueSince == nil)
    }

    @Test func `a name that nobody has entered is not known`() {
        let book = NameBook()
        #expect(!Self.replaced(book, 3, at: 30).isKnown)
        // From then on it is.
        #expect(Self.replaced(book, 4, at: 40).isKnown)
    }

    @Test func `what is older than a replacement that is behind us is not true since then`() {
        let book = NameBook()
        _ = Self.replaced(book, 3, at: 30)
        #expect(Self.note(book, 9, at: 29) == 30)
        #expect(Self.note(book, 3, at: 29) == nil)
        #expect(Self.note(book, 9, at: 31) == nil)
        // Two replacements in the wrong order.
        let late = Self.replaced(book, 8, at: 20)
        #expect(late.others == [3, 9] && late.untrueSince == 30)
        #expect(Self.note(book, 8, at: 25) == 30)
        // The newer one knows what the late one has entered.
        #expect(Self.replaced(book, 5, at: 50).others == [3, 8, 9])
    }

    @Test func `a full book knows what it knew, and nothing new`() {
        let book = NameBook(limit: 16)
        #expect(Self.note(book, 1, at: 1) == nil)
        for inode in 100..<1000 as Range<UInt64> {
            let name = Array("other-\(inode)".utf8)
            _ = book.note(inode, name.rawSpan, inode, at: 2)
        }
        #expect(Self.replaced(book, 2, at: 3).others == [1])
        var known = 0
        for inode in 100..<1000 as Range<UInt64> {
            let name = Array("other-\(inode)".utf8)
            if book.replace(inode, name.rawSpan, 5, at: 4, { _ in }).isKnown { known += 1 }
        }
        #expect(known <= 16)
    }
}
