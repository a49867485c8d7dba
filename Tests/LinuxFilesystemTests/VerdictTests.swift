// Which record is believed, of every kind of contradiction, and what follows from it.

import LinuxFilesystem
import Testing

@testable import LinuxOwner

@Suite struct VerdictTests {
    typealias Claim = BlockEvidence.Claim

    static func evidence(
        _ block: UInt64 = 72, claims: [Claim] = [], mappings: [BlockEvidence.Mapping] = [],
        isFree: Bool? = false, _ holders: [UInt64: Holder] = [:]
    ) -> BlockEvidence {
        var evidence = BlockEvidence(block)
        evidence.claims = claims
        evidence.mappings = mappings
        evidence.isFree = isFree
        evidence.holders = holders
        for claim in claims where holders[claim.place.inode] == nil {
            evidence.holders[claim.place.inode] = file
        }
        return evidence
    }

    static let file = Holder.present(blocks: 1, isReadable: true)

    static func judge(_ evidence: BlockEvidence) -> RepairVerdict? {
        RepairVerdict.judge(evidence, groupBlocks: 1000)
    }

    static func place(_ inode: UInt64, _ offset: UInt64 = 0) -> ForkPlace {
        ForkPlace(inode, 0, offset)
    }

    static func mapping(_ inode: UInt64, _ offset: UInt64 = 0) -> BlockEvidence.Mapping {
        .file(place(inode, offset), isUnwritten: false)
    }

    // MARK: Blocks

    @Test func `where all records agree there is no verdict`() {
        #expect(
            Self.judge(Self.evidence(claims: [Claim(Self.place(5))], mappings: [Self.mapping(5)]))
                == nil)
    }

    /// The reverse map is the one that stands alone.
    @Test(arguments: [
        // Another owner, which does not exist, or does.
        ([mapping(9999)], [9999: .absent]), ([mapping(6, 3)], [6: file]),
        // Another offset, behind the end.
        ([mapping(5, 77)], [:]),
        // None at all; one too many.
        ([], [:]), ([mapping(5), mapping(6, 9)], [6: file]),
    ] as [([BlockEvidence.Mapping], [UInt64: Holder])])
    func `a mapping that only the reverse map knows is wrong`(
        mappings: [BlockEvidence.Mapping], holders: [UInt64: Holder]
    ) throws {
        let verdict = try #require(
            Self.judge(Self.evidence(claims: [Claim(Self.place(5))], mappings: mappings, holders)))
        #expect(verdict.belief == .primary)
        #expect(verdict.remedy == .reverseMap(group: 0))
        #expect(verdict.witnesses.count >= 2)
        #expect(verdict.loss == nil)
    }

    @Test func `a mapping over free space that no file has is wrong`() throws {
        let verdict = try #require(
            Self.judge(
                Self.evidence(2072, mappings: [Self.mapping(6)], isFree: true, [6: Self.file])))
        #expect(verdict.belief == .primary)
        #expect(verdict.remedy == .reverseMap(group: 2))
    }

    @Test func `two files that claim a block are wrong, unless it is shared`() throws {
        let claims = [Claim(Self.place(5)), Claim(Self.place(6))]
        let verdict = try #require(
            Self.judge(Self.evidence(claims: claims, mappings: [Self.mapping(6)])))
        #expect(verdict.belief == .secondary)
        #expect(verdict.remedy == nil)
        let shared = claims.map { Claim($0.place, isShared: true) }
        let other = try #require(
            Self.judge(Self.evidence(claims: shared, mappings: [Self.mapping(6)])))
        #expect(other.belief == .primary)
    }

    @Test func `an extent over free space is wrong itself`() throws {
        let verdict = try #require(
            Self.judge(Self.evidence(claims: [Claim(Self.place(5))], isFree: true)))
        #expect(verdict.belief == .secondary)
        #expect(verdict.remedy == nil)
    }

    @Test func `an extent that is gone while its mapping stands is lost, and the mapping is kept`()
        throws
    {
        let verdict = try #require(
            Self.judge(Self.evidence(mappings: [Self.mapping(6)], [6: Self.file])))
        #expect(verdict.belief == .secondary)
        #expect(verdict.loss != nil)
        let nobody = try #require(
            Self.judge(Self.evidence(mappings: [Self.mapping(9999)], [9999: .absent])))
        #expect(nobody.belief == .open)
        #expect(nobody.loss != nil)
    }

    @Test func `what nothing but the two records tells stays open`() throws {
        let claim = Claim(Self.place(5))
        let open: [BlockEvidence] = [
            // Metadata, blocks of extent maps, and files that can't be opened.
            Self.evidence(claims: [claim], mappings: [.metadata("inodes")]),
            Self.evidence(
                claims: [claim], mappings: [Self.mapping(7)],
                [7: .present(blocks: 1, isReadable: false)]),
            Self.evidence(mappings: [Self.mapping(6), .metadata("inode btree")], [6: Self.file]),
            // Both offsets lie within the file.
            Self.evidence(
                claims: [claim], mappings: [Self.mapping(5, 7)],
                [5: .present(blocks: 9, isReadable: true)]),
            // Written or not.
            Self.evidence(
                claims: [claim], mappings: [.file(Self.place(5), isUnwritten: true)]),
            // Free space that can't be asked; shared with whom?
            Self.evidence(claims: [claim], isFree: nil),
            Self.evidence(mappings: [Self.mapping(6)], isFree: nil, [6: Self.file]),
            Self.evidence(claims: [Claim(Self.place(5), isShared: true)]),
        ]
        for evidence in open {
            let verdict = try #require(Self.judge(evidence))
            #expect(verdict.belief == .open, "\(verdict.reason)")
        }
    }

    @Test func `a file that is being removed is not judged`() throws {
        let verdict = try #require(
            Self.judge(Self.evidence(mappings: [Self.mapping(6)], [6: .withheld])))
        #expect(verdict.belief == .unsettled)
        #expect(verdict.remedy == nil)
    }

    @Test func `an extent that the reverse map has in another block in use is not proven`() throws {
        let here = try #require(Self.judge(Self.evidence(72, claims: [Claim(Self.place(5))])))
        let there = try #require(
            Self.judge(Self.evidence(90, mappings: [Self.mapping(5)], [5: Self.file])))
        #expect(here.belief == .primary)
        let joined = RepairVerdict.join([here, there])
        #expect(joined.map(\.belief) == [.open, .secondary])
        // One that is free is only a wrong mapping.
        let free = try #require(
            Self.judge(Self.evidence(90, mappings: [Self.mapping(5)], isFree: true, [5: Self.file]))
        )
        #expect(RepairVerdict.join([here, free]).map(\.belief) == [.primary, .primary])
    }

    @Test func `neighbouring blocks with the same mistake are one`() throws {
        let verdicts = try (0..<5 as Range<UInt64>).map { place in
            try #require(
                Self.judge(
                    Self.evidence(
                        10 + place, claims: [Claim(Self.place(5, place))],
                        mappings: [Self.mapping(9, 70 + place)], [9: .absent])))
        }
        let joined = RepairVerdict.join(verdicts.shuffled())
        #expect(joined.map(\.object) == ["blocks 10–14"])
        #expect(joined[0].blocks == 5)
    }

    // MARK: Names

    static let right = NameEvidence.Name(150, 3, Array("file".utf8))
    static let wrong = NameEvidence.Name(150, 3, Array("lie".utf8))

    static func names(
        _ entries: [NameEvidence.Name], _ pointers: [NameEvidence.Name], links: UInt32 = 1
    ) -> NameEvidence {
        var names = NameEvidence(275)
        names.generation = 4
        names.links = links
        names.entries = entries
        names.pointers = pointers
        return names
    }

    @Test func `a parent pointer that directory, hash index and link count contradict is wrong`()
        throws
    {
        for pointers in [[Self.wrong], [], [Self.right, Self.wrong]] {
            let verdict = try #require(RepairVerdict.judge(Self.names([Self.right], pointers)))
            #expect(verdict.belief == .primary)
            #expect(verdict.remedy == .parents(inode: 275, generation: 4))
        }
        #expect(RepairVerdict.judge(Self.names([Self.right], [Self.right])) == nil)
    }

    @Test func `a name that leads nowhere is wrong itself`() throws {
        var names = Self.names([Self.right], [])
        names.generation = nil
        let verdict = try #require(RepairVerdict.judge(names))
        #expect(verdict.belief == .secondary)
        #expect(verdict.remedy == nil)
        names.isWithheld = true
        #expect(RepairVerdict.judge(names)?.belief == .unsettled)
    }

    @Test func `a name that only a parent pointer knows is lost, not wrong`() throws {
        let verdict = try #require(RepairVerdict.judge(Self.names([], [Self.right])))
        #expect(verdict.belief == .secondary)
        #expect(verdict.remedy == nil)
    }

    @Test func `where link count and parent pointers agree against the directory it is open`()
        throws
    {
        let open = [
            Self.names([Self.right], [Self.right, Self.wrong], links: 2),
            Self.names([Self.right, Self.wrong], [Self.right], links: 1),
        ]
        for names in open {
            let verdict = try #require(RepairVerdict.judge(names))
            #expect(verdict.belief == .open)
            #expect(verdict.loss != nil)
        }
        var unlisted = Self.names([Self.right], [Self.wrong])
        unlisted.notFound = [Self.right]
        #expect(RepairVerdict.judge(unlisted)?.belief == .open)
    }

    @Test func `of a directory, what leads back decides`() throws {
        var names = Self.names([Self.right], [Self.wrong])
        names.isDirectory = true
        names.above = 150
        #expect(RepairVerdict.judge(names)?.belief == .primary)
        names.above = 151
        #expect(RepairVerdict.judge(names)?.belief == .open)
        names.entries.append(NameEvidence.Name(7, 1, Array("second".utf8)))
        #expect(RepairVerdict.judge(names)?.belief == .secondary)
    }

    @Test func `a link count that names and parent pointers contradict is wrong`() {
        let finding = LinkFinding(inode: 275, isDirectory: false, found: 3, expected: 1)
        let agreed = Self.names([Self.right], [Self.right], links: 3)
        #expect(RepairVerdict.judge(finding, agreed).belief == .primary)
        let split = Self.names([Self.right], [Self.right, Self.wrong], links: 3)
        #expect(RepairVerdict.judge(finding, split).belief == .open)
        #expect(RepairVerdict.judge(finding, nil).belief == .unsettled)
    }
}
