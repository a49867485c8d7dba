// Where a command's words go: results to standard output, everything else to standard error. A
// result that could not be written is told of, and the exit status says so; a reader who has gone
// away ends the command quietly.

internal import Bytes
internal import Reports
internal import Synchronization

final class Output: Sendable {
    enum Form: Sendable { case text, json }

    let form: Form
    let isQuiet: Bool
    let isVerbose: Bool
    let channel: any Channel
    /// The volume that this process serves, where another process has sent the command.
    let served: ServedVolume?
    /// The first failure to write the result.
    private let failed = Mutex<OutputFailure?>(nil)
    private let hasTold = Atomic<Bool>(false)
    /// Where lines are collected before they are written.
    private let buffer = Mutex("")

    init(
        form: Form, isQuiet: Bool, isVerbose: Bool,
        channel: any Channel = StandardChannel.shared, served: ServedVolume? = nil
    ) {
        self.channel = channel
        self.served = served
        self.form = form
        self.isQuiet = isQuiet
        self.isVerbose = isVerbose
    }

    var isJSON: Bool { form == .json }

    /// Why what was printed did not arrive; nil: it did, so far.
    var failure: OutputFailure? { failed.withLock { $0 } }

    /// Nobody gets what is printed: a command that only prints may end.
    var isUnread: Bool { failure != nil }

    /// Whether an error was told of.
    var hasToldError: Bool { hasTold.load(ordering: .relaxed) }

    /// A line of the result, for people: nothing where JSON was asked for.
    func line(_ text: String = "") {
        guard form == .text, !isQuiet else { return }
        put(text + "\n")
    }

    func lines(_ lines: [String]) { for text in lines { line(text) } }

    /// The one document, or one line of JSON.
    func json(_ value: JSONValue, isPretty: Bool = true) {
        put((isPretty ? value.pretty : value.compact) + "\n")
    }

    /// Text of the result as it is.
    func put(_ text: String) {
        buffer.withLock {
            $0 += text
            if $0.utf8.count >= 1 << 16 { write(&$0) }
        }
    }

    /// Writes out what is collected.
    func flush() { buffer.withLock { write(&$0) } }

    private func write(_ text: inout String) {
        guard !text.isEmpty else { return }
        if !isUnread, let failure = channel.write(text.shownPath) {
            failed.withLock { if $0 == nil { $0 = failure } }
        }
        text = ""
    }

    /// Something that went wrong and that the user is to know.
    func error(_ text: String) {
        hasTold.store(true, ordering: .relaxed)
        channel.tell("tidemark: \(text.shownPath)\n")
    }

    /// Something worth knowing, which is no result.
    func note(_ text: String) {
        guard !isQuiet else { return }
        channel.tell("tidemark: \(text.shownPath)\n")
    }

    /// What only `--verbose` asks for.
    func detail(_ text: String) {
        if isVerbose { note(text) }
    }
}
