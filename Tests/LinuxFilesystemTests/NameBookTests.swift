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

    @Test func `a replacement that arrives late leaves what is younger for the next one`() {
        let book = NameBook()
        _ = Self.note(book, 1, at: 10)
        // Of another buffer: removed and made again, before the replacement at 20 arrives.
        _ = Self.note(book, 2, at: 30)
        let late = Self.replaced(book, 3, at: 20)
        #expect(late.others == [1, 2] && late.isKnown && late.untrueSince == nil)
        #expect(Self.replaced(book, 4, at: 40).others == [2, 3])
    }

    @Test func `a name of which inodes were forgotten is not known until it is replaced`() {
        let book = NameBook()
        for inode in 1...UInt64(NameBook.claims) + 2 { _ = Self.note(book, inode, at: inode) }
        // What was forgotten may be younger than that.
        #expect(!Self.replaced(book, 5000, at: 3).isKnown)
        #expect(!Self.replaced(book, 5001, at: 5000).isKnown)
        #expect(Self.replaced(book, 5002, at: 5001).isKnown)
    }

    /// Statements about one name in any order, with what a shadow makes of them: when all have
    /// arrived it leads where the newest says.
    @Test(arguments: 0..<300 as Range<UInt64>)
    func `in whatever order buffers and reads arrive, no inode stays that was replaced`(
        seed: UInt64
    ) {
        var random = SplitMix64(seed: seed)
        let book = NameBook()
        var buffers: [[(stamp: UInt64, inode: UInt64, kind: Int)]] = [[], [], []]
        var current: UInt64?
        for stamp in 1...40 as ClosedRange<UInt64> {
            let buffer = Int(random.next() % 3), inode = 100 + random.next() % 6
            if let old = current {
                if random.next() % 4 == 0 {
                    buffers[buffer].append((stamp, old, 0))
                    current = nil
                } else {
                    buffers[buffer].append((stamp, inode, 2))
                    current = inode
                }
            } else {
                buffers[buffer].append((stamp, inode, 1))
                current = inode
            }
        }
        var shadow: [UInt64: (stamp: UInt64, isThere: Bool)] = [:]
        func state(_ inode: UInt64, _ stamp: UInt64, _ isThere: Bool) {
            if (shadow[inode]?.stamp ?? 0) <= stamp { shadow[inode] = (stamp, isThere) }
        }
        var isReread = false
        while buffers.contains(where: { !$0.isEmpty }) {
            let buffer = Int(random.next() % 3)
            guard !buffers[buffer].isEmpty else { continue }
            let (stamp, inode, kind) = buffers[buffer].removeFirst()
            switch kind {
            case 0: state(inode, stamp, false)
            case 1:
                let since = Self.note(book, inode, at: stamp)
                state(inode, stamp, true)
                if let since { state(inode, since, false) }
            default:
                let (others, isKnown, since) = Self.replaced(book, inode, at: stamp)
                for other in others { state(other, stamp, false) }
                state(inode, stamp, true)
                if let since { state(inode, since, false) }
                if !isKnown { isReread = true }
            }
        }
        if isReread { return }
        let left = shadow.filter(\.value.isThere).map(\.key)
        #expect(left == (current.map { [$0] } ?? []), "SEED=\(seed)")
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
