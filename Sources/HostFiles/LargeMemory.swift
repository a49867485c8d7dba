// Memory of a process that lives for long.

internal import CMalloc

/// From here on pieces of 256 KiB and more are the system's again as soon as they are free. By
/// itself the C library keeps them once it has seen some (mallopt(3), `M_MMAP_THRESHOLD`): each
/// thread of a run leaves its buffers behind in an arena, with the small pieces of others in
/// between. The ends of arenas are given back from 128 KiB on, as they are without it at first.
public func giveBackLargePieces() { mallopt(M_MMAP_THRESHOLD, 256 << 10) }
