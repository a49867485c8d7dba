// The buffer of one processor: its pages and its counts.

internal import CLinuxFilesystem
internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

/// The trace buffer of one processor. Read by one thread at a time.
public final class TraceBuffer: Sendable {
    public let processor: Int
    private struct Files: ~Copyable {
        let pages: Descriptor
        let statistics: Descriptor
    }
    private let files: Mutex<Files?>
    private let page: AnswerBuffer
    let descriptor: Int32

    init(
        _ instance: borrowing Descriptor, processor: Int, pageSize: Int
    ) throws(LinuxCallError) {
        self.processor = processor
        page = AnswerBuffer(capacity: pageSize)
        let pages = try instance.open(
            "per_cpu/cpu\(processor)/trace_pipe_raw", flags: O_RDONLY | O_NONBLOCK)
        let statistics = try instance.open("per_cpu/cpu\(processor)/stats")
        descriptor = pages.number
        files = Mutex(Files(pages: pages, statistics: statistics))
    }

    func close() { files.withLock { $0 = nil } }

    /// Reads what there is of the next page, and hands its events to `receiver`.
    /// - Returns: nil where nothing is there.
    /// - Throws: `LinuxCallError`, and `TracePageError` where the page is malformed.
    public func read<R: TraceReceiver & ~Copyable>(
        _ decoder: TraceDecoder, to receiver: inout R
    ) throws -> TraceDecoder.Summary? {
        guard let count = try fill() else { return nil }
        let page = self.page
        let bytes = page.bytes(count)
        return try decoder.decode(bytes, to: &receiver)
    }

    /// Reads a page; nil where nothing is there.
    private func fill() throws(LinuxCallError) -> Int? {
        var count = -1
        var error: LinuxCallError?
        files.withLock { files in
            guard let number = files?.pages.number else { return }
            repeat {
                count = unsafe Glibc.read(number, page.pointer, page.capacity)
            } while count < 0 && Glibc.errno == EINTR
            if count < 0 { error = LinuxCallError("read", "trace_pipe_raw of \(processor)") }
        }
        if let error, error.errno != EAGAIN { throw error }
        return count > 0 ? count : nil
    }

    /// The counts as they are now.
    public func statistics() throws(LinuxCallError) -> TraceStatistics {
        var bytes = [UInt8](repeating: 0, count: 1024)
        let object = "per_cpu/cpu\(processor)/stats"
        var count = -1
        files.withLock { files in
            guard let number = files?.statistics.number else { return }
            count = unsafe bytes.withUnsafeMutableBytes {
                unsafe pread(number, $0.baseAddress, $0.count, 0)
            }
        }
        guard count >= 0 else { throw LinuxCallError("read", object) }
        let text = String(decoding: bytes.prefix(count), as: UTF8.self)
        guard let statistics = TraceStatistics(text) else {
            throw .malformed("read", object, "a count is missing")
        }
        return statistics
    }
}
