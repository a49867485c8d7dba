// Trace events as a list of the inodes that they are of.
//
// No order among them is needed: an inode with an event since it was read is read again. What is
// needed is to know up to when everything has been told. A *marker* carries a number in each
// buffer, written from the buffer's own processor, so that it stands behind all that the processor
// has reported before; counts of lost events are compared once the buffer has been read to its end.

internal import LinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

/// CLOCK_MONOTONIC, in nanoseconds: what trace events carry.
func monotonicTime() -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

final class InodeFeed: InodeChanges {
    private let instance: TraceInstance
    private let label: String
    private let checkAlive: () throws -> Void
    private var states: [BufferState]
    private var number: UInt64 = 0
    private(set) var losses = 0

    private struct BufferState {
        var delivered: UInt64
        var lost: UInt64 = 0
        /// Markers that were written and not read yet.
        var marks: [(number: UInt64, time: UInt64)] = []
        /// When nobody could write a marker: what is in the buffer then is all.
        var idle: UInt64?
        /// A marker found no room.
        var isFull = false
    }

    /// Pages of one buffer that one call reads.
    private static let pages = 64

    init(
        _ set: TraceEventSet, on mount: MountedFilesystem, bufferKilobytes: Int, label: String,
        checkAlive: @escaping () throws -> Void
    ) throws {
        self.label = label
        self.checkAlive = checkAlive
        do {
            let system = try TraceSystem()
            guard system.has(set) else {
                throw LinuxOwnerError(
                    label, .noTracing("this kernel does not have the events that are needed"))
            }
            instance = try TraceInstance(system, set, on: mount, bufferKilobytes: bufferKilobytes)
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(label, .noTracing("\(error)"))
        } catch let error as TraceFormatError {
            throw LinuxOwnerError(label, .noTracing("\(error)"))
        }
        let begun = monotonicTime()
        states = instance.buffers.map { _ in BufferState(delivered: begun) }
    }

    deinit { instance.close() }

    var delivered: UInt64 { states.map(\.delivered).min() ?? 0 }

    func poll(_ changed: ChangedInodes) throws -> Bool {
        var isAny = false
        for place in instance.buffers.indices {
            if try poll(place, changed) { isAny = true }
        }
        return isAny
    }

    private func poll(_ place: Int, _ changed: ChangedInodes) throws -> Bool {
        let buffer = instance.buffers[place]
        changed.begin()
        var decoding = Decoding(changed)
        var isAny = false, isEmpty = false
        do {
            for _ in 0..<InodeFeed.pages {
                guard let page = try buffer.read(instance.decoder, to: &decoding) else {
                    isEmpty = true
                    break
                }
                if page.events > 0 { isAny = true }
            }
        } catch let error as TracePageError {
            throw LinuxOwnerError(label, .malformed("\(error)"))
        }
        var seen: UInt64?
        if let mark = decoding.mark,
            let found = states[place].marks.firstIndex(where: { $0.number == mark })
        {
            seen = states[place].marks[found].time
            states[place].marks.removeFirst(found + 1)
        }
        if isEmpty, let idle = states[place].idle {
            states[place].idle = nil
            seen = max(seen ?? 0, idle)
        }
        if isAny || seen != nil || states[place].isFull {
            // Read behind the marker: what was lost before it is counted.
            let lost = try buffer.statistics().lost
            if lost != states[place].lost {
                states[place].lost = lost
                losses += 1
                changed.forgetAll()
            }
        }
        if let seen { states[place].delivered = max(states[place].delivered, seen) }
        if isAny, states[place].isFull { try write(place, monotonicTime()) }
        return isAny || seen != nil
    }

    func mark() throws -> UInt64 {
        let time = monotonicTime()
        try checkAlive()
        if try instance.isTampered() { throw LinuxOwnerError(label, .instanceTaken) }
        for place in states.indices { try write(place, time) }
        return time
    }

    /// Writes a marker into one buffer. Where that is full it is written again when there is room.
    private func write(_ place: Int, _ time: UInt64) throws {
        number += 1
        let marked = try instance.mark(
            "\(XFSFeed.prefix)\(number)", processor: instance.buffers[place].processor)
        states[place].isFull = marked == .full
        switch marked {
        case .written: states[place].marks.append((number, time))
        case .offLine: states[place].idle = time
        case .full: break
        }
    }

    func end() { instance.close() }
}

private struct Decoding: TraceReceiver, ~Copyable {
    private let inodes: ChangedInodes
    /// The last marker.
    var mark: UInt64?

    init(_ inodes: ChangedInodes) { self.inodes = inodes }

    mutating func mapping(_ change: MappingChange, stamp: UInt64) {}
    mutating func name(_ change: borrowing NameChange, stamp: UInt64) {
        inodes.note(change.directory, at: stamp)
    }
    mutating func blocks(_ change: BlockChange, stamp: UInt64) {
        inodes.note(change.inode, at: stamp)
    }
    mutating func changed(inode: UInt64, stamp: UInt64) { inodes.note(inode, at: stamp) }
    mutating func marker(_ text: RawSpan, stamp: UInt64) {
        if let number = markNumber(text) { mark = number }
    }
}
