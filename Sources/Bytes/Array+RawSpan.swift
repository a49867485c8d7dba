// Byte arrays as spans, for cold paths where names and values come as arrays.

extension Array where Element == UInt8 {
    /// The bytes, for as long as the array is not changed.
    @inlinable
    public var rawSpan: RawSpan {
        @_lifetime(borrow self)
        get { unsafe span.bytes }
    }
}
