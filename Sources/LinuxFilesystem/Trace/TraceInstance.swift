// A private instance of the kernel's tracer (Documentation/trace/ftrace.rst, "Instances"): its
// events, filters, clock and buffers are nobody else's.
//
// What must hold:
// - A buffer that is full drops new events (`overwrite` is off), so that what it holds stays.
// - Events carry CLOCK_MONOTONIC, as the readers of objects do.
// - A marker is written from the processor whose buffer it goes to: whatever that processor has
//   reported before lies before it.

internal import CLinuxFilesystem
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

/// An instance of the tracer, removed by `close` or when it goes.
public final class TraceInstance: Sendable {
    public let name: String
    /// One for each processor that the kernel has a buffer for.
    public let buffers: [TraceBuffer]
    public let decoder: TraceDecoder
    /// Bytes of a page.
    public let pageSize: Int

    static let prefix = "tidemark-"

    private let system: TraceSystem
    private let directory: Mutex<DirectoryHandle?>
    private let marker: Mutex<DirectoryHandle?>

    /// A descriptor that may be given up while others are kept.
    private final class DirectoryHandle: Sendable {
        let file: Descriptor
        init(_ file: consuming Descriptor) { self.file = file }
    }

    /// Makes the instance, with the events of `set` on the device of `filesystem` switched on.
    /// They are in force when it returns.
    /// - Parameter bufferKilobytes: for each processor.
    public init(
        _ system: TraceSystem, _ set: TraceEventSet, on filesystem: MountedFilesystem,
        bufferKilobytes: Int = 16384
    ) throws {
        self.system = system
        system.removeAbandoned()
        let decoder = try system.decoder(set)
        let name =
            "\(TraceInstance.prefix)\(filesystem.major)-\(filesystem.minor)-"
            + "\(TraceInstance.number.add(1, ordering: .relaxed).newValue)-\(getpid())"
        guard unsafe mkdirat(system.root.number, "instances/\(name)", 0o700) == 0 else {
            throw LinuxCallError("mkdir", "instances/\(name) in tracefs")
        }
        do {
            let directory = try system.root.open(
                "instances/\(name)", flags: O_RDONLY | O_DIRECTORY)
            try directory.write("mono", to: "trace_clock")
            try directory.write("\(bufferKilobytes)", to: "buffer_size_kb")
            try directory.write("0", to: "options/overwrite")
            let size = try directory.text(of: "buffer_subbuf_size_kb")
            guard let kilobytes = Int(size.filter(\.isNumber)), kilobytes > 0, kilobytes <= 1024
            else {
                throw LinuxCallError.malformed("read", "buffer_subbuf_size_kb", size)
            }
            pageSize = kilobytes * 1024
            for (group, event) in set.names {
                let place = "events/\(group)/\(event)"
                let more = TraceEventSet.filter(event).map { " && \($0)" } ?? ""
                try directory.write(
                    "dev == \(filesystem.traceDevice)\(more)", to: "\(place)/filter")
            }
            for (group, event) in set.names {
                try directory.write("1", to: "events/\(group)/\(event)/enable")
            }
            let processors = try directory.open("per_cpu", flags: O_RDONLY | O_DIRECTORY)
            let numbers = try processors.names().compactMap { name in
                name.hasPrefix("cpu") ? Int(name.dropFirst(3)) : nil
            }
            buffers = try numbers.sorted().map {
                try TraceBuffer(directory, processor: $0, pageSize: kilobytes * 1024)
            }
            let marker = try directory.open("trace_marker", flags: O_WRONLY)
            self.marker = Mutex(DirectoryHandle(marker))
            self.directory = Mutex(DirectoryHandle(directory))
            self.name = name
            self.decoder = decoder
        } catch {
            _ = unsafe unlinkat(system.root.number, "instances/\(name)", AT_REMOVEDIR)
            throw error
        }
    }

    private static let number = Atomic<UInt32>(0)

    deinit { close() }

    /// Switches the events off and removes the instance.
    public func close() {
        let directory = self.directory.withLock { handle in
            defer { handle = nil }
            return handle
        }
        guard let directory else { return }
        try? directory.file.write("0", to: "events/enable")
        marker.withLock { $0 = nil }
        for buffer in buffers { buffer.close() }
        _ = unsafe unlinkat(system.root.number, "instances/\(name)", AT_REMOVEDIR)
    }

    /// Whether somebody has switched the instance off, or given it another clock: from then on
    /// it does not say what we need.
    public func isTampered() throws(LinuxCallError) -> Bool {
        guard let directory = directory.withLock({ $0 }) else { return true }
        if try directory.file.text(of: "tracing_on").first != "1" { return true }
        return try !directory.file.text(of: "trace_clock").contains("[mono]")
    }

    /// Whether `marked` could be done: a full buffer takes no marker, and a processor that is
    /// off line has nobody to write it, and nobody who writes events.
    public enum Marked: Hashable, Sendable { case written, full, offLine }

    /// Writes `text` into the buffer of `processor`, from there. The calling thread moves there
    /// for the call.
    public func mark(_ text: String, processor: Int) throws(LinuxCallError) -> Marked {
        guard let marker = marker.withLock({ $0 }) else { return .offLine }
        guard let home = AffinityMask.current() else {
            throw LinuxCallError("sched_getaffinity", "this thread")
        }
        guard AffinityMask(processor: processor).apply() else {
            let error = LinuxCallError("sched_setaffinity", "processor \(processor)")
            guard error.errno == EINVAL else { throw error }
            if try isOnLine(processor) { throw error }
            return .offLine
        }
        defer { _ = home.apply() }
        do throws(LinuxCallError) {
            try marker.file.write(text, object: "trace_marker")
            return .written
        } catch {
            // EBADF: the buffer has no room.
            if error.errno == EBADF { return .full }
            throw error
        }
    }

    private func isOnLine(_ processor: Int) throws(LinuxCallError) -> Bool {
        let place = try Descriptor.open(
            "/sys/devices/system/cpu", flags: O_RDONLY | O_DIRECTORY)
        let text = try place.text(of: "online")
        return text.split(whereSeparator: { $0 == "," || $0 == "\n" }).contains { part in
            let bounds = part.split(separator: "-").compactMap { Int($0) }
            guard let first = bounds.first, let last = bounds.last else { return false }
            return first <= processor && processor <= last
        }
    }

    /// Waits until a buffer has something to read, for `milliseconds` at the most.
    public func wait(milliseconds: Int32) {
        var polls = buffers.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
        _ = unsafe poll(&polls, nfds_t(polls.count), milliseconds)
    }
}

/// The processors that a thread may run on.
private struct AffinityMask {
    private var words = [UInt64](repeating: 0, count: 128)

    init(processor: Int) {
        precondition(processor >= 0 && processor < 64 * 128)
        words[processor / 64] = 1 << UInt64(processor % 64)
    }

    static func current() -> AffinityMask? {
        var mask = AffinityMask(processor: 0)
        mask.words[0] = 0
        let size = unsafe mask.words.withUnsafeMutableBytes {
            unsafe lfs_get_affinity($0.baseAddress, $0.count)
        }
        return size > 0 ? mask : nil
    }

    func apply() -> Bool {
        unsafe words.withUnsafeBytes { unsafe lfs_set_affinity($0.baseAddress, $0.count) == 0 }
    }
}
