// Discrepancies on their way to the user: with `--verbose` to standard output, with
// `--list` as JSON lines to a file. Runs tell them from several threads.

internal import HostFiles
internal import Synchronization
internal import Tidemark

final class LineList: Sendable {
    private struct State: ~Copyable {
        var file: TextFile?
        var failure: HostError?
    }

    private let path: String?
    private let state: Mutex<State>

    init(path: String?) throws {
        self.path = path
        guard let path else {
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
    func add(_ line: JSONValue) {
        state.withLock {
            guard $0.failure == nil else { return }
            do throws(HostError) {
                try $0.file?.append(line.compact + "\n")
            } catch {
                $0.failure = error
            }
        }
    }

    /// - Throws: where not every line could be written.
    func finish() throws {
        let failure: HostError? = state.withLock {
            if let failure = $0.failure { return failure }
            do throws(HostError) { try $0.file?.flush() } catch { return error }
            return nil
        }
        if let failure, let path {
            throw CommandFailure("\(path): \(failure.reason); the list is not whole")
        }
    }
}
