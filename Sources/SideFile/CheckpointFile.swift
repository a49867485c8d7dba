// The file `run-N.checkpoint` beside a side file: the checkpoint that its run goes on from. It
// is written whole under another name, synced, and renamed: there is always one that is
// whole, or none.
//
// Layout: magic `TIDECHKP`, version u32, zero u32, owner identity u64 × 2, run u64, meta page of
// the side file 152 bytes, the checkpoint (Checkpoint.swift), and last the CRC32C of all
// before it. Integers are big-endian but in the meta page and the checkpoint, which never
// leave the machine.

internal import Bytes
package import LMDB
package import Shadow
#if canImport(Glibc)
internal import Glibc
#endif

package struct CheckpointFile {
    package struct Contents {
        package let checkpoint: Checkpoint
        package let meta: MetaPage
    }

    package static let magic: UInt64 = 0x5449_4445_4348_4b50
    package static let version: UInt32 = 1
    private static let headerSize = 40

    package let path: String

    /// The one that goes with the side file at `path`.
    package init(sideFile path: String) {
        self.path = path.hasSuffix(".mdb") ? path.dropLast(4) + ".checkpoint" : path + ".checkpoint"
    }

    // MARK: Reading

    package func read(_ identity: SideFile.Identity) throws -> Contents {
        let bytes = try contents()
        let span = bytes.rawSpan
        let fixed = CheckpointFile.headerSize + MetaPage.size
        guard span.byteCount >= fixed + MemoryLayout<UInt32>.size,
            span.integer(at: 0, as: UInt64.self) == CheckpointFile.magic,
            span.integer(at: 8, as: UInt32.self) == CheckpointFile.version
        else { throw SideFileError.damaged(path: path) }
        let body = span.extracting(droppingLast: MemoryLayout<UInt32>.size)
        guard CRC32C.checksum(body) == span.integer(at: body.byteCount, as: UInt32.self) else {
            throw SideFileError.damaged(path: path)
        }
        guard span.integer(at: 16, as: UInt64.self) == identity.first,
            span.integer(at: 24, as: UInt64.self) == identity.second,
            span.integer(at: 32, as: UInt64.self) == identity.run
        else { throw SideFileError.foreign(path: path) }
        guard let meta = MetaPage(bytes: Array(bytes[CheckpointFile.headerSize..<fixed])),
            let checkpoint = Checkpoint(body.extracting(droppingFirst: fixed))
        else { throw SideFileError.damaged(path: path) }
        return Contents(checkpoint: checkpoint, meta: meta)
    }

    private func contents() throws -> [UInt8] {
        let file = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else {
            if errno == ENOENT { throw SideFileError.lost(path: path) }
            throw LMDBError(code: .system(errno), operation: "open", object: path)
        }
        defer { close(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe block.withUnsafeMutableBytes {
                unsafe Glibc.read(file, $0.baseAddress, $0.count)
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else {
                throw LMDBError(code: .system(errno), operation: "read", object: path)
            }
            if count == 0 { return bytes }
            bytes += block.prefix(count)
        }
    }

    // MARK: Writing

    /// Puts `contents` in place of what is there, durably.
    package func write(_ contents: Contents, _ identity: SideFile.Identity) throws {
        var head = FixedBytes<40>()
        head.store(CheckpointFile.magic, at: 0)
        head.store(CheckpointFile.version, at: 8)
        head.store(identity.first, at: 16)
        head.store(identity.second, at: 24)
        head.store(identity.run, at: 32)
        var bytes = head.span.array + contents.meta.bytes + contents.checkpoint.encoded
        let sum = CRC32C.checksum(bytes.rawSpan).bigEndian
        unsafe withUnsafeBytes(of: sum) { unsafe bytes.append(contentsOf: $0) }
        let temporary = path + ".new"
        try write(bytes, to: temporary)
        guard unsafe rename(temporary.hostPath, path.hostPath) == 0 else {
            throw LMDBError(code: .system(errno), operation: "rename", object: temporary)
        }
        try syncDirectory()
    }

    private func write(_ bytes: [UInt8], to path: String) throws {
        let file = unsafe open(path.hostPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        guard file >= 0 else {
            throw LMDBError(code: .system(errno), operation: "make", object: path)
        }
        defer { close(file) }
        var done = 0
        while done < bytes.count {
            let count = unsafe bytes.withUnsafeBytes {
                unsafe Glibc.write(file, $0.baseAddress! + done, $0.count - done)
            }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw LMDBError(code: .system(errno), operation: "write", object: path)
            }
            done += count
        }
        guard fdatasync(file) == 0 else {
            throw LMDBError(code: .system(errno), operation: "sync", object: path)
        }
    }

    private func syncDirectory() throws {
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        let directory = unsafe open(folder.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard directory >= 0 else {
            throw LMDBError(code: .system(errno), operation: "open", object: folder)
        }
        defer { close(directory) }
        guard fsync(directory) == 0 else {
            throw LMDBError(code: .system(errno), operation: "sync", object: folder)
        }
    }
}
