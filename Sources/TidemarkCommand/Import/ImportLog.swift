// What an import could not take, and why it stopped: told by the reader and by the writer.

internal import Bytes
internal import HostFiles
internal import Synchronization
internal import VolumeFormat

final class ImportLog: Sendable {
    struct Failure: Sendable {
        let path: String
        let problem: String
    }

    private struct State {
        var count = 0
        /// The first ones, for the report.
        var first: [Failure] = []
        var stop: String?
        /// Names whose access control lists were not kept.
        var accessLists = 0
    }

    /// Failures that are named in any case.
    static let named = 20

    private let state = Mutex(State())
    private let output: Output

    init(_ output: Output) { self.output = output }

    func add(_ path: String, _ problem: String) {
        let number: Int = state.withLock {
            $0.count += 1
            if $0.first.count < ImportLog.named {
                $0.first.append(Failure(path: path, problem: problem))
            }
            return $0.count
        }
        if number <= ImportLog.named || output.isVerbose { output.error("\(path): \(problem)") }
        if number == ImportLog.named + 1, !output.isVerbose {
            output.error("further failures are counted; --verbose names all of them")
        }
    }

    /// The name was imported, with narrower access than it had.
    func dropAccessList(_ path: String) {
        let number: Int = state.withLock {
            $0.accessLists += 1
            return $0.accessLists
        }
        guard number <= ImportLog.named || output.isVerbose else { return }
        output.error(
            "\(path): its access control list is not kept; nobody may do more than before, and "
                + "some may do less")
    }

    var accessLists: Int { state.withLock { $0.accessLists } }

    /// The import ends here. The first reason stays.
    func stop(_ reason: String) { state.withLock { if $0.stop == nil { $0.stop = reason } } }

    /// Whether everything was imported as it was.
    var isWhole: Bool { state.withLock { $0.count + $0.accessLists == 0 && $0.stop == nil } }
    var count: Int { state.withLock { $0.count } }
    var first: [Failure] { state.withLock { $0.first } }
    var stopReason: String? { state.withLock { $0.stop } }
}

/// The directories that are being imported, by their numbers: each with what it stands in.
struct ImportPaths {
    private var places: [Int: (parent: Int, name: [UInt8])] = [:]
    private let root: String

    init(root: String) {
        self.root = root.count > 1 && root.hasSuffix("/") ? String(root.dropLast()) : root
    }

    mutating func add(_ number: Int, in parent: Int, _ name: [UInt8]) {
        places[number] = (parent, name)
    }

    mutating func remove(_ number: Int) { places[number] = nil }

    /// The path of a name in a directory, or of the directory where `name` is nil.
    func path(_ parent: Int, _ name: [UInt8]?) -> String {
        var parts = name.map { [escapedName($0)] } ?? []
        var number = parent
        while number != 0, let place = places[number] {
            parts.append(escapedName(place.name))
            number = place.parent
        }
        return ([root == "/" ? "" : root] + parts.reversed()).joined(separator: "/")
    }
}
