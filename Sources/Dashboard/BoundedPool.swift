// FlyingFox waits for a client as long as it takes, and for any number of them. This pool stands
// between it and its own: a client that is silent, or takes nothing, for too long is hung up on,
// and so is one too many.

internal import FlyingSocks
internal import Synchronization

final class BoundedPool: AsyncSocketPool {
    private struct TimeIsOver: Error {}

    private let base: any AsyncSocketPool
    private let seconds: Double
    private let most: Int
    private let waiting = Atomic<Int>(0)

    /// - Parameters:
    ///   - seconds: that are waited for a client, at the most.
    ///   - most: clients that are waited for at a time.
    init(_ base: any AsyncSocketPool, seconds: Double = 15, most: Int = 32) {
        self.base = base
        self.seconds = seconds
        self.most = most
    }

    func prepare() async throws { try await base.prepare() }
    func run() async throws { try await base.run() }

    func suspendSocket(_ socket: Socket, untilReadyFor events: Socket.Events) async throws {
        // The one that listens.
        if events == .connection {
            return try await base.suspendSocket(socket, untilReadyFor: events)
        }
        defer { waiting.subtract(1, ordering: .relaxed) }
        guard waiting.add(1, ordering: .relaxed).newValue <= most else {
            throw SocketError.disconnected
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { [base] in
                try await base.suspendSocket(socket, untilReadyFor: events)
            }
            group.addTask { [seconds] in
                try await Task.sleep(for: .seconds(seconds))
                throw TimeIsOver()
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }
}
