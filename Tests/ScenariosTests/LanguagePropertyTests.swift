// What holds for every scenario, and for every text.

import Testing

@testable import Scenarios

@Suite struct LanguagePropertyTests {
    @Test(arguments: 1...20)
    func `what is written is read as it was`(seed: Int) throws {
        var sampler = ScenarioSampler(seed: seed)
        for round in 0..<50 {
            let scenario = sampler.scenario()
            let text = ScenarioWriter.write(scenario)
            var read = try ScenarioReader.read(text, file: "SEED=\(seed)")
            for index in read.order.indices { read.order[index].line = 0 }
            #expect((read == scenario) == true, "SEED=\(seed), round \(round):\n\(text)")
            #expect(
                ScenarioWriter.write(read) == text,
                "SEED=\(seed), round \(round): Unicode scalars were lost")
        }
    }

    @Test(arguments: 1...20)
    func `no text traps the reader, and a mistake lies in the text`(seed: Int) {
        var sampler = ScenarioSampler(seed: seed)
        var failures = 0
        for round in 0..<20 {
            let text = Array(ScenarioWriter.write(sampler.scenario()).unicodeScalars)
            for _ in 0..<10 {
                let mutated = string(sampler.mutated(text))
                do throws(ScenarioError) {
                    let scenario = try ScenarioReader.read(mutated, file: "x")
                    // What was read can be written, and read again.
                    _ = try ScenarioReader.read(ScenarioWriter.write(scenario), file: "y")
                } catch {
                    failures += 1
                    let lines = mutated.unicodeScalars.count {
                        "\n\r\u{85}\u{2028}\u{2029}".unicodeScalars.contains($0)
                    }
                    #expect(
                        error.file == "x" && (1...(lines + 2)).contains(error.line)
                            && error.column >= 1,
                        "SEED=\(seed), round \(round): \(error)\n\(mutated)")
                }
            }
        }
        #expect(failures > 20, "SEED=\(seed): the mutations are no mistakes")
    }

    @Test(arguments: 1...10)
    func `noise traps nothing`(seed: Int) {
        var sampler = ScenarioSampler(seed: seed)
        for _ in 0..<300 {
            let noise = sampler.some(0...60) { $0.noise() }
            _ = try? ScenarioReader.read(string(noise), file: "x")
        }
    }
}

extension ScenarioSampler {
    /// Scalars that mean something, and some that don't.
    fileprivate mutating func noise() -> Unicode.Scalar {
        let marks = "\n\n:-,[]{}#&*!|>'\"%@`?/ \t\rab01.~\\\u{85}\u{2028}\u{feff}\u{0}ü\u{1f980}"
        return pick(Array(marks.unicodeScalars))
    }

    /// `text` with some changes.
    fileprivate mutating func mutated(_ text: [Unicode.Scalar]) -> [Unicode.Scalar] {
        var text = text
        for _ in 0..<number(1...4) {
            let place = number(0...text.count)
            let end = min(text.count, place + number(0...12))
            switch number(0...4) {
            case 0: text.removeSubrange(place..<end)
            case 1: text.insert(noise(), at: place)
            case 2: text.insert(contentsOf: text[place..<end], at: number(0...text.count))
            case 3: text.replaceSubrange(place..<end, with: some(0...4) { $0.noise() })
            default: text.swapAt(min(place, text.count - 1), number(0...text.count - 1))
            }
            if text.isEmpty { text = ["a"] }
        }
        return text
    }
}
