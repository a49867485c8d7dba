// Requests about contents: on the worker's thread, from and to the data file. Only what changes
// the map of a file goes through the volume's writer. Reads are in MountedVolume+Reading.swift.

internal import CFUSE
internal import Meters
internal import Threads
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedVolume {
    /// Bytes that one request copies from file to file, so that others get their turn.
    private static let copyLimit = 64 << 20

    func write(
        _ n: InodeNumber, _ bytes: UnsafeRawBufferPointer, _ offset: off_t, isWriteback: Bool
    ) throws -> Answer {
        guard offset >= 0 else { throw VolumeError.invalid("a write at \(offset)") }
        let span = unsafe RawSpan(_unsafeBytes: bytes)
        if isWriteback {
            try writeBack(n, at: UInt64(offset), span)
        } else {
            try volume.write(n, at: UInt64(offset), span)
        }
        return .count(bytes.count)
    }

    /// Answered by the thread that syncs: all who wait share what it does.
    func sync(_ request: fuse_req_t) -> Answer {
        unsafe syncs.add(request)
        return .later
    }

    func allocate(
        _ n: InodeNumber, _ flags: Int32, _ offset: off_t, _ length: off_t, _ caller: Caller
    ) throws -> Answer {
        guard offset >= 0, length > 0 else { throw VolumeError.invalid("an allocation") }
        let mode: AllocationMode
        switch flags {
        case 0: mode = .reserve(keepSize: false)
        case Allocation.keepSize: mode = .reserve(keepSize: true)
        case Allocation.punchHole | Allocation.keepSize: mode = .punchHole
        case Allocation.zeroRange: mode = .zeroRange(keepSize: false)
        case Allocation.zeroRange | Allocation.keepSize: mode = .zeroRange(keepSize: true)
        default: throw VolumeError.notSupported("fallocate with mode \(flags)")
        }
        if !caller.mayKeepPrivileges { try dropPrivileges(n) }
        try change { try $0.allocate(n, UInt64(offset), UInt64(length), mode) }
        return .done
    }

    /// Bytes are copied; the kernel asks again for what is left.
    func copy(
        _ from: InodeNumber, _ fromOffset: off_t, _ to: InodeNumber, _ toOffset: off_t,
        _ length: Int, _ caller: Caller
    ) throws -> Answer {
        guard fromOffset >= 0, toOffset >= 0 else { throw VolumeError.invalid("a copy") }
        if !caller.mayKeepPrivileges { try dropPrivileges(to) }
        let buffer = buffers.take()
        defer { buffers.give(buffer) }
        let wanted = min(length, MountedVolume.copyLimit)
        var done = 0
        while done < wanted {
            let part = min(wanted - done, Buffer.size)
            let count = try buffer.withBytes(part) { bytes in
                let count = try volume.read(
                    from, at: UInt64(fromOffset) + UInt64(done), into: &bytes)
                guard count > 0 else { return 0 }
                try volume.write(
                    to, at: UInt64(toOffset) + UInt64(done), bytes.bytes.extracting(first: count))
                return count
            }
            done += count
            if count < part { break }
        }
        return .count(done)
    }

    /// What the kernel has cached of the file and not written yet is no hole. It doesn't write it
    /// out before it asks, so it is made to: by requests that other workers answer meanwhile.
    func seek(
        _ request: fuse_req_t, _ n: InodeNumber, _ offset: off_t, _ whence: Int32
    ) throws -> Answer {
        let number = UInt(bitPattern: request), start = monotonicNanoseconds()
        aside.run { [self] in
            defer { meter.record(.seek, since: start) }
            unsafe serve(fuse_req_t(bitPattern: number)) { _ in
                unsafe fuse_lowlevel_notify_inval_inode(session, n, 0, 0)
                return try seek(n, offset, whence)
            }
        }
        return .later
    }

    private func seek(_ n: InodeNumber, _ offset: off_t, _ whence: Int32) throws -> Answer {
        guard offset >= 0 else { throw VolumeError.noSuchOffset("inode \(n), at \(offset)") }
        let snapshot = try volume.read(about: n)
        switch whence {
        case Whence.data: return .offset(try snapshot.seekData(n, UInt64(offset)))
        case Whence.hole: return .offset(try snapshot.seekHole(n, UInt64(offset)))
        default: throw VolumeError.invalid("a seek of kind \(whence)")
        }
    }
}

/// fallocate(2), as in `linux/falloc.h`.
private enum Allocation {
    static let keepSize: Int32 = 0x01
    static let punchHole: Int32 = 0x02
    static let zeroRange: Int32 = 0x10
}

/// lseek(2), as in `linux/fs.h`.
private enum Whence {
    static let data: Int32 = 3
    static let hole: Int32 = 4
}
