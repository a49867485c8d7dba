// Requests and answers: one JSON object a line.
//
//     {"version":1,"verb":"set","argument":{"run":1,"change":{"speedLimit":100}}}
//     {"version":1,"answer":{…}}
//     {"version":1,"error":{"code":"noSuchRun","message":"…"}}
//
// The answer of a streaming verb has any number of parts before its end:
//
//     {"version":1,"part":{…}}
//
// A verb is a name with the type of its argument and of its answer, written down once for both
// sides. What a server can do is a table of verbs.

internal import Foundation

public struct ControlVerb<Argument: Codable & Sendable, Answer: Codable & Sendable>: Sendable {
    public let name: String
    public init(_ name: String) { self.name = name }
}

/// A verb whose answer comes in parts, over time, and then with its end.
public struct ControlStreamVerb<
    Argument: Codable & Sendable, Part: Codable & Sendable, Answer: Codable & Sendable
>: Sendable {
    public let name: String
    public init(_ name: String) { self.name = name }
}

/// The argument, or the answer, of a verb that needs none.
public struct Nothing: Codable, Hashable, Sendable {
    public init() {}
}

/// Who asks, by the kernel's word.
public struct ControlPeer: Hashable, Sendable {
    public let process: Int32
    public let user: UInt32
}

/// A request that is not done, with the reason.
public struct ControlRefusal: Error, Codable, Hashable, Sendable {
    /// For programs; one word.
    public let code: String
    /// For people: what happened, to what, and what to do next.
    public let message: String

    public init(_ code: String, _ message: String) {
        self.code = code
        self.message = message
    }
}

/// What a server does, by verb. Handlers run on the threads of clients, several at a time.
public struct ControlTable: Sendable {
    typealias Handler = @Sendable ([UInt8], ControlPeer, PartSender) throws -> [UInt8]
    var handlers: [String: Handler] = [:]

    public init() {}

    public mutating func add<Argument, Answer>(
        _ verb: ControlVerb<Argument, Answer>,
        _ body: @escaping @Sendable (Argument, ControlPeer) throws -> Answer
    ) {
        add(verb.name) { (argument: Argument, peer, _) in try body(argument, peer) }
    }

    /// - Parameter body: may send parts from any thread, until it returns.
    public mutating func add<Argument, Part, Answer>(
        _ verb: ControlStreamVerb<Argument, Part, Answer>,
        _ body: @escaping @Sendable (Argument, ControlPeer, ControlStream<Part>) throws -> Answer
    ) {
        add(verb.name) { argument, peer, sender in
            try body(argument, peer, ControlStream(sender: sender))
        }
    }

    private mutating func add<Argument: Codable & Sendable, Answer: Codable & Sendable>(
        _ name: String,
        _ body: @escaping @Sendable (Argument, ControlPeer, PartSender) throws -> Answer
    ) {
        precondition(handlers[name] == nil, "a verb is added once")
        handlers[name] = { line, peer, sender in
            let argument: Argument
            do {
                argument = try decode(Request<Argument>.self, line).argument
            } catch {
                throw ControlRefusal("badArgument", "\(name): this is no argument for it")
            }
            return try encode(Response(answer: try body(argument, peer, sender), error: nil))
        }
    }

    /// The answer to one line; also to one that is no request.
    func answer(_ line: [UInt8], _ peer: ControlPeer, _ sender: PartSender) -> [UInt8] {
        do {
            return try answerOrThrow(line, peer, sender)
        } catch let refusal as ControlRefusal {
            return ControlTable.line(refusal)
        } catch {
            return ControlTable.line(ControlRefusal("failed", "\(error)"))
        }
    }

    private func answerOrThrow(
        _ line: [UInt8], _ peer: ControlPeer, _ sender: PartSender
    ) throws -> [UInt8] {
        guard let head = try? decode(RequestHead.self, line) else {
            throw ControlRefusal("noRequest", "the line is no request; see Docs/control.md")
        }
        guard head.version == Wire.version else {
            throw ControlRefusal(
                "otherVersion",
                "the request has version \(head.version), this process knows version "
                    + "\(Wire.version); use the same version of tidemark for both")
        }
        guard let handler = handlers[head.verb] else {
            let known = handlers.keys.sorted().joined(separator: ", ")
            throw ControlRefusal(
                "noSuchVerb", "there is no verb \(head.verb.prefix(40)) here, but \(known)")
        }
        return try handler(line, peer, sender)
    }

    static func line(_ refusal: ControlRefusal) -> [UInt8] {
        // Two strings can always be encoded.
        (try? encode(Response<Nothing>(answer: nil, error: refusal))) ?? []
    }
}

enum Wire {
    static let version = 1
    /// Bytes of a request, and of an answer, at the most.
    static let longestRequest = 64 << 10
    static let longestAnswer = 16 << 20
    static let newline = UInt8(ascii: "\n")
}

struct RequestHead: Decodable {
    let version: Int
    let verb: String
}

struct Request<Argument: Codable>: Codable {
    var version = Wire.version
    let verb: String
    let argument: Argument

    init(verb: String, argument: Argument) {
        self.verb = verb
        self.argument = argument
    }
}

struct Response<Answer: Codable>: Codable {
    var version = Wire.version
    let answer: Answer?
    let error: ControlRefusal?

    init(answer: Answer?, error: ControlRefusal?) {
        self.answer = answer
        self.error = error
    }
}

struct PartLine<Part: Codable>: Codable {
    var version = Wire.version
    let part: Part
}

/// What comes as the answer of a streaming verb: one of the three.
struct StreamLine<Part: Decodable, Answer: Decodable>: Decodable {
    let part: Part?
    let answer: Answer?
    let error: ControlRefusal?
}

func decode<Value: Decodable>(_ type: Value.Type, _ bytes: [UInt8]) throws -> Value {
    try JSONDecoder().decode(type, from: Data(bytes))
}

func encode(_ value: some Encodable) throws -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return Array(try encoder.encode(value)) + [Wire.newline]
}
