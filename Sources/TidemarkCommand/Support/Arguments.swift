// The words that the command was started with: bytes, which need not be UTF-8.

internal import Bytes
internal import HostFiles

enum Arguments {
    /// The words behind the name of the program.
    static let words: [String] = hostArguments().dropFirst().map { String(hostPath: $0) }

    /// A path of the host as the user typed it. One that exists so is meant so; where it does not,
    /// `\xHH` stands for a byte, as it does where names are printed.
    static func path(_ text: String) -> String {
        guard text.contains("\\x"), !hostFileExists(text) else { return text }
        return String(hostPath: text.unescapedBytes)
    }
}
