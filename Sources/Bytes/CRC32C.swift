// CRC32C (Castagnoli, RFC 3720 appendix B.4), by Intel's ISA-L, which uses the
// processor's instruction where there is one.

internal import CISAL

public enum CRC32C {
    /// The checksum of `first` followed by `second`.
    public static func checksum(_ first: RawSpan, _ second: RawSpan) -> UInt32 {
        ~extend(extend(0xffff_ffff, first), second)
    }

    public static func checksum(_ bytes: RawSpan) -> UInt32 {
        ~extend(0xffff_ffff, bytes)
    }

    private static func extend(_ state: UInt32, _ bytes: RawSpan) -> UInt32 {
        unsafe bytes.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return state }
            // The library reads only; its signature lacks the const.
            let pointer = unsafe UnsafeMutableRawPointer(mutating: base)
                .assumingMemoryBound(to: UInt8.self)
            return unsafe crc32_iscsi(pointer, Int32(bytes.count), state)
        }
    }
}
