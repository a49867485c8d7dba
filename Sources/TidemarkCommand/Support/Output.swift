// Where a command's words go: results to standard output, everything else to standard
// error. A reader who has gone away ends the command quietly.

internal import HostFiles
internal import Synchronization

final class Output: Sendable {
    enum Form: Sendable { case text, json }

    let form: Form
    let isQuiet: Bool
    let isVerbose: Bool
    /// Whether nobody reads standard output any more.
    private let isDeaf = Atomic<Bool>(false)
    /// Where lines are collected before they are written.
    private let buffer = Mutex("")

    init(form: Form, isQuiet: Bool, isVerbose: Bool) {
        self.form = form
        self.isQuiet = isQuiet
        self.isVerbose = isVerbose
    }

    var isJSON: Bool { form == .json }

    /// Nobody reads what is printed: a command that only prints may end.
    var isUnread: Bool { isDeaf.load(ordering: .relaxed) }

    /// A line of the result, for people: nothing where JSON was asked for.
    func line(_ text: String = "") {
        guard form == .text, !isQuiet else { return }
        put(text + "\n")
    }

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
        do throws(HostError) {
            if !isUnread { try StandardStream.output.write(text) }
        } catch {
            isDeaf.store(true, ordering: .relaxed)
        }
        text = ""
    }

    /// Something that went wrong and that the user is to know.
    func error(_ text: String) {
        Progress.clear()
        try? StandardStream.error.write("tidemark: \(text)\n")
    }

    /// Something worth knowing, which is no result.
    func note(_ text: String) {
        guard !isQuiet else { return }
        Progress.clear()
        try? StandardStream.error.write("tidemark: \(text)\n")
    }

    /// What only `--verbose` asks for.
    func detail(_ text: String) {
        if isVerbose { note(text) }
    }
}
