// How many primary records an inode has where the scan is: what a window's end is guessed
// from. A wrong guess costs nothing but size: a window that turns out too large is read in
// parts.

internal import Bytes
internal import Synchronization
internal import VolumeFormat

final class ScanDensity: Sendable {
    /// Below this many inodes to a window its end is found by walking, so that a single large
    /// inode is split.
    static let leastStride: InodeNumber = 2

    /// Records of 1,024 inodes, as read last; 0 before the first reading.
    private let records = Atomic<Int>(0)

    /// Inodes that hold about so many records; 0 where that is not known. `mean` is the
    /// density of the whole volume: behind a gap no window is guessed much wider than that.
    func inodes(forRecords wanted: Int, mean: Int) -> InodeNumber {
        let known = records.load(ordering: .relaxed)
        guard known > 0 else { return 0 }
        let (product, overflow) = wanted.multipliedReportingOverflow(by: 1024)
        return overflow ? 0 : InodeNumber(product / max(known, mean / 4, 1))
    }

    /// So many records were read from `lower` to the inode `last`. One reading makes the next
    /// window at most four times as wide: behind a gap the inodes may be full again.
    func note(records count: Int, from lower: KeyBytes, to last: InodeNumber) {
        guard lower.count >= 8 else {
            // The start of a scan: what was known is of another place.
            records.store(0, ordering: .relaxed)
            return
        }
        let first: InodeNumber = lower.span.integer(at: 0)
        guard last >= first, last - first < 1 << 40 else { return }
        let density = count * 1024 / Int(last - first + 1)
        let before = records.load(ordering: .relaxed)
        records.store(max(1, density, before / 4), ordering: .relaxed)
    }
}
