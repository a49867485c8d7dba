// Pages of the kernel's trace ring buffer, as `per_cpu/cpuN/trace_pipe_raw` gives them: a header,
// whose layout `events/header_page` says, and entries one behind the other.
//
// An entry begins with a word: type_len in 5 bits, time since the entry before it in 27 bits.
// `events/header_event` says what the types mean:
//
//   0        data; the next word is its length in bytes, that word included
//   1...28   data of type_len words
//   29       padding: to the end of the page where the time is 0, else a discarded event, whose
//            length stands in the next word
//   30       time extend: the next word is the upper part of the time since the entry before
//   31       time stamp: both words are the time, but for its 5 topmost bits, which are as before
//
// (Documentation/trace/ring-buffer-design.rst, kernel/trace/ring_buffer.c.)

internal import Bytes

/// A page that can't be what the kernel documents.
public struct TracePageError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Bytes from the start of the page.
    public let offset: Int
    public let reason: String

    public var description: String { "a page of the trace buffer, byte \(offset): \(reason)" }
}

/// Decodes the pages of trace buffers.
public struct TraceDecoder: Sendable {
    private let timestamp, commit: TraceField
    private let dataStart: Int
    private let type: TraceField
    /// By event number.
    private var readers: [TraceEventReader?] = []

    /// What decoding a page has found, beside its events.
    public struct Summary: Hashable, Sendable {
        /// Of any type, those among them that nobody asked for.
        public var events = 0
        /// Time of the last entry; of an empty page the page's own.
        public var last: UInt64 = 0
        /// Whether the page says that events were lost before it. It says so where none were,
        /// too: `TraceStatistics` counts.
        public var saysMissed = false
    }

    /// - Parameters:
    ///   - page: the text of `events/header_page`.
    ///   - formats: name and text of the format of each event that is to be decoded; `print` for
    ///     what is written to `trace_marker`.
    public init(
        page: String, formats: [(name: String, text: String)]
    ) throws(TraceFormatError) {
        let header = TraceFormat(page, file: "events/header_page")
        timestamp = try header.integer("timestamp")
        commit = try header.integer("commit")
        dataStart = try header.start(of: "data")
        var type: TraceField?
        for (name, text) in formats {
            let format = TraceFormat(text, file: "\(name)/format")
            let common = try format.integer("common_type")
            guard type == nil || type == common else {
                throw TraceFormatError(file: format.file, reason: "common_type lies elsewhere")
            }
            type = common
            let reader = try TraceEventReader(name, format)
            let id = Int(reader.id)
            while readers.count <= id { readers.append(nil) }
            readers[id] = reader
        }
        guard let type else {
            throw TraceFormatError(file: "events", reason: "no event is to be decoded")
        }
        self.type = type
    }

    /// Hands the events of `page` to `receiver`, in their order.
    public func decode<R: TraceReceiver & ~Copyable>(
        _ page: RawSpan, to receiver: inout R
    ) throws(TracePageError) -> Summary {
        guard page.byteCount >= dataStart, timestamp.offset + timestamp.size <= page.byteCount,
            commit.offset + commit.size <= page.byteCount
        else { throw TracePageError(offset: 0, reason: "\(page.byteCount) bytes are no page") }
        let flags = commit.value(page)
        // RB_MISSED_EVENTS and RB_MISSED_STORED lie above the length.
        let size = Int(flags & 0x3fff_ffff)
        guard size <= page.byteCount - dataStart else {
            throw TracePageError(offset: commit.offset, reason: "\(size) bytes of entries")
        }
        var summary = Summary()
        summary.saysMissed = flags & (1 << 31) != 0
        var time = timestamp.value(page)
        var position = dataStart
        let end = dataStart + size
        while position < end {
            guard let entry = entry(page, at: position, end: end, time: time) else {
                throw TracePageError(offset: position, reason: "an entry beyond the page's end")
            }
            time = entry.time
            if entry.start < entry.end {
                summary.events += 1
                let record = page.extracting(entry.start..<entry.end)
                guard deliver(record, stamp: time, to: &receiver) else {
                    throw TracePageError(offset: entry.start, reason: "a record that is too short")
                }
            }
            position = entry.next
        }
        summary.last = time
        return summary
    }

    @inline(__always)
    private func deliver<R: TraceReceiver & ~Copyable>(
        _ record: RawSpan, stamp: UInt64, to receiver: inout R
    ) -> Bool {
        guard record.byteCount >= type.offset + type.size else { return false }
        let id = Int(truncatingIfNeeded: type.value(record) & 0xffff)
        guard id < readers.count, let reader = readers[id] else { return true }
        return reader.deliver(record, stamp: stamp, to: &receiver)
    }

    private struct Entry {
        var time: UInt64
        /// The record; nothing where the entry is none.
        var start = 0, end = 0
        var next: Int
    }

    /// The entry at `position`; nil where it reaches beyond `end`.
    @inline(__always)
    private func entry(_ page: RawSpan, at position: Int, end: Int, time: UInt64) -> Entry? {
        guard position + 4 <= end else { return nil }
        let word = page.native(at: position, as: UInt32.self)
        let kind = Int(word & 0x1f), delta = UInt64(word >> 5)
        if kind >= 1 && kind <= 28 {
            let start = position + 4, next = start + 4 * kind
            guard next <= end else { return nil }
            return Entry(time: time &+ delta, start: start, end: next, next: next)
        }
        if kind == 29 && delta == 0 { return Entry(time: time, next: end) }
        guard position + 8 <= end else { return nil }
        let second = page.native(at: position + 4, as: UInt32.self)
        switch kind {
        case 30: return Entry(time: time &+ delta &+ UInt64(second) << 27, next: position + 8)
        case 31:
            let topmost: UInt64 = 0x1f << 59
            var stamp = (UInt64(second) << 27 | delta) & ~topmost | time & topmost
            // The bits below the topmost have begun again at zero.
            if stamp < time { stamp &+= 1 << 59 }
            return Entry(time: stamp, next: position + 8)
        default:
            let next = position + 4 + Int(second)
            guard second >= 4, next <= end else { return nil }
            // A discarded event keeps its time, but where that was 0 it stands as 1.
            if kind == 29 { return Entry(time: delta == 1 ? time : time &+ delta, next: next) }
            return Entry(time: time &+ delta, start: position + 8, end: next, next: next)
        }
    }
}

/// The counts of `per_cpu/cpuN/stats`: what a buffer holds, and what it has lost since it was
/// made.
public struct TraceStatistics: Hashable, Sendable {
    public var entries: UInt64 = 0
    /// Events that newer ones have overwritten.
    public var overrun: UInt64 = 0
    public var commitOverrun: UInt64 = 0
    /// Events for which there was no room.
    public var dropped: UInt64 = 0
    public var readEvents: UInt64 = 0

    /// All events that nobody will read.
    public var lost: UInt64 { overrun &+ commitOverrun &+ dropped }

    /// - Returns: nil where a count is missing.
    init?(_ text: String) {
        var counts: [Substring: UInt64] = [:]
        for line in text.split(separator: "\n") {
            guard let colon = line.lastIndex(of: ":") else { continue }
            counts[line[..<colon]] = UInt64(line[line.index(after: colon)...].drop { $0 == " " })
        }
        guard let entries = counts["entries"], let overrun = counts["overrun"],
            let commitOverrun = counts["commit overrun"], let dropped = counts["dropped events"],
            let readEvents = counts["read events"]
        else { return nil }
        self.entries = entries
        self.overrun = overrun
        self.commitOverrun = commitOverrun
        self.dropped = dropped
        self.readEvents = readEvents
    }
}
