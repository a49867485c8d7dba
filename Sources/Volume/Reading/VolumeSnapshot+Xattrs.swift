// Reading extended attributes from a snapshot. Their values, which may stand in blocks that
// have changed hands since, are read by `Volume.xattr`.

internal import Bytes
internal import LMDB
public import VolumeFormat

extension VolumeSnapshot {
    /// listxattr(2): the names in the order of their bytes.
    public func xattrNames(_ n: InodeNumber) throws -> [[UInt8]] {
        _ = try existing(n)
        var names: [[UInt8]] = []
        var cursor = try transaction.cursor(core.tables.xattrs)
        var isThere = try cursor.seek(InodeRecord.key(n).span)
        while isThere, cursor.key.byteCount > 8, cursor.key.integer(at: 0, as: UInt64.self) == n {
            names.append(cursor.key.extracting(droppingFirst: 8).array)
            isThere = try cursor.next()
        }
        return names
    }

    func xattrRecord(_ n: InodeNumber, _ name: [UInt8]) throws -> AttributeRecord? {
        guard !name.isEmpty, name.count <= AttributeRecord.maximumNameLength else { return nil }
        let key = AttributeRecord.key(n, name.rawSpan)
        return try transaction.find(
            core.tables.xattrs, key.span, AttributeRecord.init(key:value:)
        ) { .damaged(table: TableName.xattrs, object: xattrText(n, name), $0) }
    }

    /// Where the blocks of a long value are. All of them must be there.
    func remoteMap(
        _ n: InodeNumber, _ name: [UInt8], _ offset: UInt64, _ length: UInt32
    ) throws -> [ExtentRecord] {
        let blockSize = UInt64(core.geometry.blockSize)
        let blocks = (UInt64(length) + blockSize - 1) / blockSize
        let (end, overflow) = offset.addingReportingOverflow(blocks)
        guard !overflow, length <= AttributeRecord.maximumSize else {
            throw VolumeError.damaged(
                table: TableName.xattrs, object: xattrText(n, name), .field("place"))
        }
        let map = try map(n, .attributes, offset..<end)
        guard FileMap.gaps(map, offset..<end).isEmpty else {
            throw VolumeError.damaged(
                table: TableName.extents, object: "blocks of \(xattrText(n, name))",
                .field("length"))
        }
        return map
    }
}
