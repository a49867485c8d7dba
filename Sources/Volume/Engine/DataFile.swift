// The data area: the file or block device that extents point into.

internal import Bytes
internal import CSplice
internal import Synchronization
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

/// Reads and writes by byte offset, from any thread.
final class DataFile: Sendable {
    let path: String
    private let file: Int32
    /// Bytes written since the volume was opened.
    let written = Atomic<UInt64>(0)

    init(path: String, isReadOnly: Bool) throws(VolumeError) {
        self.path = path
        file = unsafe open(path.hostPath, (isReadOnly ? O_RDONLY : O_RDWR) | O_CLOEXEC)
        guard file >= 0 else { throw .system("open", path) }
    }

    deinit { close(file) }

    /// The size in bytes, of a file or of a device.
    func size() throws(VolumeError) -> UInt64 {
        let end = lseek(file, 0, SEEK_END)
        guard end >= 0 else { throw .system("find the end of", path) }
        return UInt64(end)
    }

    /// Exactly `count` bytes from `offset`.
    func read(_ count: Int, at offset: UInt64) throws(VolumeError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var span = bytes.mutableSpan
        var whole = unsafe span.mutableBytes
        try read(into: &whole, 0..<count, at: offset)
        return bytes
    }

    /// Fills `range` of `buffer` from `offset` of the file on. What is missing where the file
    /// was cut short reads as zeroes, as any hole.
    func read(
        into buffer: inout MutableRawSpan, _ range: Range<Int>, at offset: UInt64
    ) throws(VolumeError) {
        let failure: VolumeError? = unsafe buffer.withUnsafeMutableBytes { whole in
            let buffer = unsafe UnsafeMutableRawBufferPointer(rebasing: whole[range])
            var filled = 0
            while filled < buffer.count {
                let got = unsafe pread(
                    file, buffer.baseAddress! + filled, buffer.count - filled,
                    Int(offset) + filled)
                if got < 0, Glibc.errno == EINTR { continue }
                guard got >= 0 else { return .system("read", path) }
                if got == 0 {
                    unsafe (buffer.baseAddress! + filled).initializeMemory(
                        as: UInt8.self, repeating: 0, count: buffer.count - filled)
                    return nil
                }
                filled += got
            }
            return nil
        }
        if let failure { throw failure }
    }

    /// Puts `count` bytes from `offset` into a pipe that does not block, as references to the
    /// kernel's pages of the file.
    /// - Returns: whether it did. Where not, whoever reads these bytes is told why.
    func splice(_ count: Int, at offset: UInt64, into pipe: Int32) -> Bool {
        var done = 0
        while done < count {
            let moved = splice_shim_fill(file, Int64(offset) + Int64(done), pipe, count - done)
            if moved < 0, Glibc.errno == EINTR { continue }
            guard moved > 0 else { return false }
            done += moved
        }
        return true
    }

    func write(_ bytes: RawSpan, at offset: UInt64) throws(VolumeError) {
        let failure: VolumeError? = unsafe bytes.withUnsafeBytes { buffer in
            var done = 0
            while done < buffer.count {
                let count = unsafe pwrite(
                    file, buffer.baseAddress! + done, buffer.count - done, Int(offset) + done)
                if count < 0, Glibc.errno == EINTR { continue }
                guard count > 0 else { return .system("write", path) }
                done += count
            }
            return nil
        }
        if let failure { throw failure }
        written.add(UInt64(bytes.byteCount), ordering: .relaxed)
    }

    /// Makes `count` bytes from `offset` read as zeroes.
    func writeZeroes(at offset: UInt64, count: UInt64) throws(VolumeError) {
        guard count > 0 else { return }
        let zeroes = [UInt8](repeating: 0, count: Int(min(count, 1 << 20)))
        var done: UInt64 = 0
        while done < count {
            let part = min(count - done, UInt64(zeroes.count))
            try write(zeroes.rawSpan.extracting(first: Int(part)), at: offset + done)
            done += part
        }
    }

    /// Waits until all that was written is on the disk.
    func sync() throws(VolumeError) {
        guard fdatasync(file) == 0 else { throw .system("sync", path) }
    }
}
