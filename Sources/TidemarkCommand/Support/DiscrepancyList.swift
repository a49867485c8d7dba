// Discrepancies on their way to the user: with `--verbose` to standard output, with
// `--list` as JSON lines to a file. Runs tell them from several threads.

internal import HostFiles
internal import Reports
internal import Synchronization
internal import Tidemark

final class LineList: Sendable {
    private struct State: ~Copyable {
        var file: TextFile?
        /// What is collected for a reader elsewhere.
        var collected = ""
        var failure: HostError?
    }

    private let path: String?
    /// Where the lines are sent, where the file is not this process's.
    private let send: (@Sendable (String) -> Bool)?
    private let state: Mutex<State>

    init(path: String?, _ output: Output) throws {
        self.path = path
        send = output.channel.list
        guard let path, send == nil else {
            state = Mutex(State(file: nil))
            return
        }
        do throws(HostError) {
            state = Mutex(State(file: try TextFile(path: path)))
        } catch {
            throw CommandFailure("\(path): \(error.reason); give a file that can be written")
        }
    }

    var isWanted: Bool { path != nil }

    /// One line. After a failure nothing more is written.
    func add(_ line: JSONValue) { add(text: line.compact + "\n") }

    /// Whole lines.
    func add(text: String) {
        state.withLock { state in
            if let send {
                state.collected += text
                guard state.collected.utf8.count >= 1 << 16 else { return }
                _ = send(state.collected)
                state.collected = ""
                return
            }
            guard state.failure == nil else { return }
            do throws(HostError) {
                try state.file?.append(text)
            } catch {
                state.failure = error
            }
        }
    }

    /// - Throws: where not every line could be written.
    func finish() throws {
        let failure: HostError? = state.withLock {
            if let failure = $0.failure { return failure }
            if let send, !$0.collected.isEmpty { _ = send($0.collected) }
            $0.collected = ""
            do throws(HostError) { try $0.file?.close() } catch { return error }
            return nil
        }
        if let failure, let path {
            throw CommandFailure("\(path): \(failure.reason); the list is not whole")
        }
    }
}
