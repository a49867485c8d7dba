// Values that end in a checksum: the CRC32C of their key followed by what stands before it, as a
// big-endian u32. A value that was changed, or stands under another key, is told from a good one.

/// Bytes that the checksum takes at the end of a sealed value.
public let checksumBytes = 4

extension RawSpan {
    /// A sealed value without its checksum; nil where that is missing or is not that of the bytes.
    @_lifetime(copy self)
    public func unsealed(key: RawSpan = RawSpan()) -> RawSpan? {
        guard byteCount >= checksumBytes else { return nil }
        let body = extracting(droppingLast: checksumBytes)
        let stored: UInt32 = integer(at: byteCount - checksumBytes)
        return CRC32C.checksum(key, body) == stored ? body : nil
    }
}

extension FixedBytes {
    /// Stores the checksum in the last four bytes.
    @inlinable
    public mutating func putChecksum(key: RawSpan = RawSpan()) {
        store(
            CRC32C.checksum(key, span.extracting(droppingLast: checksumBytes)),
            at: count - checksumBytes)
    }
}

/// `body` followed by its checksum, for values of varying length.
public func sealedBytes(key: RawSpan = RawSpan(), body: [UInt8]) -> [UInt8] {
    var value = body
    let sum = CRC32C.checksum(key, body.rawSpan)
    for shift in [24, 16, 8, 0] as [UInt32] {
        value.append(UInt8(truncatingIfNeeded: sum >> shift))
    }
    return value
}
