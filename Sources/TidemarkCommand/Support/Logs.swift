// Where the libraries' log goes: to standard error, with priorities where that is the journal,
// or, for a command in the background, to the system's log.

internal import Bytes
internal import HostFiles
internal import Logging

func makeLogger(toSystem: Bool, isVerbose: Bool) -> Logger {
    let hasJournal = ServiceManager.hasJournal
    var logger = Logger(label: "tidemark") { _ in
        LineLog(toSystem: toSystem, hasJournal: hasJournal)
    }
    logger.logLevel = isVerbose ? .debug : .info
    return logger
}

/// One line for each message.
private struct LineLog: LogHandler {
    let toSystem: Bool
    let hasJournal: Bool
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(toSystem: Bool, hasJournal: Bool) {
        self.toSystem = toSystem
        self.hasJournal = hasJournal
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let words = all.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }
        let details = words.isEmpty ? "" : " (\(words.joined(separator: "; ")))"
        let whole = "\(event.message)" + details
        let text = whole.shownPath
        if toSystem {
            logToSystem("tidemark: " + text)
        } else if hasJournal {
            try? StandardStream.error.write("<\(event.level.priority)>\(text)\n")
        } else {
            try? StandardStream.error.write("tidemark: " + text + "\n")
        }
    }
}

extension Logger.Level {
    /// As syslog(3) counts.
    fileprivate var priority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
