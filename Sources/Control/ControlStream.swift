// The parts of an answer on their way to a client.
//
// A client that has gone away, or takes nothing for too long, gets nothing more: what is done for
// it goes on.

internal import Synchronization

/// Sends lines to one client, from any thread, until `close`.
final class PartSender: Sendable {
    /// Held while a line is sent: lines don't mix.
    private let isDeaf = Mutex(false)
    private let descriptor: Int32
    private let patience: Double
    private let wakeup: Int32

    /// - Parameters:
    ///   - patience: seconds for a line, at the most.
    ///   - wakeup: readable, or hung up, to end the waiting.
    init(descriptor: Int32, patience: Double, wakeup: Int32) {
        self.descriptor = descriptor
        self.patience = patience
        self.wakeup = wakeup
    }

    /// - Returns: whether somebody takes it.
    func send(_ bytes: [UInt8]) -> Bool {
        isDeaf.withLock { isDeaf in
            guard !isDeaf else { return false }
            do throws(Connection.Failure) {
                try sendAll(bytes, to: descriptor, within: patience, wakeup: wakeup)
            } catch {
                isDeaf = true
            }
            return !isDeaf
        }
    }

    /// Sends it if that takes no waiting, and nothing otherwise.
    func sendIfFree(_ bytes: [UInt8]) {
        // Nobody waits here for a thread that waits for the client.
        _ = isDeaf.withLockIfAvailable { isDeaf in
            guard !isDeaf, isWritable(descriptor) else { return }
            do throws(Connection.Failure) {
                try sendAll(bytes, to: descriptor, within: patience, wakeup: wakeup)
            } catch {
                isDeaf = true
            }
        }
    }

    /// Nothing more is sent.
    /// - Returns: whether all that was sent was taken.
    func close() -> Bool {
        isDeaf.withLock { isDeaf in
            defer { isDeaf = true }
            return !isDeaf
        }
    }
}

public struct ControlStream<Part: Codable & Sendable>: Sendable {
    let sender: PartSender

    /// Sends a part that the next one of its kind makes worthless.
    public func sendIfFree(_ part: Part) {
        if let line = try? encode(PartLine(part: part)) { sender.sendIfFree(line) }
    }

    /// - Returns: whether somebody takes it.
    @discardableResult
    public func send(_ part: Part) -> Bool {
        guard let line = try? encode(PartLine(part: part)) else { return false }
        return sender.send(line)
    }
}
