// Where the libraries' log goes: to standard error, or, for a command in the background, to the
// system's log.

internal import HostFiles
internal import Logging

func makeLogger(toSystem: Bool, isVerbose: Bool) -> Logger {
    var logger = Logger(label: "tidemark") { _ in LineLog(toSystem: toSystem) }
    logger.logLevel = isVerbose ? .debug : .info
    return logger
}

/// One line for each message.
private struct LineLog: LogHandler {
    let toSystem: Bool
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(toSystem: Bool) { self.toSystem = toSystem }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let words = all.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
        let text = "\(event.message)" + (words.isEmpty ? "" : " (\(words.joined(separator: "; ")))")
        if toSystem {
            logToSystem("tidemark: " + text)
        } else {
            try? StandardStream.error.write("tidemark: " + text + "\n")
        }
    }
}
