// The tables that come from names: directory entries and parent pointers.

internal import Bytes
internal import VolumeFormat
internal import VolumeIndexes

/// Directory entries, a directory at a time.
struct DirentSource: RecordSource {
    private struct Name {
        /// The first sixteen bytes, for sorting.
        var high, low: UInt64
        var entry: UInt32
        var offset: Int
        var length: Int
    }

    private let plan: NamePlan
    /// The entries of directory `d` are `ordered[first[d]..<first[d + 1]]`.
    private var first: [Int]
    private var ordered: [UInt32]
    private var directory = 0
    private var bytes: [UInt8] = []
    private var names: [Name] = []

    init(_ plan: NamePlan) {
        self.plan = plan
        first = [Int](repeating: 0, count: plan.inodes + 2)
        for parent in plan.directory { first[Int(parent) + 1] += 1 }
        for index in 1..<first.count { first[index] += first[index - 1] }
        var place = first
        ordered = [UInt32](repeating: 0, count: plan.entries)
        for (entry, parent) in plan.directory.enumerated() {
            ordered[place[Int(parent)]] = UInt32(entry)
            place[Int(parent)] += 1
        }
    }

    /// Entries of a directory.
    func count(_ directory: Int) -> Int { first[directory + 1] - first[directory] }

    mutating func next(_ put: (RawSpan, RawSpan) throws -> Void) throws -> Bool {
        guard directory <= plan.inodes else { return false }
        defer { directory += 1 }
        guard count(directory) > 0 else { return true }
        collect(ordered[first[directory]..<first[directory + 1]])
        sortNames()
        for name in names {
            let range = name.offset..<name.offset + name.length
            let key = DirentRecord.key(UInt64(directory), bytes.rawSpan.extracting(range))
            let value = plan.target(Int(name.entry)).value(key: key.span)
            try put(key.span, value.span)
        }
        return true
    }

    private mutating func collect(_ entries: ArraySlice<UInt32>) {
        bytes.removeAll(keepingCapacity: true)
        names.removeAll(keepingCapacity: true)
        for entry in entries {
            let offset = bytes.count
            plan.appendName(of: Int(entry), to: &bytes)
            var prefix: (UInt64, UInt64) = (0, 0)
            for index in 0..<16 {
                let byte = offset + index < bytes.count ? UInt64(bytes[offset + index]) : 0
                if index < 8 {
                    prefix.0 = prefix.0 << 8 | byte
                } else {
                    prefix.1 = prefix.1 << 8 | byte
                }
            }
            names.append(
                Name(
                    high: prefix.0, low: prefix.1, entry: entry, offset: offset,
                    length: bytes.count - offset))
        }
    }

    private mutating func sortNames() {
        let bytes = bytes
        names.sort { a, b in
            if a.high != b.high { return a.high < b.high }
            if a.low != b.low { return a.low < b.low }
            return bytes[a.offset..<a.offset + a.length].lexicographicallyPrecedes(
                bytes[b.offset..<b.offset + b.length])
        }
    }
}

/// Parent pointers, an inode at a time.
struct ParentSource: RecordSource {
    private let plan: NamePlan
    private let sum: GenerationSum
    private var inode = 2
    private var nextLink = 0

    init(_ plan: NamePlan, _ sum: GenerationSum) {
        self.plan = plan
        self.sum = sum
    }

    mutating func next(_ put: (RawSpan, RawSpan) throws -> Void) throws -> Bool {
        guard inode <= plan.inodes else { return false }
        var keys = [key(inode - 2)]
        while nextLink < plan.linksByChild.count,
            plan.child(Int(plan.linksByChild[nextLink])) == inode
        {
            keys.append(key(Int(plan.linksByChild[nextLink])))
            nextLink += 1
        }
        if keys.count > 1 { keys.sort() }
        for key in keys {
            var value = FixedBytes<8>()
            value.store(plan.generation(inode), at: 0)
            value.seal(key: key.span)
            sum.add(value.span.integer(at: 4))
            try put(key.span, value.span)
        }
        inode += 1
        return true
    }

    private func key(_ entry: Int) -> KeyBytes {
        var name: [UInt8] = []
        plan.appendName(of: entry, to: &name)
        return ParentPointers.key(
            child: InodeNumber(plan.child(entry)), parent: InodeNumber(plan.directory[entry]),
            name: name.rawSpan)
    }
}
