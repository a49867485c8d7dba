// What POSIX says, in dictionaries: a file system that is too simple to be wrong. It shares no
// code with the volume. The property test runs the same operations on both.
//
// Space is modelled too: which blocks of a file have a place, and how many are free; so that
// the model knows when there must be no space left.

typealias Name = [UInt8]

/// errno(3), by the numbers of Linux.
enum ModelError: Int32, Error, CaseIterable {
    case notPermitted = 1, noEntry = 2, tooLongArgument = 7, exists = 17, notDirectory = 20
    case isDirectory = 21, invalid = 22, tooLarge = 27, noSpace = 28, range = 34
    case nameTooLong = 36, notEmpty = 39, noData = 61, notSupported = 95, noOffset = 6
}

struct ModelTime: Hashable {
    var seconds: Int64
    var nanoseconds: UInt32
}

struct ModelNode: Equatable {
    /// The numbers of `d_type`.
    var type: UInt8
    var permissions: UInt16
    var uid, gid, project: UInt32
    var links: UInt32
    var generation: UInt32
    var device: UInt64 = 0
    var parent: UInt64 = 0
    var accessed, modified, changed, born: ModelTime

    /// Of a regular file: as many bytes as it is long.
    var bytes: [UInt8] = []
    /// Of a regular file: which blocks have a place; true: written.
    var places: [Int: Bool] = [:]
    var children: [Name: UInt64] = [:]
    var target: Name = []
    var xattrs: [Name: [UInt8]] = [:]

    static let fifo: UInt8 = 1, directory: UInt8 = 4, regular: UInt8 = 8, symlink: UInt8 = 10
}

struct ModelFileSystem {
    let blockSize: Int
    let totalBlocks: Int
    let reservedBlocks: Int
    var nodes: [UInt64: ModelNode] = [:]
    var opens: [UInt64: Int] = [:]
    var released: Set<UInt64> = []
    var nextNumber: UInt64 = 2
    var nextGeneration: UInt32
    var now = ModelTime(seconds: 0, nanoseconds: 0)

    init(
        blockSize: Int, blocks: Int, reserved: Int, root: ModelNode, nextGeneration: UInt32
    ) {
        self.blockSize = blockSize
        totalBlocks = blocks
        reservedBlocks = reserved
        nodes[1] = root
        self.nextGeneration = nextGeneration
    }

    /// Long values of attributes have blocks of their own.
    func xattrBlocks(_ node: ModelNode) -> Int {
        node.xattrs.values.reduce(0) { $0 + blocks(ofXattr: $1) }
    }

    func blocks(ofXattr value: [UInt8]) -> Int {
        value.count > 1024 ? (value.count + blockSize - 1) / blockSize : 0
    }

    func blocks(_ node: ModelNode) -> Int { node.places.count + xattrBlocks(node) }

    var freeBlocks: Int {
        totalBlocks - reservedBlocks - nodes.values.reduce(0) { $0 + blocks($1) }
    }

    func size(_ node: ModelNode) -> UInt64 {
        switch node.type {
        case ModelNode.directory: UInt64(node.children.count)
        case ModelNode.symlink: UInt64(node.target.count)
        default: UInt64(node.bytes.count)
        }
    }

    // MARK: Parts

    func checkName(_ name: Name) throws(ModelError) {
        if name.count > 255 { throw .nameTooLong }
        if name.isEmpty { throw .noEntry }
        if name.contains(0) || name.contains(0x2f) || name == [0x2e] || name == [0x2e, 0x2e] {
            throw .invalid
        }
    }

    func node(_ n: UInt64) throws(ModelError) -> ModelNode {
        guard let node = nodes[n] else { throw .noEntry }
        return node
    }

    func directory(_ n: UInt64, growing: Bool) throws(ModelError) -> ModelNode {
        let node = try node(n)
        if node.type != ModelNode.directory { throw .notDirectory }
        if growing, node.links == 0 { throw .noEntry }
        return node
    }

    func child(_ dir: UInt64, _ name: Name) throws(ModelError) -> UInt64 {
        guard let child = nodes[dir]?.children[name] else { throw .noEntry }
        return child
    }

    func regular(_ n: UInt64) throws(ModelError) -> ModelNode {
        let node = try node(n)
        if node.type == ModelNode.directory { throw .isDirectory }
        if node.type != ModelNode.regular { throw .invalid }
        return node
    }

    mutating func touch(_ n: UInt64) {
        nodes[n]?.modified = now
        nodes[n]?.changed = now
    }

    /// An inode without names and not open is gone.
    mutating func settle(_ n: UInt64) {
        guard let node = nodes[n], node.links == 0, opens[n] == nil else { return }
        nodes[n] = nil
        released.insert(n)
    }

    // MARK: Names

    mutating func make(
        _ dir: UInt64, _ name: Name, _ type: UInt8, permissions: UInt16, target: Name = []
    ) throws(ModelError) -> UInt64 {
        if type == ModelNode.symlink {
            if target.isEmpty { throw .noEntry }
            if target.count > 4095 { throw .nameTooLong }
            if target.contains(0) { throw .invalid }
        }
        try checkName(name)
        _ = try directory(dir, growing: true)
        if nodes[dir]?.children[name] != nil { throw .exists }
        let number: UInt64
        if let lowest = released.min() {
            released.remove(lowest)
            number = lowest
        } else {
            number = nextNumber
            nextNumber += 1
        }
        var node = ModelNode(
            type: type, permissions: permissions, uid: 1, gid: 2, project: 3, links: 1,
            generation: nextGeneration, accessed: now, modified: now, changed: now, born: now)
        nextGeneration &+= 1
        node.target = target
        if type == ModelNode.directory {
            node.links = 2
            node.parent = dir
            nodes[dir]?.links += 1
        }
        nodes[number] = node
        nodes[dir]?.children[name] = number
        touch(dir)
        return number
    }

    mutating func link(_ n: UInt64, _ dir: UInt64, _ name: Name) throws(ModelError) {
        try checkName(name)
        _ = try directory(dir, growing: true)
        if nodes[dir]?.children[name] != nil { throw .exists }
        let node = try node(n)
        if node.type == ModelNode.directory { throw .notPermitted }
        if node.links == 0 { throw .noEntry }
        nodes[n]?.links += 1
        nodes[n]?.changed = now
        nodes[dir]?.children[name] = n
        touch(dir)
    }

    mutating func unlink(_ dir: UInt64, _ name: Name) throws(ModelError) {
        try checkName(name)
        _ = try directory(dir, growing: false)
        let n = try child(dir, name)
        if nodes[n]?.type == ModelNode.directory { throw .isDirectory }
        nodes[dir]?.children[name] = nil
        touch(dir)
        nodes[n]?.links -= 1
        nodes[n]?.changed = now
        settle(n)
    }

    mutating func removeDirectory(_ dir: UInt64, _ name: Name) throws(ModelError) {
        try checkName(name)
        _ = try directory(dir, growing: false)
        let n = try child(dir, name)
        if nodes[n]?.type != ModelNode.directory { throw .notDirectory }
        if nodes[n]?.children.isEmpty == false { throw .notEmpty }
        nodes[dir]?.children[name] = nil
        nodes[dir]?.links -= 1
        touch(dir)
        nodes[n]?.links = 0
        nodes[n]?.changed = now
        settle(n)
    }

    func isBelow(_ n: UInt64, _ ancestor: UInt64) -> Bool {
        var current = n
        while current != ancestor {
            if current == 1 { return false }
            current = nodes[current]!.parent
        }
        return true
    }

    enum Rename { case replace, noReplace, exchange }

    mutating func rename(
        _ from: UInt64, _ fromName: Name, _ to: UInt64, _ toName: Name, _ mode: Rename
    ) throws(ModelError) {
        try checkName(fromName)
        try checkName(toName)
        _ = try directory(from, growing: false)
        _ = try directory(to, growing: true)
        let source = try child(from, fromName)
        let victim = nodes[to]?.children[toName]
        if mode == .noReplace, victim != nil { throw .exists }
        if mode == .exchange, victim == nil { throw .noEntry }
        if victim == source { return }
        let isDirectory = nodes[source]!.type == ModelNode.directory
        if from != to {
            if isDirectory, isBelow(to, source) { throw .invalid }
            if mode == .exchange, let victim, nodes[victim]!.type == ModelNode.directory,
                isBelow(from, victim)
            {
                throw .invalid
            }
        }
        if mode == .exchange, let victim {
            move(source, from, to)
            move(victim, to, from)
            nodes[from]?.children[fromName] = victim
            nodes[to]?.children[toName] = source
            nodes[victim]?.changed = now
        } else {
            if let victim {
                if nodes[victim]!.type == ModelNode.directory {
                    if !isDirectory { throw .isDirectory }
                    if !nodes[victim]!.children.isEmpty { throw .notEmpty }
                    nodes[to]!.links -= 1
                    nodes[victim]!.links = 0
                } else {
                    if isDirectory { throw .notDirectory }
                    nodes[victim]!.links -= 1
                }
                nodes[victim]!.changed = now
            }
            move(source, from, to)
            nodes[from]?.children[fromName] = nil
            nodes[to]?.children[toName] = source
        }
        nodes[source]?.changed = now
        touch(from)
        touch(to)
        if mode != .exchange, let victim { settle(victim) }
    }

    private mutating func move(_ n: UInt64, _ from: UInt64, _ to: UInt64) {
        guard nodes[n]!.type == ModelNode.directory else { return }
        nodes[from]!.links -= 1
        nodes[to]!.links += 1
        nodes[n]!.parent = to
    }

    // MARK: Opening

    mutating func open(_ n: UInt64) throws(ModelError) {
        _ = try node(n)
        opens[n, default: 0] += 1
    }

    mutating func close(_ n: UInt64) {
        guard let count = opens[n] else { return }
        opens[n] = count > 1 ? count - 1 : nil
        settle(n)
    }

    /// The volume was closed, or its process died.
    mutating func forgetOpens() {
        let all = opens.keys
        opens = [:]
        for n in all { settle(n) }
    }
}
