// What the reader of a tree hands to the writer of the volume.

internal import HostFiles
internal import Threads

/// One step of an import. Directories have numbers, so that the reader can go on before the
/// writer has made them.
struct ImportItem: Sendable {
    enum Action: Sendable {
        /// A directory: from now on known by its number.
        case enter(Int)
        /// Its children are all there: it gets its times.
        case leave(Int)
        /// The ranges that hold data, and the open file where they are to be copied.
        case file([Range<UInt64>], ImportSource?)
        case symlink([UInt8])
        /// A fifo, a socket or a device.
        case node
    }

    let action: Action
    /// The number of the directory that it stands in.
    let parent: Int
    let name: [UInt8]
    let status: HostStatus
    let attributes: [HostAttribute]
}

/// A file whose contents are to be copied.
final class ImportSource: Sendable {
    let file: HostFile

    init(_ file: consuming HostFile) { self.file = file }
}

/// The items on their way, a bounded number of them.
final class ImportQueue: Sendable {
    private struct State {
        var batches: [[ImportItem]] = []
        var isDone = false
    }

    /// Batches that wait at the most.
    private static let depth = 4

    private let monitor = Monitor(State())

    /// Waits while the writer is behind.
    func add(_ batch: [ImportItem]) {
        monitor.wait { $0.batches.count < ImportQueue.depth ? () : nil }
        monitor.withLock(notify: true) { $0.batches.append(batch) }
    }

    func finish() { monitor.withLock(notify: true) { $0.isDone = true } }

    /// The next batch; nil after the last.
    func next() -> [ImportItem]? {
        let batch: [ImportItem]? = monitor.wait { state -> [ImportItem]?? in
            if !state.batches.isEmpty { return .some(state.batches.removeFirst()) }
            return state.isDone ? .some(nil) : nil
        }
        monitor.notify()
        return batch
    }
}
