// What a run tells of the records that no index is derived from, and of what only all of them
// together say: extended attributes, symlinks, sizes, numbers of inodes, records to be reclaimed,
// free space by length, the counts of generations, the label of the data area.
//
// The witness judges it (`VolumeVerify`): of these records nobody else has a judgement that a
// second one could be held against. What indexes hold the run compares by its own code.

internal import LMDB
internal import Synchronization
public import Tidemark
internal import VolumeFormat
internal import VolumeIndexes
internal import VolumeVerify

extension VolumeSnapshot {
    /// Kinds of which a run tells in its own way: as a discrepancy of `links`.
    private static let comparedKinds: Set<VolumeVerify.PrimaryDefect> = [.linkCount]

    public func storedDefects(_ goOn: () throws -> Void) throws -> PrimaryDefects {
        var examples: [Finding] = []
        // The verifier keeps no closure beyond its call.
        let tables = try core.tables.all + VolumeSlots.withGenerations.compactMap { index in
            try servedTable(of: index.slot)
        }
        let report = try withoutActuallyEscaping(goOn) { goOn in
            try Verifier.verify(
                transaction, of: core.environment, tables: tables, data: core.path + "/data",
                list: { finding in
                    if examples.count < PrimaryDefects.limit { examples.append(finding) }
                },
                progress: { _ in try goOn() })
        }
        freeBlockDifference = report.freeBlockDifference
        countDifferences = report.indexes.compactMap { CountDifference($0) }
        var told: [VolumeVerify.PrimaryDefect: Int] = [:]
        var defects = PrimaryDefects()
        for finding in examples {
            guard case .defect(let kind) = finding.kind,
                !VolumeSnapshot.comparedKinds.contains(kind)
            else { continue }
            told[kind, default: 0] += 1
            defects.add(finding.asDefect(kind))
        }
        for (kind, count) in report.primaries
        where !VolumeSnapshot.comparedKinds.contains(kind) {
            defects.count(kind.rawValue, more: Int(clamping: count) - (told[kind] ?? 0))
        }
        for object in core.settledIndexes.withLock({ $0 }) {
            let kind = VolumeVerify.PrimaryDefect.activeGeneration
            defects.add(
                Tidemark.PrimaryDefect(
                    kind: kind.rawValue, object: "\(TableName.superblock): \(object)",
                    problem: "\(kind.meaning), when the volume was opened: it has another now",
                    blocks: kind.blocks))
        }
        return defects
    }
}

extension Finding {
    fileprivate func asDefect(_ kind: VolumeVerify.PrimaryDefect) -> Tidemark.PrimaryDefect {
        let place = key.map { "\($0.name) \($0.value)" }.joined(separator: ", ")
        return Tidemark.PrimaryDefect(
            kind: kind.rawValue, object: "\(object): \(place)",
            problem: "\(kind.meaning): found \(found ?? "nothing"), expected "
                + "\(expected ?? "nothing")",
            blocks: kind.blocks)
    }
}

/// By how much the record of an active generation, in which all entries are right, differs from
/// its table, modulo 2^64.
struct CountDifference {
    let index: String
    let generation: UInt32
    let entries, sum: UInt64

    /// - Returns: nil where the record is right, or entries are wrong.
    init?(_ report: VolumeVerify.IndexReport) {
        guard let generation = report.generation, report.discrepancies == 0,
            !report.countAgrees || !report.sumAgrees
        else { return nil }
        index = report.name
        self.generation = generation
        entries = report.countedEntries &- report.recordedEntries
        sum = report.sum &- report.recordedSum
    }

    static let kind = VolumeVerify.PrimaryDefect.generationCounts.rawValue
    static let activeKind = VolumeVerify.PrimaryDefect.activeGeneration.rawValue
    static let counterKind = VolumeVerify.PrimaryDefect.counterFreeBlocks.rawValue
}
