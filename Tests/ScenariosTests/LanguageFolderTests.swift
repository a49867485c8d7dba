// The files in Scenarios/, and the page that describes the language.

import Foundation
import Testing

@testable import Scenarios

private func text(_ path: String) throws -> String {
    try String(contentsOfFile: Suite.folder + "/" + path, encoding: .utf8)
}

@Suite struct LanguageFolderTests {
    @Test func `every file is a scenario that says why it is hard`() throws {
        for file in Suite.files {
            let scenario = try Suite.read(file)
            #expect(
                scenario.title.count == 2 && scenario.title.allSatisfy { $0.count > 20 },
                "\(file): a file opens with two lines that say why its race is hard")
        }
    }

    @Test func `every file is small enough to be explored`() throws {
        for file in Suite.files {
            let scenario = try Suite.read(file)
            let transactions = scenario.writers.reduce(0) { $0 + $1.transactions.count }
            #expect(transactions <= 4, "\(file): \(transactions) transactions")
            #expect(scenario.setup.count <= 12, "\(file): \(scenario.setup.count) operations")
        }
    }

    @Test func `every file is written and read again as it was`() throws {
        for file in Suite.files {
            var scenario = try Suite.read(file)
            var again = try ScenarioReader.read(ScenarioWriter.write(scenario), file: file)
            for place in scenario.order.indices { scenario.order[place].line = 0 }
            for place in again.order.indices { again.order[place].line = 0 }
            #expect(scenario == again, "\(file)")
        }
    }

    @Test func `no two files have one name or one title`() throws {
        let names = Suite.files.map { URL(filePath: $0).lastPathComponent }
        let titles = try Suite.files.map { ScenarioSource(try text($0), file: $0).title }
        #expect(Set(names).count == names.count)
        #expect(Set(titles).count == titles.count)
    }
}

@Suite struct LanguageDocsTests {
    @Test func `the page names every word of the language`() throws {
        let page = try text("../Docs/scenarios.md")
        var words = ScenarioReading.keys + ScenarioReading.runKeys + ScenarioReading.expectationKeys
        words += ScenarioReading.outcomes + Turn.coordinatorSteps + Turn.writerSteps
        words += Turn.checkpointSteps + Turn.words
        words += Fault.Point.allCases.map(\.rawValue) + Fault.Cause.allCases.map(\.rawValue)
        words += Situation.allCases.map(\.rawValue)
        for word in words { #expect(page.contains("`\(word)`"), "`\(word)` is not described") }
        for kind in StoreDescription.Kind.allCases {
            for name in Operation.names(kind) {
                #expect(page.contains("`\(name) "), "the operation \(name) is not described")
            }
        }
    }

    @Test func `the scenario of the tutorial is the one in the folder`() throws {
        let page = try text("../Docs/scenarios.md")
        let file = "names/rename-file-ahead.yaml"
        let scenario = try text(file)
        for line in scenario.split(separator: "\n") where line.hasPrefix("  ") {
            let isNamed = page.contains(line) || line.contains("meets")
            #expect(isNamed, "\(file): the tutorial lacks \(line)")
        }
    }
}
