// Positions in a directory that is being read.
//
// The kernel names a position by a number, and may come back to any that it was given, while
// entries come and go. A directory is read in the order of its names, so a position is a name:
// "what comes after it". A stream keeps the names that it gave out; a number leads to one of them.
// Whatever is deleted, added or renamed in between, an entry that stays is given once.
//
// 0 is the start, 1 is behind `.`, 2 behind `..`, i + 3 behind the name number i.

internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

final class DirectoryStream: Sendable {
    static let firstName: UInt64 = 2

    struct State {
        /// The names, each with a NUL behind it.
        private(set) var names: [UInt8] = []
        /// Where each name ends, at its NUL.
        private var ends: [Int] = []

        var count: Int { ends.count }

        private func range(_ index: Int) -> Range<Int> {
            (index == 0 ? 0 : ends[index - 1] + 1)..<ends[index]
        }

        func name(_ index: Int) -> ArraySlice<UInt8> { names[range(index)] }

        mutating func removeAll() {
            names.removeAll()
            ends.removeAll()
        }

        mutating func append(_ name: RawSpan) {
            for index in 0..<name.byteCount {
                names.append(unsafe name.unsafeLoad(fromByteOffset: index, as: UInt8.self))
            }
            ends.append(names.count)
            names.append(0)
        }

        /// The number of `name`, which comes after the name number `index - 1`: the one that it
        /// was given before, or a new one.
        mutating func number(_ name: RawSpan, from index: inout Int) -> Int {
            while index < count, isBefore(index, name) { index += 1 }
            if index < count, isSame(index, name) {
                index += 1
                return index - 1
            }
            append(name)
            return count - 1
        }

        private func isSame(_ index: Int, _ name: RawSpan) -> Bool { compare(index, name) == 0 }
        private func isBefore(_ index: Int, _ name: RawSpan) -> Bool { compare(index, name) < 0 }

        private func compare(_ index: Int, _ name: RawSpan) -> Int {
            let range = range(index)
            let shorter = min(range.count, name.byteCount)
            let order = unsafe names.withUnsafeBytes { mine in
                unsafe name.withUnsafeBytes { other in
                    unsafe memcmp(
                        mine.baseAddress! + range.lowerBound, other.baseAddress!, shorter)
                }
            }
            return order != 0 ? Int(order) : range.count - name.byteCount
        }

        /// The name number `index` as C takes it, until the next change.
        func withName<R>(_ index: Int, _ body: (UnsafePointer<CChar>) -> R) -> R {
            unsafe names.withUnsafeBytes {
                unsafe body(
                    ($0.baseAddress! + range(index).lowerBound).assumingMemoryBound(to: CChar.self))
            }
        }
    }

    let state = Mutex(State())
}

/// The directories that are open, by handle.
final class DirectoryStreams: Sendable {
    private struct Streams {
        var streams: [UInt64: DirectoryStream] = [:]
        var last: UInt64 = 0
    }

    private let streams = Mutex(Streams())

    func open() -> UInt64 {
        streams.withLock {
            $0.last += 1
            $0.streams[$0.last] = DirectoryStream()
            return $0.last
        }
    }

    subscript(handle: UInt64) -> DirectoryStream? { streams.withLock { $0.streams[handle] } }

    func close(_ handle: UInt64) { streams.withLock { $0.streams[handle] = nil } }
}
