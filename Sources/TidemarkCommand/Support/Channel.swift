// Where a command's words end up: on the streams of this process, or, where another process has
// sent the command, on those of that one.

internal import HostFiles
internal import Synchronization

/// Why a result could not be written.
enum OutputFailure: Hashable, Sendable {
    /// Its reader has gone: nobody is there who could be told.
    case noReader
    case failed(String)

    init(_ error: HostError) {
        self = error.isWithoutReader ? .noReader : .failed("standard output: \(error.reason)")
    }
}

protocol Channel: Sendable {
    /// Text of the result.
    /// - Returns: why it could not be written; nil: it was.
    func write(_ text: String) -> OutputFailure?
    /// A line for people, which is no result.
    func tell(_ text: String)
    /// Columns of the terminal on which progress is drawn; nil: there is none.
    var progressColumns: Int? { get }
    /// Draws the line of progress, in place of the last one; an empty one takes it away.
    func draw(_ line: String)
    /// A piece of a list that the user wants in a file; nil where the file is this process's.
    var list: (@Sendable (String) -> Bool)? { get }
}

/// Standard output and standard error.
final class StandardChannel: Channel {
    static let shared = StandardChannel()
    /// Whether a line of progress stands on the terminal.
    private let isShown = Atomic<Bool>(false)

    func write(_ text: String) -> OutputFailure? {
        do throws(HostError) {
            try StandardStream.output.write(text)
            return nil
        } catch {
            return OutputFailure(error)
        }
    }

    func tell(_ text: String) {
        draw("")
        try? StandardStream.error.write(text)
    }

    var progressColumns: Int? {
        StandardStream.error.isTerminal ? StandardStream.error.columns : nil
    }

    func draw(_ line: String) {
        if line.isEmpty {
            guard isShown.exchange(false, ordering: .relaxed) else { return }
        } else {
            isShown.store(true, ordering: .relaxed)
        }
        try? StandardStream.error.write("\r\u{1b}[K" + line)
    }

    var list: (@Sendable (String) -> Bool)? { nil }
}
