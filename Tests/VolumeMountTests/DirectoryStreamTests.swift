// The positions of a directory that is being read.

import Bytes
import Testing

@testable import VolumeMount

@Suite struct DirectoryStreamTests {
    private func number(
        _ state: inout DirectoryStream.State, _ name: String, _ rank: inout Int
    ) -> Int {
        state.number(Array(name.utf8).rawSpan, rank: &rank)
    }

    @Test func `a name keeps its number, however often it is listed`() {
        var state = DirectoryStream.State()
        var rank = 0
        for (index, name) in ["b", "d", "f"].enumerated() {
            let given = number(&state, name, &rank)
            #expect(given == index && rank == index + 1)
        }
        // Others come and go.
        rank = 0
        let second = ["a", "b", "c", "f", "g"].map { number(&state, $0, &rank) }
        #expect(second == [3, 0, 4, 2, 5])
        rank = 0
        let third = ["a", "aa", "d", "f"].map { number(&state, $0, &rank) }
        #expect(third == [3, 6, 1, 2])
        #expect(state.count == 7)
        #expect(state.name(1) == Array("d".utf8))
    }

    @Test(arguments: 1...10 as ClosedRange<UInt64>)
    func `numbers are those of a dictionary, wherever a listing begins`(seed: UInt64) {
        var random = SplitMix64(seed: seed)
        var state = DirectoryStream.State(), known: [String: Int] = [:]
        for _ in 0..<40 {
            let present = (0..<60).filter { _ in Bool.random(using: &random) }.map { "name-\($0)" }
                .sorted { Array($0.utf8).lexicographicallyPrecedes(Array($1.utf8)) }
            var rank = 0, from = 0
            if let start = known.randomElement(using: &random), Bool.random(using: &random) {
                rank = state.rank(after: start.value)
                from =
                    present.firstIndex {
                        Array(start.key.utf8).lexicographicallyPrecedes(Array($0.utf8))
                    } ?? present.count
            }
            for name in present[from...] {
                let given = number(&state, name, &rank)
                #expect(given == known[name] ?? known.count, "SEED=\(seed)")
                known[name] = given
            }
            #expect(state.count == known.count, "SEED=\(seed)")
        }
        for (name, number) in known { #expect(state.name(number) == Array(name.utf8)) }
    }
}
