// The model's contents: bytes, places and attributes.

extension ModelFileSystem {
    static let largest = UInt64(Int64.max)

    // MARK: Attributes of the inode

    mutating func setAttributes(
        _ n: UInt64, permissions: UInt16?, uid: UInt32?, size: UInt64?, modified: ModelTime?
    ) throws(ModelError) {
        _ = try node(n)
        if let size {
            _ = try regular(n)
            if size > ModelFileSystem.largest { throw .tooLarge }
            resize(n, Int(size))
            nodes[n]?.modified = now
        }
        if let permissions { nodes[n]?.permissions = permissions }
        if let uid { nodes[n]?.uid = uid }
        if let modified { nodes[n]?.modified = modified }
        nodes[n]?.changed = now
    }

    private mutating func resize(_ n: UInt64, _ size: Int) {
        let old = nodes[n]!.bytes.count
        if size > old {
            nodes[n]!.bytes += [UInt8](repeating: 0, count: size - old)
        } else {
            nodes[n]!.bytes.removeLast(old - size)
            let kept = (size + blockSize - 1) / blockSize
            nodes[n]!.places = nodes[n]!.places.filter { $0.key < kept }
        }
    }

    // MARK: Data

    private func blocks(_ offset: Int, _ count: Int) -> Range<Int> {
        (offset / blockSize)..<((offset + count - 1) / blockSize + 1)
    }

    mutating func write(_ n: UInt64, _ offset: UInt64, _ bytes: [UInt8]) throws(ModelError) {
        _ = try regular(n)
        if bytes.isEmpty { return }
        if offset > ModelFileSystem.largest - UInt64(bytes.count) { throw .tooLarge }
        let start = Int(offset)
        let range = blocks(start, bytes.count)
        let missing = range.count { nodes[n]!.places[$0] == nil }
        if missing > freeBlocks { throw .noSpace }
        let end = start + bytes.count
        if end > nodes[n]!.bytes.count { resize(n, end) }
        nodes[n]!.bytes.replaceSubrange(start..<end, with: bytes)
        for block in range { nodes[n]!.places[block] = true }
        touch(n)
    }

    func read(_ n: UInt64, _ offset: UInt64, _ count: Int) throws(ModelError) -> [UInt8] {
        let node = try regular(n)
        guard offset < UInt64(node.bytes.count) else { return [] }
        let start = Int(offset)
        return Array(node.bytes[start..<min(start + count, node.bytes.count)])
    }

    enum Allocate: CaseIterable { case reserve, reserveKeep, punch, zero, zeroKeep }

    mutating func allocate(
        _ n: UInt64, _ offset: UInt64, _ count: UInt64, _ mode: Allocate
    ) throws(ModelError) {
        _ = try regular(n)
        if count == 0 { throw .invalid }
        if offset > ModelFileSystem.largest - min(count, ModelFileSystem.largest) {
            throw .tooLarge
        }
        let start = Int(offset)
        let end = start + Int(count)
        let touched = blocks(start, Int(count))
        if mode != .punch {
            let missing = touched.count { nodes[n]!.places[$0] == nil }
            if missing > freeBlocks { throw .noSpace }
            for block in touched where nodes[n]!.places[block] == nil {
                nodes[n]!.places[block] = false
            }
        }
        if mode == .reserve || mode == .zero, end > nodes[n]!.bytes.count { resize(n, end) }
        if mode == .punch || mode == .zero || mode == .zeroKeep {
            for index in start..<min(end, max(start, nodes[n]!.bytes.count)) {
                nodes[n]!.bytes[index] = 0
            }
            for block in touched where block * blockSize >= start {
                guard (block + 1) * blockSize <= end else { continue }
                nodes[n]!.places[block] = mode == .punch ? nil : false
            }
            nodes[n]!.modified = now
        }
        nodes[n]!.changed = now
    }

    func seek(_ n: UInt64, _ offset: UInt64, data: Bool) throws(ModelError) -> UInt64 {
        let node = try regular(n)
        let size = node.bytes.count
        guard offset < UInt64(size) else { throw .noOffset }
        var position = Int(offset)
        while position < size {
            if (node.places[position / blockSize] == true) == data { return UInt64(position) }
            position = (position / blockSize + 1) * blockSize
        }
        if data { throw .noOffset }
        return UInt64(size)
    }

    // MARK: Extended attributes

    enum XattrSet { case any, create, replace }

    private func checkXattr(_ name: Name) throws(ModelError) {
        if name.count > 255 { throw .range }
        if name.contains(0) { throw .invalid }
        let text = String(decoding: name, as: UTF8.self)
        for space in ["user.", "trusted.", "security.", "system."] {
            if text.hasPrefix(space), text != space { return }
        }
        throw .notSupported
    }

    mutating func setXattr(
        _ n: UInt64, _ name: Name, _ value: [UInt8], _ mode: XattrSet
    ) throws(ModelError) {
        try checkXattr(name)
        if value.count > 65536 { throw .tooLongArgument }
        let node = try node(n)
        if mode == .create, node.xattrs[name] != nil { throw .exists }
        if mode == .replace, node.xattrs[name] == nil { throw .noData }
        // The new value is stored before the old one goes.
        if blocks(ofXattr: value) > freeBlocks { throw .noSpace }
        nodes[n]!.xattrs[name] = value
        nodes[n]!.changed = now
    }

    mutating func removeXattr(_ n: UInt64, _ name: Name) throws(ModelError) {
        try checkXattr(name)
        let node = try node(n)
        if node.xattrs[name] == nil { throw .noData }
        nodes[n]!.xattrs[name] = nil
        nodes[n]!.changed = now
    }
}
