// The file `durable`: the last two durable points of a volume, in two slots, so that one is
// whole whenever the machine fails. What a durable point is: LMDB/DurablePoint.swift.
//
// A slot, big-endian but for the meta page, which is as liblmdb writes it: magic u64
// (`TIDEDURA`), version u32, is clean u8, zero u8 × 3, number u64, boot identity 40 bytes (ASCII,
// filled with zeroes), meta page 152 bytes, CRC32C of all that u32. Slot 0 is at byte 0,
// slot 1 at byte 4,096.

internal import Bytes
internal import LMDB
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

struct DurablePoint: Hashable {
    static let magic: UInt64 = 0x5449_4445_4455_5241
    static let size = 220
    static let bootSize = 40

    /// Counts up; the slot with the higher number is the newer.
    var number: UInt64
    /// Whether the volume was closed right after it.
    var isClean: Bool
    /// The run of the kernel in which it was made.
    var boot: String
    var meta: MetaPage

    var bytes: [UInt8] {
        var head = FixedBytes<24>()
        head.store(DurablePoint.magic, at: 0)
        head.store(Geometry.currentVersion, at: 8)
        head.store(isClean ? 1 : 0 as UInt8, at: 12)
        head.store(number, at: 16)
        var bytes = head.span.array
        var boot = Array(boot.utf8.prefix(DurablePoint.bootSize))
        boot += [UInt8](repeating: 0, count: DurablePoint.bootSize - boot.count)
        bytes += boot + meta.bytes
        return sealedValue(key: RawSpan(), body: bytes)
    }

    /// The version of the format, where the bytes are a durable point of any.
    static func version(_ bytes: [UInt8]) -> UInt32? {
        let span = bytes.rawSpan
        guard span.byteCount == size, span.integer(at: 0, as: UInt64.self) == magic
        else { return nil }
        return span.integer(at: 8)
    }

    /// - Returns: nil where the bytes were never written, are torn, or are others.
    init?(_ bytes: [UInt8]) {
        guard DurablePoint.version(bytes) == Geometry.currentVersion else { return nil }
        let span = bytes.rawSpan
        let sum = CRC32C.checksum(span.extracting(droppingLast: checksumSize))
        guard sum == span.integer(at: DurablePoint.size - checksumSize, as: UInt32.self),
            let meta = MetaPage(bytes: Array(bytes[64..<216]))
        else { return nil }
        number = span.integer(at: 16)
        guard number < 1 << 62 else { return nil }
        isClean = span.integer(at: 12, as: UInt8.self) == 1
        boot = String(decoding: bytes[24..<64].prefix { $0 != 0 }, as: UTF8.self)
        self.meta = meta
    }

    init(number: UInt64, isClean: Bool, boot: String, meta: MetaPage) {
        self.number = number
        self.isClean = isClean
        self.boot = boot
        self.meta = meta
    }
}

final class DurableFile: Sendable {
    static let slotDistance = 4096

    private let path: String
    /// Held open: the volume's directory may be renamed. Below zero: there is none.
    private let file: Int32

    init(path: String, isReadOnly: Bool) throws(VolumeError) {
        self.path = path
        file = unsafe open(
            path.hostPath, isReadOnly ? O_RDONLY | O_CLOEXEC : O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        // Reading alone makes no file: one that is missing holds no point.
        guard file >= 0 || isReadOnly && Glibc.errno == ENOENT else {
            throw .system("open", path)
        }
    }

    deinit { if file >= 0 { close(file) } }

    /// The newest whole durable point; nil where there is none.
    /// - Throws: `newerFormat` where a slot is of one, `olderFormat` where all are.
    func newest() throws -> DurablePoint? {
        let slots = [try read(slot: 0), try read(slot: 1)]
        for slot in slots {
            if let version = DurablePoint.version(slot), version > Geometry.currentVersion {
                throw VolumeError.newerFormat(path: path, version: version)
            }
        }
        let points = slots.compactMap { DurablePoint($0) }
        if points.isEmpty, let version = slots.compactMap({ DurablePoint.version($0) }).max(),
            (1..<Geometry.currentVersion).contains(version)
        {
            throw VolumeError.olderFormat(path: path, version: version)
        }
        return points.max { $0.number < $1.number }
    }

    /// The bytes of a slot, as many as there are.
    private func read(slot: Int) throws -> [UInt8] {
        guard file >= 0 else { return [] }
        var bytes = [UInt8](repeating: 0, count: DurablePoint.size)
        let count = unsafe bytes.withUnsafeMutableBytes {
            unsafe pread(file, $0.baseAddress, $0.count, slot * DurableFile.slotDistance)
        }
        guard count >= 0 else { throw VolumeError.system("read", path) }
        return Array(bytes.prefix(count))
    }

    /// Writes the point into the slot that its number gives, and waits until it is on the
    /// disk.
    func write(_ point: DurablePoint) throws(VolumeError) {
        let bytes = point.bytes
        let offset = Int(point.number % 2) * DurableFile.slotDistance
        let count = unsafe bytes.withUnsafeBytes {
            unsafe pwrite(file, $0.baseAddress, $0.count, offset)
        }
        guard count == bytes.count else { throw .system("write", path) }
        guard fsync(file) == 0 else { throw .system("sync", path) }
    }
}

/// The identity of this run of the kernel (random(4)).
func kernelBootIdentity() -> String {
    readSmallFile("/proc/sys/kernel/random/boot_id")?.trimmed ?? "unknown"
}

func readSmallFile(_ path: String) -> String? {
    let file = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 256) {
        $1 = unsafe max(Glibc.read(file, $0.baseAddress, 256), 0)
    }
    return String(decoding: bytes, as: UTF8.self)
}

extension String {
    var trimmed: String {
        var part = self[...]
        while part.first?.isWhitespace == true { part.removeFirst() }
        while part.last?.isWhitespace == true { part.removeLast() }
        return String(part)
    }
}
