// A hint to the processor.

internal import CISAL

/// Asks for the cache line at `address`, which will be read soon.
@inline(__always)
public func prefetch(_ address: UnsafeRawPointer) {
    unsafe shim_prefetch(address)
}
