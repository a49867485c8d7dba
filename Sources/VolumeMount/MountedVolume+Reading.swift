// Reads. A large one is answered with the kernel's own pages of the data file, through a pipe: the
// bytes are copied once, by the kernel, while their blocks are locked. A small one is copied into
// a buffer, and so is whatever can't go through the pipe: holes, contents that can't be read.
//
// libfuse has that too (`fuse_reply_data`), and does not fit: where a part of the contents can't
// be read it answers with what came before, and a kernel that caches writes takes what is missing
// for a hole.

internal import CFUSE
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedVolume {
    /// The smallest read for which a pipe is faster (Docs/benchmarks.md).
    private static let leastSpliced = 64 << 10

    func answer(_ request: fuse_in_header, _ read: fuse_read_in) {
        do {
            let count = min(Int(read.size), Buffer.size)
            let copy = try volume.withContents(
                request.nodeid, at: read.offset, count, access: .now
            ) { contents in
                contents.count >= MountedVolume.leastSpliced && splice(contents, request.unique)
                    ? nil : try copied(contents)
            }
            guard let copy else { return }
            defer { buffers.give(copy.buffer) }
            reply(request.unique, copy.buffer, copy.count)
        } catch {
            refuse(request, number(of: error))
        }
    }

    private func copied(
        _ contents: borrowing LockedContents
    ) throws -> (buffer: Buffer, count: Int) {
        let buffer = buffers.take(), count = contents.count
        do {
            try buffer.withBytes(count) { try contents.copy(into: &$0) }
            return (buffer, count)
        } catch {
            buffers.give(buffer)
            throw error
        }
    }

    private func reply(_ unique: UInt64, _ buffer: Buffer, _ count: Int) {
        let size = MemoryLayout<fuse_out_header>.size
        var header = fuse_out_header(len: UInt32(size + count), error: 0, unique: unique)
        unsafe withUnsafeMutableBytes(of: &header) { header in
            var parts = unsafe (
                iovec(iov_base: header.baseAddress, iov_len: size),
                iovec(iov_base: buffer.characters, iov_len: count)
            )
            unsafe withUnsafePointer(to: &parts) {
                unsafe $0.withMemoryRebound(to: iovec.self, capacity: 2) {
                    _ = unsafe writev(descriptor, $0, 2)
                }
            }
        }
    }

    /// - Returns: whether the request is answered. A pipe that may not be empty is let go.
    private func splice(_ contents: borrowing LockedContents, _ unique: UInt64) -> Bool {
        let size = MemoryLayout<fuse_out_header>.size, whole = size + contents.count
        guard let pipe = pipes.take() else { return false }
        guard contents.count <= pipe.capacity else {
            pipes.give(pipe)
            return false
        }
        var header = fuse_out_header(len: UInt32(whole), error: 0, unique: unique)
        guard unsafe withUnsafeBytes(of: &header, { unsafe pipe.put($0) }),
            contents.splice(into: pipe.inlet), pipe.hand(whole, to: descriptor)
        else { return false }
        pipes.give(pipe)
        return true
    }
}
