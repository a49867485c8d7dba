// Reading free space from a snapshot, and the metadata for readers that share no code with
// this module.

internal import Bytes
public import LMDB
public import VolumeFormat

public struct FreeReport: Hashable, Sendable {
    /// Free runs that overlap the blocks, in order.
    public internal(set) var runs: [FreeRecord] = []
    /// Records of the range that can't be decoded.
    public internal(set) var damaged = 0
}

extension VolumeSnapshot {
    /// The free runs that overlap `[block, block + length)`.
    public func free(ofBlock block: UInt64, length: UInt64 = 1) throws -> FreeReport {
        precondition(length > 0, "no blocks to look for")
        let (sum, overflow) = block.addingReportingOverflow(length)
        let end = overflow ? UInt64.max : sum
        var report = FreeReport()
        var cursor = try transaction.cursor(core.tables.free)
        var isThere = try cursor.seek(atOrBefore: FreeRecord.key(start: block).span)
        if !isThere { isThere = try cursor.first() }
        while isThere, cursor.key.byteCount < 8 || cursor.key.integer(at: 0, as: UInt64.self) < end
        {
            if let run = try? FreeRecord(key: cursor.key, value: cursor.value) {
                if run.end > block { report.runs.append(run) }
            } else {
                report.damaged += 1
            }
            isThere = try cursor.next()
        }
        return report
    }
}

extension Volume {
    /// The environment that holds the metadata, for `verify`, which decodes everything
    /// itself. What was acknowledged before is committed. To be read only: what is written past
    /// this module is damage.
    public var metadata: Environment {
        core.commitAcknowledged()
        return core.environment
    }
}
