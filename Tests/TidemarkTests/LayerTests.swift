// The direction of the imports, read from the sources: what the compiler does not refuse,
// because a target's dependencies are a line in a manifest that anybody may lengthen.

import Foundation
import Testing

@Suite struct LayerTests {
    /// The layers of the framework, bottom up: a layer imports those before it, and no others.
    static let framework = [
        "Mutation", "Entries", "Contract", "Feed", "Shadow", "SideFile", "Engine", "Driver",
        "Inspection", "Tidemark",
    ]
    /// What stands on the framework, bottom up, and knows it by the umbrella or by its layers.
    static let owners = [
        "Reports", "RunService", "Dashboard", "VolumeFormat", "VolumeIndexes", "Catalogue",
        "VolumeVerify", "Volume", "VolumeService", "Scrub", "VolumeMount", "LinuxOwner",
        "LinuxIndex",
        "Scenarios", "TidemarkCommand",
    ]
    /// What everything may import: they know nothing of the project.
    static let ground = [
        "Bytes", "Threads", "LMDB", "Meters", "Control", "HostFiles", "LinuxFilesystem",
        "LMDBPages", "GenerationLife",
    ]

    /// Modules that a file imports, of those in `Sources`.
    static func imports(_ file: URL) throws -> [String] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let place = words.firstIndex(of: "import"), place + 1 < words.count,
                words[..<place].allSatisfy({ Self.beforeImport.contains(String($0)) })
            else { return nil }
            return String(words[place + 1])
        }
    }

    private static let beforeImport = ["public", "package", "internal", "@_exported", "@testable"]

    /// The files of a target, with the folder in it that they lie in.
    static func files(of target: String) -> [URL] {
        StyleTests.swiftFiles().filter { $0.path.contains("/Sources/\(target)/") }
    }

    @Test func `every target has its place in the order`() throws {
        let folder = StyleTests.root.appendingPathComponent("Sources")
        let targets = try FileManager.default.contentsOfDirectory(atPath: folder.path)
            .filter { !Self.files(of: $0).isEmpty }
        let known = Set(Self.framework + Self.owners + Self.ground)
        #expect(Set(targets) == known)
    }

    @Test func `a layer imports only what lies below it`() throws {
        let order = Self.ground + Self.framework + Self.owners
        for (place, target) in order.enumerated() {
            for file in Self.files(of: target) {
                for module in try Self.imports(file) {
                    guard let other = order.firstIndex(of: module) else { continue }
                    #expect(other < place, "\(file.path) imports \(module), which lies above it")
                }
            }
        }
    }

    @Test func `what lies below the framework knows nothing of it`() throws {
        for target in Self.ground + ["VolumeFormat", "VolumeVerify"] {
            for file in Self.files(of: target) {
                let seen = try Self.imports(file).filter { Self.framework.contains($0) }
                #expect(seen.isEmpty, "\(file.path) imports \(seen)")
            }
        }
    }

    @Test func `the framework reaches LMDB through the side file alone`() throws {
        let allowed = ["LMDB", "SideFile"] + Self.owners.filter { $0 != "Catalogue" }
        for target in Self.ground + Self.framework + Self.owners where !allowed.contains(target) {
            for file in Self.files(of: target) {
                let isSeen = try Self.imports(file).contains { $0 == "LMDB" || $0 == "CLMDB" }
                #expect(!isSeen, "\(file.path) imports LMDB")
            }
        }
    }

    @Test func `an owner's contract names nothing of the engine`() throws {
        for file in Self.files(of: "Contract") {
            let seen = try Self.imports(file).filter { Self.framework.contains($0) }
            #expect(Set(seen).isSubset(of: ["Entries"]), "\(file.path) imports \(seen)")
        }
    }

    /// Top-level types that a file declares, by its text.
    private static func declared(_ text: String) -> Set<String> {
        let kinds: Set = ["struct", "class", "enum", "protocol", "actor"]
        var names: Set<String> = []
        for line in text.split(separator: "\n") where line.first != " " {
            let words = line.split { !$0.isLetter && !$0.isNumber && $0 != "_" }
            guard let place = words.firstIndex(where: { kinds.contains(String($0)) }),
                place + 1 < words.count, !line.contains("private"), !line.hasPrefix("//")
            else { continue }
            names.insert(String(words[place + 1]))
        }
        return names
    }

    private static func words(_ text: String) -> Set<String> {
        let code = text.split(separator: "\n").filter {
            !$0.drop { $0 == " " }.hasPrefix("//")
        }
        return Set(
            code.joined(separator: "\n").split { !$0.isLetter && !$0.isNumber && $0 != "_" }
                .map { String($0) })
    }

    /// For each folder of a target the folders whose types its files name.
    private static func folderUses(of target: String) throws -> [String: Set<String>] {
        var texts: [String: [String]] = [:], declarations: [String: Set<String>] = [:]
        for file in files(of: target) {
            let folder = file.deletingLastPathComponent().lastPathComponent
            let text = try String(contentsOf: file, encoding: .utf8)
            texts[folder, default: []].append(text)
            declarations[folder, default: []].formUnion(declared(text))
        }
        return texts.mapValues { texts in
            let used = texts.reduce(into: Set<String>()) { $0.formUnion(words($1)) }
            return Set(declarations.filter { !$0.value.isDisjoint(with: used) }.keys)
        }
    }

    @Test(arguments: LayerTests.framework)
    func `folders within a layer know each other in one direction`(target: String) throws {
        let uses = try Self.folderUses(of: target)
        for (folder, others) in uses {
            for other in others where other != folder {
                #expect(
                    uses[other]?.contains(folder) == false,
                    "\(target): \(folder) and \(other) name types of each other")
            }
        }
    }
}
