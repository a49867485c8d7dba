// Trace events of an XFS as a feed of deltas.
//
// - Each processor's buffer is one of the feed's. Its pages are decoded in their order.
// - *Losses.* A full buffer drops new events, and its `stats` count them. Counts are compared
//   behind each reading; where one has grown at the time t, events were lost between the last
//   delivered mark and t. Told is that before the first event that is younger than t: by then
//   all that stood before the loss has been delivered.
// - *Marks.* A marker carries a number in each buffer, written from the buffer's own processor,
//   so it stands behind all that the processor has reported before. A buffer counts as delivered
//   up to the time before the markers were written, once its marker has been read, the counts
//   have been compared after that, and no loss is still to be told.

internal import Bytes
internal import LinuxFilesystem
internal import Synchronization
internal import Tidemark

final class XFSFeed: ChangeFeed {
    private let owner: XFSOwner
    private let receiver: any ChangeReceiver
    private let instance: TraceInstance
    private let state: Mutex<State>

    private struct State: ~Copyable {
        var buffers: [BufferState]
        var deltas = StampedDeltas()
        var mark: UInt64 = 0
        var isEnded = false
    }

    init(_ owner: XFSOwner, _ receiver: any ChangeReceiver) throws {
        let system: TraceSystem
        do {
            system = try TraceSystem()
            guard system.has(.xfs) else {
                throw LinuxOwnerError(
                    owner.label, .noTracing("this kernel does not have XFS's events"))
            }
            instance = try TraceInstance(
                system, .xfs, on: owner.xfs.mount, bufferKilobytes: owner.bufferKilobytes)
        } catch let error as LinuxCallError {
            throw LinuxOwnerError(owner.label, .noTracing("\(error)"))
        } catch let error as TraceFormatError {
            throw LinuxOwnerError(owner.label, .noTracing("\(error)"))
        }
        self.owner = owner
        self.receiver = receiver
        let begun = owner.now().raw
        state = Mutex(
            State(buffers: instance.buffers.map { _ in BufferState(delivered: begun) }))
    }

    var buffers: Int { instance.buffers.count }

    func poll(limit: Int) throws -> Bool {
        try state.withLock { state in
            guard !state.isEnded else { return false }
            var isAny = false
            let share = max(1, limit / instance.buffers.count)
            for place in instance.buffers.indices {
                if try poll(place, share, &state) { isAny = true }
            }
            return isAny
        }
    }

    private func poll(_ place: Int, _ limit: Int, _ state: inout State) throws -> Bool {
        let buffer = instance.buffers[place]
        var decoding = Decoding(
            owner: owner, receiver: receiver, buffer: place, state: state.buffers[place])
        var isAny = false
        do {
            while decoding.count < limit {
                guard let page = try buffer.read(instance.decoder, to: &decoding) else {
                    decoding.isEmpty = true
                    break
                }
                if page.events > 0 { isAny = true }
            }
        } catch let error as TracePageError {
            throw LinuxOwnerError(owner.label, .malformed("\(error)"))
        }
        decoding.flush()
        if let fault = decoding.fault { throw LinuxOwnerError(owner.label, fault) }
        if isAny || decoding.state.isWaiting {
            let lost = try buffer.statistics().lost
            // Read behind the counts: all that they count is older.
            decoding.noteCount(lost, at: owner.now().raw)
        }
        if decoding.tell() { isAny = true }
        state.buffers[place] = decoding.state
        return isAny
    }

    func mark() throws -> SequenceNumber {
        let stamp = owner.now()
        try owner.checkAlive()
        return try state.withLock { state in
            guard !state.isEnded else { return stamp }
            if try instance.isTampered() {
                state.isEnded = true
                receiver.ended("\(LinuxOwnerError(owner.label, .instanceTaken))")
                return stamp
            }
            state.mark += 1
            let text = "\(XFSFeed.prefix)\(state.mark)"
            for (place, buffer) in instance.buffers.enumerated() {
                switch try instance.mark(text, processor: buffer.processor) {
                case .written: state.buffers[place].marks.append((state.mark, stamp.raw))
                // Nobody writes there: what is in it is all.
                case .offLine: state.buffers[place].idleMark = stamp.raw
                // It will be full of events, and then a loss is told and the feed marked again.
                case .full: break
                }
            }
            return stamp
        }
    }

    static let prefix = "tidemark "

    func end() {
        state.withLock { $0.isEnded = true }
        instance.close()
    }

    deinit { instance.close() }
}

/// An entry that is not true any more since `stamp`.
private struct Removal: Sendable {
    let stamp: UInt64
    let primary: XFSPosition
    let key: KeyBytes
}

/// Removals, the earliest first: a heap.
private struct RemovalQueue: Sendable {
    private var items: [Removal] = []

    mutating func append(_ removal: Removal) {
        items.append(removal)
        var place = items.count - 1
        while place > 0, items[place].stamp < items[(place - 1) / 2].stamp {
            items.swapAt(place, (place - 1) / 2)
            place = (place - 1) / 2
        }
    }

    /// Takes the earliest out, where it is not later than `stamp`.
    mutating func takeFirst(upTo stamp: UInt64) -> Removal? {
        guard let first = items.first, first.stamp <= stamp else { return nil }
        items.swapAt(0, items.count - 1)
        items.removeLast()
        var place = 0
        while true {
            var least = place
            for child in [2 * place + 1, 2 * place + 2]
            where child < items.count && items[child].stamp < items[least].stamp { least = child }
            if least == place { return first }
            items.swapAt(place, least)
            place = least
        }
    }
}

/// What is known of a buffer.
private struct BufferState: Sendable {
    /// What the receiver was told: delivered up to here.
    var delivered: UInt64
    /// All that were lost, as they were last counted.
    var lost: UInt64 = 0
    /// Ends of losses that are still to be told, ascending.
    var losses: [UInt64] = []
    /// Numbers and times of markers that were written and not read yet.
    var marks: [(number: UInt64, stamp: UInt64)] = []
    /// The time of the last marker that was read, where it is not told yet.
    var seen: UInt64?
    /// The time at which nobody could write a marker.
    var idleMark: UInt64?
    /// Of the last event.
    var last: UInt64 = 0
    /// Entries that came late, to be removed once the buffer has come to their time.
    var removals = RemovalQueue()

    init(delivered: UInt64) { self.delivered = delivered }

    var isWaiting: Bool { seen != nil || idleMark != nil || !losses.isEmpty }
}

/// Makes the events of one buffer into deltas.
private struct Decoding: TraceReceiver, ~Copyable {
    let owner: XFSOwner
    let receiver: any ChangeReceiver
    let buffer: Int
    var state: BufferState
    var deltas = StampedDeltas()
    /// Whether the buffer has been read to its end.
    var isEmpty = false
    /// Deltas that were made.
    var count = 0
    /// Why the events can't be used any more.
    var fault: LinuxOwnerError.Reason?
    private let wantsBlocks, wantsNames: Bool
    private let groupBlocks: UInt64

    /// Deltas that are held at the most: one event may be about two million blocks.
    private static let limit = 4096

    init(owner: XFSOwner, receiver: any ChangeReceiver, buffer: Int, state: BufferState) {
        self.owner = owner
        self.receiver = receiver
        self.buffer = buffer
        self.state = state
        wantsBlocks = owner.rmap.map(receiver.wants) ?? false
        wantsNames = owner.parents.map(receiver.wants) ?? false
        groupBlocks = UInt64(owner.xfs.geometry.groupBlocks)
    }

    mutating func flush() {
        guard deltas.count > 0 else { return }
        receiver.deliver(deltas, from: buffer)
        deltas.removeAll()
    }

    /// To be called before each event: what was lost before it is told.
    private mutating func begin(_ stamp: UInt64) {
        while let end = state.losses.first, end < stamp { tellLoss(end) }
        removeUntrue(upTo: stamp)
        state.last = stamp
        guard wantsNames else { return }
        for directory in owner.takeRaced(before: stamp) {
            let range = XFSPosition.entries(of: directory)
            deltas.void(range, at: SequenceNumber(raw: stamp))
        }
    }

    /// Says of entries that came late that they are not true any more, once the buffer has come
    /// to the time since which they are not: stamps never fall in a buffer.
    private mutating func removeUntrue(upTo stamp: UInt64) {
        guard let parents = owner.parents else { return }
        while let removal = state.removals.takeFirst(upTo: stamp) {
            deltas.remove(
                parents, primary: removal.primary.key.span, key: removal.key.span,
                at: SequenceNumber(raw: removal.stamp))
        }
    }

    private mutating func tellLoss(_ end: UInt64) {
        removeUntrue(upTo: end)
        flush()
        state.losses.removeFirst()
        receiver.lost(
            from: SequenceNumber(raw: state.delivered + 1),
            to: SequenceNumber(raw: max(end, state.last)), in: buffer)
        state.last = max(end, state.last)
    }

    mutating func noteCount(_ lost: UInt64, at time: UInt64) {
        guard lost != state.lost else { return }
        state.lost = lost
        // Many of them while the reader does not come along: the first ones are one.
        if state.losses.count >= 16 { state.losses.removeLast() }
        state.losses.append(time)
    }

    /// Tells how far the buffer is delivered. Returns whether it did.
    mutating func tell() -> Bool {
        if isEmpty, let idle = state.idleMark {
            while let end = state.losses.first { tellLoss(end) }
            removeUntrue(upTo: idle)
            flush()
            state.idleMark = nil
            state.seen = max(state.seen ?? 0, idle)
        }
        guard state.losses.isEmpty, let seen = state.seen else { return false }
        state.seen = nil
        guard seen > state.delivered else { return false }
        state.delivered = seen
        receiver.delivered(upTo: SequenceNumber(raw: seen), in: buffer)
        return true
    }

    // MARK: Events

    mutating func mapping(_ change: MappingChange, stamp: UInt64) {
        begin(stamp)
        guard wantsBlocks, let rmap = owner.rmap, !change.isMetadata, !change.isExtentMap else {
            return
        }
        let length = UInt64(change.length)
        guard change.group < owner.xfs.geometry.groups else {
            fault = .grown
            return
        }
        guard UInt64(change.block) + length <= groupBlocks, change.offset <= .max >> 12 else {
            fault = .malformed("an event about blocks beyond their group")
            return
        }
        let first = UInt64(change.group) * groupBlocks + UInt64(change.block)
        let at = SequenceNumber(raw: stamp)
        var value = FixedBytes<1>()
        // A conversion tells what was before.
        value.store(change.isUnwritten != (change.kind == .convert) ? UInt8(1) : 0, at: 0)
        for place in 0..<length {
            let key = MappingKey(
                block: first + place, owner: change.owner, fork: change.isAttributeFork ? 1 : 0,
                offset: change.offset + place)
            let primary = key.primary.key, bytes = key.bytes
            if change.kind == .unmap {
                deltas.remove(rmap, primary: primary.span, key: bytes.span, at: at)
            } else {
                deltas.add(
                    rmap, primary: primary.span, key: bytes.span, value: value.span, at: at)
            }
            count += 1
            if deltas.count >= Decoding.limit { flush() }
        }
    }

    mutating func name(_ change: borrowing NameChange, stamp: UInt64) {
        begin(stamp)
        guard wantsNames, let parents = owner.parents, !isDots(change.name) else { return }
        let at = SequenceNumber(raw: stamp)
        let primary = XFSPosition(change.directory, .entries)
        let key = ParentKey.make(
            child: change.inode, parent: change.directory, name: change.name)
        count += 1
        switch change.kind {
        case .remove:
            deltas.remove(parents, primary: primary.key.span, key: key.span, at: at)
        case .add:
            let truth = owner.names.note(
                change.directory, change.name, change.inode, at: stamp)
            add(parents, primary, key, at, truth)
        case .replace: replace(change, parents, primary, key, at)
        }
        if deltas.count >= Decoding.limit { flush() }
    }

    private mutating func add(
        _ parents: IndexSlot, _ primary: XFSPosition, _ key: KeyBytes, _ at: SequenceNumber,
        _ truth: NameBook.Truth
    ) {
        switch truth {
        case .stands: break
        case .untrue(let since):
            state.removals.append(Removal(stamp: since, primary: primary, key: key))
        case .open: return deltas.void(XFSPosition.entries(of: primary.inode), at: at)
        }
        var value = FixedBytes<1>()
        value.store(UInt8(0), at: 0)
        deltas.add(parents, primary: primary.key.span, key: key.span, value: value.span, at: at)
    }

    /// The event does not say which inode the name led to before.
    private mutating func replace(
        _ change: borrowing NameChange, _ parents: IndexSlot, _ primary: XFSPosition,
        _ key: KeyBytes, _ at: SequenceNumber
    ) {
        var others: [UInt64] = []
        let (isKnown, truth) = owner.names.replace(
            change.directory, change.name, change.inode, at: at.raw
        ) { others.append($0) }
        for other in others {
            let old = ParentKey.make(
                child: other, parent: change.directory, name: change.name)
            deltas.remove(parents, primary: primary.key.span, key: old.span, at: at)
        }
        guard isKnown else {
            return deltas.void(XFSPosition.entries(of: change.directory), at: at)
        }
        add(parents, primary, key, at, truth)
    }

    mutating func blocks(_ change: BlockChange, stamp: UInt64) { begin(stamp) }

    mutating func marker(_ text: RawSpan, stamp: UInt64) {
        begin(stamp)
        guard let number = markNumber(text) else { return }
        guard let place = state.marks.firstIndex(where: { $0.number == number }) else { return }
        state.seen = max(state.seen ?? 0, state.marks[place].stamp)
        state.marks.removeFirst(place + 1)
    }
}

/// The number behind the prefix of our markers.
func markNumber(_ text: RawSpan) -> UInt64? {
    let prefix = Array(XFSFeed.prefix.utf8)
    guard text.byteCount > prefix.count else { return nil }
    for (place, byte) in prefix.enumerated()
    where text.integer(at: place, as: UInt8.self) != byte { return nil }
    var number: UInt64?
    for place in prefix.count..<text.byteCount {
        let byte = text.integer(at: place, as: UInt8.self)
        guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { break }
        let (tens, isTooLarge) = (number ?? 0).multipliedReportingOverflow(by: 10)
        if isTooLarge { return nil }
        number = tens &+ UInt64(byte - UInt8(ascii: "0"))
    }
    return number
}
