// Which inodes a name has led to.

import Bytes
import Testing
import Tidemark

@testable import LinuxFilesystem
@testable import LinuxOwner

@Suite struct BitSetTests {
    @Test func `sets meet where both have the same bit`() throws {
        let (some, others) = (try #require(BitSet(200)), try #require(BitSet(200)))
        #expect(!some.meets(others))
        some[199] = true
        others[198] = true
        #expect(!some.meets(others))
        others[199] = true
        #expect(some.meets(others))
        some[199] = false
        #expect(!some.meets(others) && some.isEmpty)
    }
}

/// What an index that is damaged has twice.
@Suite struct DoubledTests {
    @Test func `parent pointers with one key and two generations are told once, and doubted`() {
        let list = NameList()
        for (parent, generation, text) in [
            (9, 1, "b"), (7, 1, "a"), (9, 2, "b"), (9, 1, "b"), (7, 1, "aa"), (7, 1, "a"),
        ] as [(UInt64, UInt32, String)] {
            let name = Array(text.utf8)
            list.append(parent, generation, name.rawSpan)
        }
        list.sort()
        let told = list.items.filter { !$0.isRepeated }
        #expect(told.map(\.parent) == [7, 7, 9])
        #expect(told.map(\.isDoubled) == [false, false, true])
        #expect(list.distinct == 3 && list.items.count == 6)
    }

    @Test func `a mapping that is met twice is told once, and damaged where it is there twice`()
        throws
    {
        let answer = try Recorded.bytes("fsmap.bin")
        let batch = SpaceBatch(capacity: 48)
        _ = try batch.parse(answer.rawSpan, device: batch.device(of: answer))
        let record = try #require(batch.records.first { MappingPiece($0, 4096) != nil })
        let first = record.physical / 4096
        for isThere in [false, true] {
            var sweep = MappingSweep(first, 4096)
            sweep.add(record)
            sweep.add(record)
            let entries = EntryBatch()
            let next = try sweep.emit(
                upTo: first + 1, from: KeyBytes(), limit: 10, into: entries,
                isDoubled: { _ in isThere })
            #expect(next == nil)
            #expect(entries.count == 1)
            #expect(entries.isDamaged(at: entries.startPosition) == isThere)
        }
    }
}

@Suite struct NameBookTests {
    static let name = Array("name".utf8)

    /// What a replacement at `stamp` says is not there any more.
    static func replaced(
        _ book: NameBook, _ inode: UInt64, at stamp: UInt64
    ) -> (others: Set<UInt64>, isKnown: Bool, truth: NameBook.Truth) {
        var others = Set<UInt64>()
        let name = Self.name
        let (isKnown, truth) = book.replace(7, name.rawSpan, inode, at: stamp) {
            others.insert($0)
        }
        return (others, isKnown, truth)
    }

    static func note(_ book: NameBook, _ inode: UInt64, at stamp: UInt64) -> NameBook.Truth {
        let name = Self.name
        return book.note(7, name.rawSpan, inode, at: stamp)
    }

    @Test func `a replacement names every other inode that the name has led to`() {
        let book = NameBook()
        #expect(Self.note(book, 1, at: 10) == .stands)
        #expect(Self.note(book, 2, at: 20) == .stands)
        let first = Self.replaced(book, 3, at: 30)
        #expect(first.others == [1, 2] && first.isKnown && first.truth == .stands)
        let second = Self.replaced(book, 1, at: 40)
        // Of 2 the first replacement has said it.
        #expect(second.others == [3] && second.isKnown && second.truth == .stands)
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
        #expect(Self.note(book, 9, at: 29) == .untrue(since: 30))
        #expect(Self.note(book, 3, at: 29) == .stands)
        #expect(Self.note(book, 9, at: 31) == .stands)
        // Two replacements in the wrong order.
        let late = Self.replaced(book, 8, at: 20)
        #expect(late.others == [3, 9] && late.truth == .untrue(since: 30))
        #expect(Self.note(book, 8, at: 25) == .untrue(since: 30))
        // The newer one knows what the late one has entered.
        #expect(Self.replaced(book, 5, at: 50).others == [3, 8, 9])
    }

    @Test func `since when it is not true is open where two replacements are behind us`() {
        let book = NameBook()
        _ = Self.replaced(book, 3, at: 20)
        _ = Self.replaced(book, 4, at: 40)
        // It ended at 20, and a look at 30 must not take it for true.
        #expect(Self.note(book, 9, at: 10) == .open)
        #expect(Self.note(book, 9, at: 25) == .untrue(since: 40))
        #expect(Self.note(book, 4, at: 25) == .stands)
        // One that arrives late is one of them, and ends what it ends.
        #expect(Self.replaced(book, 5, at: 30).truth == .untrue(since: 40))
        #expect(Self.note(book, 9, at: 25) == .open)
        #expect(Self.replaced(book, 6, at: 15).truth == .open)
    }

    @Test func `a replacement that arrives late leaves what is younger for the next one`() {
        let book = NameBook()
        _ = Self.note(book, 1, at: 10)
        // Of another buffer: removed and made again, before the replacement at 20 arrives.
        _ = Self.note(book, 2, at: 30)
        let late = Self.replaced(book, 3, at: 20)
        #expect(late.others == [1, 2] && late.isKnown && late.truth == .stands)
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
    func `in whatever order buffers arrive, what is known at a mark is so`(
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
        // What the name leads to behind each stamp.
        var truths: [UInt64?] = [nil]
        for stamp in 1...40 as ClosedRange<UInt64> {
            let event = buffers.joined().first { $0.stamp == stamp }
            truths.append(event.flatMap { $0.kind == 0 ? nil : $0.inode })
        }
        var shadow: [UInt64: (stamp: UInt64, isThere: Bool)] = [:]
        func state(_ inode: UInt64, _ stamp: UInt64, _ isThere: Bool) {
            if (shadow[inode]?.stamp ?? 0) <= stamp { shadow[inode] = (stamp, isThere) }
        }
        // What is said once its buffer has come to the time.
        var later: [(buffer: Int, stamp: UInt64, inode: UInt64)] = []
        func enter(_ inode: UInt64, _ stamp: UInt64, _ buffer: Int, _ truth: NameBook.Truth) {
            state(inode, stamp, true)
            if case .untrue(let since) = truth { later.append((buffer, since, inode)) }
        }
        while buffers.contains(where: { !$0.isEmpty }) {
            let buffer = Int(random.next() % 3)
            guard !buffers[buffer].isEmpty else { continue }
            let (stamp, inode, kind) = buffers[buffer].removeFirst()
            var truth = NameBook.Truth.stands
            switch kind {
            case 0: state(inode, stamp, false)
            case 1:
                truth = Self.note(book, inode, at: stamp)
                enter(inode, stamp, buffer, truth)
            default:
                let (others, isKnown, known) = Self.replaced(book, inode, at: stamp)
                for other in others { state(other, stamp, false) }
                truth = isKnown ? known : .open
                enter(inode, stamp, buffer, truth)
            }
            // The directory is read again.
            if truth == .open { return }
            // A mark at which all that was delivered is delivered.
            let mark = buffers.map { ($0.first?.stamp ?? 41) - 1 }.min() ?? 40
            for (_, stamp, inode) in later where stamp <= mark { state(inode, stamp, false) }
            later.removeAll { $0.stamp <= mark }
            // Whatever has no news behind the mark is as it was at the mark.
            for (inode, item) in shadow where item.stamp <= mark {
                #expect(
                    item.isThere == (truths[Int(mark)] == inode),
                    "SEED=\(seed): inode \(inode) at \(mark)")
            }
        }
        let left = shadow.filter(\.value.isThere).map(\.key)
        #expect(left == (current.map { [$0] } ?? []), "SEED=\(seed)")
    }

    @Test func `a full book knows what it knew, and nothing new`() {
        let book = NameBook(limit: 16)
        #expect(Self.note(book, 1, at: 1) == .stands)
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
