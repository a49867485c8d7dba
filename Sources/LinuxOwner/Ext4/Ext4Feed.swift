// Which clusters ext4 has allocated or freed since a pass began: `ext4_{allocate,free}_blocks`.
//
// No order among the events is needed: a cluster with any event is touched, and nothing that a pass
// says of it counts. Of a loss nobody knows what it was about: nothing of the pass counts.

internal import LinuxFilesystem

final class Ext4Feed {
    private let instance: TraceInstance
    private let superblock: Ext4Superblock
    private var lostBefore: [UInt64]
    private(set) var touched: BitSet
    private(set) var isLossy = false
    private(set) var events: UInt64 = 0
    private(set) var losses = 0
    private var mark: UInt64 = 0
    private var seen: [UInt64]
    private let label: String

    static let prefix = "tidemark-ext4 "

    init(
        _ mount: MountedFilesystem, _ superblock: Ext4Superblock, bufferKilobytes: Int,
        label: String
    ) throws {
        self.superblock = superblock
        self.label = label
        do {
            let system = try TraceSystem()
            guard system.has(.ext4) else {
                throw LinuxOwnerError(label, .noTracing("this kernel does not have ext4's events"))
            }
            instance = try TraceInstance(
                system, .ext4, on: mount, bufferKilobytes: bufferKilobytes)
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(label, .noTracing("\(error)"))
        } catch let error as TraceFormatError {
            throw LinuxOwnerError(label, .noTracing("\(error)"))
        }
        lostBefore = instance.buffers.map { _ in 0 }
        seen = instance.buffers.map { _ in 0 }
        touched = try Ext4Feed.bits(superblock, label)
    }

    private static func bits(_ superblock: Ext4Superblock, _ label: String) throws -> BitSet {
        guard let bits = BitSet(Int(superblock.clusters)) else {
            throw LinuxOwnerError(label, .malformed("there is no memory for the check"))
        }
        return bits
    }

    /// A pass begins: what came before is nothing to it.
    func begin() throws {
        try settle()
        touched = try Ext4Feed.bits(superblock, label)
        isLossy = false
    }

    func poll() throws {
        var decoding = Decoding(superblock, touched)
        for (place, buffer) in instance.buffers.enumerated() {
            decoding.mark = nil
            do {
                while try buffer.read(instance.decoder, to: &decoding) != nil {}
            } catch let error as TracePageError {
                throw LinuxOwnerError(label, .malformed("\(error)"))
            }
            if let number = decoding.mark { seen[place] = max(seen[place], number) }
            let lost = try buffer.statistics().lost
            if lost != lostBefore[place] {
                lostBefore[place] = lost
                isLossy = true
                losses += 1
            }
        }
        events += decoding.events
        if decoding.isBeyond { throw LinuxOwnerError(label, .grown) }
    }

    /// Fetches every event that was made before the call.
    func settle() throws {
        if try instance.isTampered() { throw LinuxOwnerError(label, .instanceTaken) }
        mark += 1
        var open: [Int] = []
        for (place, buffer) in instance.buffers.enumerated() {
            // A full buffer takes no marker until it was read.
            for attempt in 0..<100 {
                let marked = try instance.mark(
                    "\(Ext4Feed.prefix)\(mark)", processor: buffer.processor)
                if marked == .written { open.append(place) }
                if marked != .full { break }
                if attempt == 99 { isLossy = true }
                try poll()
            }
        }
        for _ in 0..<1000 {
            try poll()
            open.removeAll { seen[$0] >= mark }
            if open.isEmpty { return }
            instance.wait(milliseconds: 10)
        }
        // A marker was lost.
        isLossy = true
    }

    func close() { instance.close() }
}

private struct Decoding: TraceReceiver, ~Copyable {
    let superblock: Ext4Superblock
    let touched: BitSet
    var events: UInt64 = 0
    var mark: UInt64?
    var isBeyond = false

    init(_ superblock: Ext4Superblock, _ touched: BitSet) {
        self.superblock = superblock
        self.touched = touched
    }

    mutating func mapping(_ change: MappingChange, stamp: UInt64) {}
    mutating func name(_ change: borrowing NameChange, stamp: UInt64) {}

    mutating func blocks(_ change: BlockChange, stamp: UInt64) {
        events += 1
        guard change.count > 0 else { return }
        guard change.block >= superblock.firstDataBlock, change.block < superblock.blocks,
            change.count <= superblock.blocks - change.block
        else {
            isBeyond = true
            return
        }
        let first = superblock.cluster(of: change.block)
        let last = superblock.cluster(of: change.block + change.count - 1)
        for cluster in first...last { touched[Int(cluster)] = true }
    }

    mutating func marker(_ text: RawSpan, stamp: UInt64) {
        let bytes = text.withUnsafeCopy
        guard bytes.starts(with: Array(Ext4Feed.prefix.utf8)) else { return }
        let digits = bytes.dropFirst(Ext4Feed.prefix.utf8.count).prefix { (48...57).contains($0) }
        mark = UInt64(String(decoding: digits, as: UTF8.self))
    }
}

extension RawSpan {
    fileprivate var withUnsafeCopy: [UInt8] { unsafe withUnsafeBytes { unsafe [UInt8]($0) } }
}
