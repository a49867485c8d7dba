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
        try send(verb.name, argument)
        let answer = try receive()
        guard let response = try? decode(Response<Answer>.self, answer) else {
            throw .garbled(folder, why: "\(answer.count) bytes that are no answer")
        }
        return try result(response.answer, response.error)
    }

    /// Asks, hands on each part of the answer, and returns its end.
    /// - Parameter keepsWaiting: asked several times a second, while nothing comes.
    /// - Throws: also what `onPart` throws; `abandoned` where the waiting was given up.
    public mutating func ask<Argument, Part, Answer>(
        _ verb: ControlStreamVerb<Argument, Part, Answer>, _ argument: Argument,
        while keepsWaiting: () -> Bool, onPart: (Part) throws -> Void
    ) throws -> Answer {
        try send(verb.name, argument)
        while true {
            let line = try receive(while: keepsWaiting)
            guard let response = try? decode(StreamLine<Part, Answer>.self, line) else {
                throw ControlError.garbled(folder, why: "\(line.count) bytes that are no answer")
            }
            if let part = response.part {
                try onPart(part)
                continue
            }
            return try result(response.answer, response.error)
        }
    }

    private func send(_ verb: String, _ argument: some Codable) throws(ControlError) {
        guard let line = try? encode(Request(verb: verb, argument: argument)) else {
            throw .garbled(folder, why: "the request can't be written")
        }
        do throws(Connection.Failure) {
            try connection.send(line, within: patience)
        } catch {
            // Who is sent away is told why before the server hangs up.
            if error == .timeout { throw .stalled(folder) }
        }
    }

    private func result<Answer>(
        _ answer: Answer?, _ error: ControlRefusal?
    ) throws(ControlError) -> Answer {
        if let error {
            if error.code == "notPermitted" { throw .noPermission(folder) }
            throw .refused(code: error.code, message: "\(folder): \(error.message)")
        }
        guard let answer else { throw .garbled(folder, why: "an answer without contents") }
        return answer
    }

    private mutating func receive(while keepsWaiting: () -> Bool) throws(ControlError) -> [UInt8] {
        while true {
            do throws(Connection.Failure) {
                return try connection.line(
                    atMost: Wire.longestAnswer, first: 0.1, whole: patience)
            } catch .timeout {
                guard keepsWaiting() else { throw .abandoned(folder) }
            } catch {
                throw error == .tooLong ? failure(error) : .hungUp(folder)
            }
        }
    }

    private mutating func receive() throws(ControlError) -> [UInt8] {
        do throws(Connection.Failure) {
            return try connection.line(
                atMost: Wire.longestAnswer, first: patience, whole: patience)
        } catch {
            throw failure(error)
        }
    }

    private func failure(_ error: Connection.Failure) -> ControlError {
        switch error {
        case .timeout: .stalled(folder)
        case .tooLong: .garbled(folder, why: "an answer without an end")
        case .ended, .stopped, .system: .garbled(folder, why: "it hung up")
        }
    }
}
