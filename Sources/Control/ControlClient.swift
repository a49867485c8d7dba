// The client: asks the process that serves a volume.

#if canImport(Glibc)
internal import Glibc
#endif

/// A connection to the process that serves a volume. Used by one thread.
public struct ControlClient: ~Copyable {
    private let folder: String
    private var connection: Connection
    private let patience: Double

    /// Connects.
    /// - Parameters:
    ///   - folder: the directory of the volume.
    ///   - patience: seconds for each answer, at the most.
    public init(folder path: String, patience: Double = 5) throws(ControlError) {
        connection = Connection(descriptor: try ControlClient.connect(path, patience))
        folder = path
        self.patience = patience
    }

    private static func connect(
        _ path: String, _ patience: Double
    ) throws(ControlError) -> Int32 {
        let folder = try SocketFolder(path: path)
        if let found = try folder.look(ControlServer.name), !found.isSocket {
            throw .inTheWay("\(path)/\(ControlServer.name)")
        }
        return try connectSocket(folder, ControlServer.name, patience: patience)
    }

    /// Asks, and waits for the answer.
    public mutating func ask<Argument, Answer>(
        _ verb: ControlVerb<Argument, Answer>, _ argument: Argument
    ) throws(ControlError) -> Answer {
        guard let line = try? encode(Request(verb: verb.name, argument: argument)) else {
            throw .garbled(folder, why: "the request can't be written")
        }
        do throws(Connection.Failure) {
            try connection.send(line, within: patience)
        } catch {
            // Who is sent away is told why before the server hangs up.
            if error == .timeout { throw .stalled(folder) }
        }
        let answer = try receive()
        guard let response = try? decode(Response<Answer>.self, answer) else {
            throw .garbled(folder, why: "\(answer.count) bytes that are no answer")
        }
        if let error = response.error {
            if error.code == "notPermitted" { throw .noPermission(folder) }
            throw .refused(code: error.code, message: "\(folder): \(error.message)")
        }
        guard let answer = response.answer else {
            throw .garbled(folder, why: "an answer without contents")
        }
        return answer
    }

    private mutating func receive() throws(ControlError) -> [UInt8] {
        do throws(Connection.Failure) {
            return try connection.line(
                atMost: Wire.longestAnswer, first: patience, whole: patience)
        } catch {
            switch error {
            case .timeout: throw .stalled(folder)
            case .tooLong: throw .garbled(folder, why: "an answer without an end")
            case .ended, .stopped, .system: throw .garbled(folder, why: "it hung up")
            }
        }
    }
}
