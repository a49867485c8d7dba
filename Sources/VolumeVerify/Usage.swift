// Quota usage, added up from the inode records by plain code: every inode counts for its user,
// its group, its project, and for the volume.

internal import Bytes
internal import VolumeFormat

struct Usage {
    private struct Counter {
        var blocks: UInt64 = 0, inodes: UInt64 = 0
    }

    private var counters: [[UInt32: Counter]] = [[:], [:], [:], [:]]

    mutating func add(_ inode: InodeRecord) {
        add(0, 0, inode.blocks)
        add(1, inode.uid, inode.blocks)
        add(2, inode.gid, inode.blocks)
        add(3, inode.project, inode.blocks)
    }

    private mutating func add(_ type: Int, _ id: UInt32, _ blocks: UInt64) {
        counters[type][id, default: Counter()].blocks &+= blocks
        counters[type][id, default: Counter()].inodes &+= 1
    }

    func compare(_ live: LiveIndex, _ records: SuperRecords, _ findings: Findings) throws {
        if let geometry = records.geometry, let stored = records.counters {
            let reserved = UInt64(geometry.reservedAtStart) + UInt64(geometry.reservedAtEnd)
            let found = payload(
                Counter(
                    blocks: geometry.blocks &- reserved &- stored.freeBlocks,
                    inodes: stored.inodes))
            let expected = payload(counters[0][0] ?? Counter()), key = key(0, 0)
            live.compareApart(
                key: key.span, found: found.span, expected: expected.span, .quota, findings)
        }
        for type in 1...3 {
            for (id, counter) in counters[type].sorted(by: { $0.key < $1.key }) {
                let key = key(type, id), payload = payload(counter)
                try live.expect(key: key.span, payload: payload.span)
            }
        }
        try live.finish()
    }

    private func key(_ type: Int, _ id: UInt32) -> FixedBytes<5> {
        var key = FixedBytes<5>()
        key.store(UInt8(type), at: 0)
        key.store(id, at: 1)
        return key
    }

    private func payload(_ counter: Counter) -> FixedBytes<16> {
        var payload = FixedBytes<16>()
        payload.store(counter.blocks, at: 0)
        payload.store(counter.inodes, at: 8)
        return payload
    }
}
