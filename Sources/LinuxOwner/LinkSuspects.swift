// Inodes whose link count may be wrong: what a scan finds in passing, to be looked at again.

/// Inode numbers, a bounded number of them.
package struct LinkSuspects: Sendable {
    package private(set) var inodes: Set<UInt64> = []
    /// Whether there were more than are remembered.
    package private(set) var isOverflowing = false

    package static let limit = 100_000

    package init() {}

    mutating func add(_ inode: UInt64) {
        guard inodes.count < LinkSuspects.limit else {
            isOverflowing = true
            return
        }
        inodes.insert(inode)
    }
}
