// CRC32C (Castagnoli, RFC 3720 appendix B.4), by Intel's ISA-L, which uses the
// processor's instruction where there is one.

internal import CISAL

public enum CRC32C {
    /// The checksum of `first` followed by `second`.
    ///
    /// Where the one lies right behind the other, as key and value do in LMDB's pages, both
    /// are taken at once: the call costs as much as a short record.
    public static func checksum(_ first: RawSpan, _ second: RawSpan) -> UInt32 {
        unsafe first.withUnsafeBytes { a in
            unsafe second.withUnsafeBytes { b in
                guard let start = a.baseAddress, let next = b.baseAddress,
                    unsafe start + a.count == next
                else { return unsafe ~extend(extend(0xffff_ffff, a), b) }
                let both = unsafe UnsafeRawBufferPointer(start: start, count: a.count + b.count)
                return unsafe ~extend(0xffff_ffff, both)
            }
        }
    }

    public static func checksum(_ bytes: RawSpan) -> UInt32 {
        unsafe bytes.withUnsafeBytes { unsafe ~extend(0xffff_ffff, $0) }
    }

    private static func extend(_ state: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
        guard let base = bytes.baseAddress else { return state }
        let pointer = unsafe base.assumingMemoryBound(to: UInt8.self)
        return unsafe shim_crc32c(pointer, Int32(bytes.count), state)
    }
}
