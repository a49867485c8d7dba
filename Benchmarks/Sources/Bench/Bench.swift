// The benchmarks of "Speed and memory": one command, one table.
//
//     Bench [--sizes 1M,10M] [--quick] [--rounds 3] [--verify] [--dir DIRECTORY] [--only GROUPS]
//
// A plain program instead of a benchmark framework: most rows are whole runs and ratios
// between programs, measured in turn. Each measurement is a process of its own (this
// program again, with `--worker`), begins after sync(2), and is done three times; the table
// has medians. Whatever else the machine did meanwhile is measured and told.

internal import Foundation

/// What follows the worker's name.
struct Arguments {
    let values: [String]

    func string(_ place: Int) throws -> String {
        guard values.indices.contains(place) else {
            throw BenchError("argument \(place + 1) is missing")
        }
        return values[place]
    }

    func integer(_ place: Int) throws -> Int {
        guard let number = Int(try string(place)) else {
            throw BenchError("\(try string(place)) is no number")
        }
        return number
    }
}

struct BenchOptions {
    var sizes: [Int]
    /// Small and once, to see that everything works.
    let isQuick: Bool
    /// How often each measurement is done; the table has medians.
    var rounds: Int
    var verifies = false
    /// nil: a temporary directory, removed afterwards.
    var directory: String?
    /// Groups of rows that are measured.
    var groups: Set<String> = ["rebuild", "scan", "creates", "writers", "postgres"]

    init(_ arguments: [String]) throws {
        let isQuick = arguments.contains("--quick")
        self.isQuick = isQuick
        sizes = isQuick ? [100_000] : [1_000_000, 10_000_000]
        rounds = isQuick ? 1 : 3
        var rest = arguments[...]
        func value(_ option: String) throws -> String {
            guard let value = rest.popFirst() else { throw BenchError("\(option) needs a value") }
            return value
        }
        while let argument = rest.popFirst() {
            switch argument {
            case "--sizes":
                sizes = try value(argument).split(separator: ",").map { try Self.size($0) }
            case "--quick": break
            case "--rounds": rounds = try Self.size(try value(argument)[...])
            case "--verify": verifies = true
            case "--dir": directory = try value(argument)
            case "--only": groups = Set(try value(argument).split(separator: ",").map(String.init))
            default: throw BenchError("unknown argument \(argument)")
            }
        }
    }

    private static func size(_ text: Substring) throws -> Int {
        let factor = text.hasSuffix("M") ? 1_000_000 : text.hasSuffix("k") ? 1000 : 1
        guard let number = Int(factor > 1 ? text.dropLast() : text), number > 0 else {
            throw BenchError("\(text) is no size: 500k, 1M, 10M")
        }
        return number * factor
    }
}

@main
enum Bench {
    static func main() {
        let arguments = Array(CommandLine.arguments.dropFirst())
        do {
            if arguments.first == "--worker" {
                try work(arguments)
            } else {
                try Session(try BenchOptions(arguments)).run()
            }
        } catch {
            tell("bench: \(error)")
            exit(4)
        }
    }

    private static func work(_ arguments: [String]) throws {
        guard arguments.count > 1 else { throw BenchError("no worker is named") }
        let rest = Arguments(values: Array(arguments.dropFirst(2)))
        let measures: Measures
        switch arguments[1] {
        case "generate": measures = try VolumeWorkers.generate(rest)
        case "verify": measures = try VolumeWorkers.verify(rest)
        case "append": measures = try VolumeWorkers.append(rest)
        case "rows": measures = try VolumeWorkers.rows(rest)
        case "run": measures = try RunWorkers.run(rest)
        case "scan": measures = try RunWorkers.scan(rest)
        case "creates": measures = try WriterWorkers.creates(rest)
        case "branch": measures = try WriterWorkers.branch(rest)
        case "mixed": measures = try WriterWorkers.mixed(rest)
        default: throw BenchError("no worker \(arguments[1])")
        }
        print(String(decoding: try JSONEncoder().encode(measures), as: UTF8.self))
    }
}
