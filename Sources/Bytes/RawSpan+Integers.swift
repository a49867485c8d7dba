// Reading big-endian integers out of a span, and comparing byte strings.

#if canImport(Glibc)
internal import Glibc
#endif

extension RawSpan {
    /// The big-endian integer at `offset`. The caller has checked the length; a read
    /// beyond the span is a precondition failure.
    @inlinable
    public func integer<T: FixedWidthInteger & BitwiseCopyable>(at offset: Int, as: T.Type = T.self)
        -> T
    {
        precondition(
            offset >= 0 && offset + MemoryLayout<T>.size <= byteCount, "read beyond the span")
        return unsafe T(bigEndian: unsafeLoadUnaligned(fromByteOffset: offset, as: T.self))
    }

    /// A copy, for cold paths.
    public var array: [UInt8] {
        unsafe withUnsafeBytes { unsafe [UInt8]($0) }
    }
}

/// Lexicographic order of unsigned bytes, the shorter first: below 0, 0, above 0.
public func compareBytes(_ a: RawSpan, _ b: RawSpan) -> Int {
    unsafe a.withUnsafeBytes { a in
        unsafe b.withUnsafeBytes { b in
            let common = min(a.count, b.count)
            if common > 0 {
                let order = unsafe memcmp(a.baseAddress!, b.baseAddress!, common)
                if order != 0 { return Int(order) }
            }
            return a.count - b.count
        }
    }
}
