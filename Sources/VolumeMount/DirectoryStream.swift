// Positions in a directory that is being read.
//
// The kernel names a position by a number, and may come back to any that it was given, while
// entries come and go. A directory is read in the order of its names, so a position is a name:
// "what comes after it". A stream keeps the names that it gave out; a number leads to one of them,
// as long as the directory is open. Whatever is deleted, added or renamed in between, an entry that
// stays is given once.
//
// 0 is the start, 1 is behind `.`, 2 behind `..`, i + 3 behind the name number i.

internal import Synchronization
#if canImport(Glibc)
internal import Glibc
#endif

final class DirectoryStream: Sendable {
    static let firstName: UInt64 = 2

    struct State {
        /// The names, each with a NUL behind it, in the order in which they were given out.
        private var names: [UInt8] = []
        /// Where each name ends, at its NUL.
        private var ends: [Int] = []
        /// The names' numbers, in the order of their bytes.
        private var sorted: [Int] = []

        var count: Int { ends.count }

        private func range(_ number: Int) -> Range<Int> {
            (number == 0 ? 0 : ends[number - 1] + 1)..<ends[number]
        }

        func name(_ number: Int) -> [UInt8] { Array(names[range(number)]) }

        /// How many names are not behind the name `number`.
        func rank(after number: Int) -> Int {
            let name = name(number)
            return unsafe rank(of: name.span.bytes) + 1
        }

        /// The number of `name`: the one that it was given before, whenever that was, or a new
        /// one. So a number stays good after a return to the beginning.
        /// - Parameter rank: how many names are before it, where no name was added between; moved
        ///   behind it.
        mutating func number(_ name: RawSpan, rank: inout Int) -> Int {
            let isNext =
                rank < count
                ? compare(sorted[rank], name) == 0
                : rank == 0 || compare(sorted[rank - 1], name) < 0
            if !isNext { rank = self.rank(of: name) }
            if rank == count || compare(sorted[rank], name) != 0 {
                sorted.insert(count, at: rank)
                append(name)
            }
            rank += 1
            return sorted[rank - 1]
        }

        private mutating func append(_ name: RawSpan) {
            for index in 0..<name.byteCount {
                names.append(unsafe name.unsafeLoad(fromByteOffset: index, as: UInt8.self))
            }
            ends.append(names.count)
            names.append(0)
        }

        /// How many names are before `name`.
        private func rank(of name: RawSpan) -> Int {
            var lower = 0, upper = count
            while lower < upper {
                let middle = (lower + upper) / 2
                if compare(sorted[middle], name) < 0 { lower = middle + 1 } else { upper = middle }
            }
            return lower
        }

        private func compare(_ number: Int, _ name: RawSpan) -> Int {
            let range = range(number)
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
