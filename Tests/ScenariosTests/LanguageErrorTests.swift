// Each mistake has its line, its column, and what was expected there.

import Testing

@testable import Scenarios

@Suite struct LanguageErrorTests {
    private func mistake(in text: String) -> ScenarioError? {
        do throws(ScenarioError) {
            _ = try ScenarioReader.read(text, file: "test.yaml")
            return nil
        } catch {
            return error
        }
    }

    /// `^` in the line below a mistake points at its column.
    private func check(
        _ text: String, _ expected: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var lines: [String] = []
        var spot: (line: Int, column: Int)?
        for line in text.split(separator: "\n", omittingEmptySubsequences: false) {
            if let mark = line.firstIndex(of: "^"), line[..<mark].allSatisfy({ $0 == " " }) {
                spot = (lines.count, line[..<mark].count + 1)
            } else {
                lines.append(String(line))
            }
        }
        guard let spot else {
            Issue.record("no mark in the text", sourceLocation: sourceLocation)
            return
        }
        #expect(
            mistake(in: lines.joined(separator: "\n"))?.description
                == "test.yaml:\(spot.line):\(spot.column): \(expected)",
            sourceLocation: sourceLocation)
    }

    @Test func `unknown keys are mistakes`() {
        check(
            """
            store: tree
            dammage: []
            ^
            """,
            "the unknown key 'dammage', expected store, setup, damage, run, runs, writers, faults, "
                + "order or expect; did you mean damage?")
        check(
            """
            run:
              windows: 1
              ^
            """,
            "the unknown key 'windows', expected indexes, scope, strategy, scanners, window, "
                + "spill, load-batch, overlay, parts, compare, patch, reap, queue, impatient, "
                + "keep-old, resumable, checkpoints, replay, candidates, looks or expect; did you "
                + "mean window?")
        check(
            """
            expect: {found: {parents: {mising: 1}}}
                                       ^
            """,
            "the unknown key 'mising', expected missing, stray or wrong; did you mean missing?")
        check(
            """
            expect: {generation: {tags: 1}}
                                  ^
            """,
            "the unknown key 'tags', expected rmap, parents, quota or links")
    }

    @Test func `an unknown operation has its nearest one`() {
        check(
            """
            setup:
              - renam a b
                ^
            """,
            "'renam', expected an operation: create, mkdir, symlink, fifo, link, unlink, rmdir, "
                + "rename, move, exchange, write, allocate, punch, zero, truncate, open, close, "
                + "chmod or chown; did you mean rename?")
        check(
            """
            store: catalogue
            writers:
              a: [mkdir a]
                  ^
            """,
            "'mkdir', expected an operation: set or remove")
    }

    @Test func `a word too few, too many or wrong has its own column`() {
        check(
            """
            setup:
              - rename low/file
                               ^
            """,
            "the end, expected the path to rename it to")
        check(
            """
            setup:
              - "unlink a  b"
                           ^
            """,
            "'b', expected the end")
        check(
            """
            setup: ['write a 0 0']
                               ^
            """,
            "'0', expected a length in blocks, 1 to 1099511627776")
        check(
            """
            setup: [mkdir ü, write ü/x 1e3 2]
                                       ^
            """,
            "'1e3', expected an offset in blocks, 0 to 1099511627776")
        check(
            """
            setup:
              - chmod a 888
                        ^
            """,
            "'888', expected permissions in octal, 0 to 7777")
        check(
            """
            store: catalogue
            setup: [set 1 a 4294967296]
                            ^
            """,
            "'4294967296', expected a weight, 0 to 4294967295")
    }

    @Test(
        arguments: ["a//b", "/a", "a/", "a/./b", "..", "#/a", "#0", "#x/a", "a:b", "a@1"])
    func `bad paths are mistakes`(path: String) {
        let error = mistake(in: "setup: [\"mkdir x\", \"unlink \(path)\"]")
        #expect(error?.found == "'\(path)'" && error?.line == 1 && error?.column == 28)
        #expect(error?.expected.contains(path.hasPrefix("#") ? "#17" : "path") == true)
    }

    @Test func `an operation that a comment cuts says so`() {
        check(
            """
            setup:
              - close #17
                     ^
            """,
            "the end, expected the path that was opened (` #` begins a comment: put it all in "
                + "double quotes)")
    }

    @Test func `a quote that nothing closes is a mistake`() {
        check(
            """
            setup:
              - unlink 'a b
                       ^
            """,
            "a single quote that nothing closes, expected a second one")
    }

    @Test func `places name what there can be`() {
        check(
            """
            damage:
              - missing tags low
                        ^
            """,
            "'tags', expected an index: rmap, parents, quota or links")
        check(
            """
            damage:
              - lost rmap low
                ^
            """,
            "'lost', expected missing, stray or wrong")
        check(
            """
            damage:
              - stray rmap low@x
                           ^
            """,
            "'low@x', expected an offset in blocks behind the @: PATH@BLOCK")
        check(
            """
            damage:
              - stray parents low:a/b
                              ^
            """,
            "'low:a/b', expected a name behind the colon: PATH:NAME")
        check(
            """
            store: catalogue
            damage:
              - stray tags low
                           ^
            """,
            "'low', expected a place in a catalogue: ITEM:TAG")
    }

    @Test func `unknown lanes and steps in the order are mistakes`() {
        check(
            """
            writers: {writer: [create a]}
            order:
              - wirter: 1
                ^
            """,
            "'wirter', expected a lane: writer, run, scanner, assistant, compare, merger or "
                + "checkpoint; did you mean writer?")
        check(
            """
            order:
              - scanner 2: 1
                        ^
            """,
            "'2', expected a number from 1 to 1: run has 1 scanners")
        check(
            """
            order:
              - run: comit
                     ^
            """,
            "'comit', expected a number of steps, prepare, replay, settle, cut, compare, compared, "
                + "plan, resume load, begin patch, begin load, drain, patch, load, refreeze, "
                + "commit, reap, mark, judge, look up or end; did you mean commit?")
        check(
            """
            order:
              - scanner: openned low
                         ^
            """,
            "'openned', expected a number of steps, `opened PLACE`, `read PLACE` or end")
        check(
            """
            order:
              - assistant: 0
                           ^
            """,
            "'0', expected steps, 1 to 1000000")
        check(
            """
            order:
              - crsh
                ^
            """,
            "'crsh', expected a turn: `LANE: STEPS`, crash, restart, stop, pause, resume, lose or "
                + "spoil; did you mean crash?")
        check(
            """
            runs: {x: {}, y: {}}
            order:
              - restart
                ^
            """,
            "'restart', expected `restart: RUN`, for there are several")
        check(
            """
            runs: {x: {}, y: {}}
            order:
              - scanner: 1
                ^
            """,
            "'scanner', expected a lane: x or y, and behind a run scanner, assistant, compare, "
                + "merger or checkpoint")
    }

    @Test func `names of lanes are unique and no lane's own word`() {
        check(
            """
            writers: {run: []}
                      ^
            """,
            "'run', expected a name that no run has")
        check(
            """
            runs: {scanner: {}}
                   ^
            """,
            "'scanner', expected the name of a run: lower-case letters, digits and hyphens, and "
                + "none of scanner, assistant, compare, merger, feed, checkpoint, crash, restart, "
                + "stop, pause, resume, lose, spoil")
        check(
            """
            run: {}
                 ^
            runs: {x: {}}
            """,
            "run beside runs, expected one of the two")
    }

    @Test func `faults name a point and a cause`() {
        let points = Fault.Point.allCases.map(\.rawValue)
        check(
            """
            faults:
              - apend batch: no space
                ^
            """,
            "'apend batch', expected a point of failure: "
                + points.dropLast().joined(separator: ", ")
                + " or \(points[points.count - 1]); did you mean append batch?")
        check(
            """
            faults:
              - reap: out of space
                      ^
            """,
            "'out of space', expected a cause: no space, no memory, i/o error or damaged")
        check(
            """
            faults:
              - reap, call 0: no space
                ^
            """,
            "'reap, call 0', expected `reap, call N` with N from 1, or `reap, every call`")
        check(
            """
            faults:
              - reap: unreadable low
                      ^
            """,
            "'unreadable', expected it as `window read: unreadable PLACE` only")
    }

    @Test func `numbers have bounds`() {
        check(
            """
            run: {scanners: 17}
                            ^
            """,
            "'17', expected scanners: a number from 1 to 16")
        check(
            """
            run: {window: -1}
                          ^
            """,
            "'-1', expected window: a number from 1 to 1099511627776")
        check(
            """
            run: {window: 99999999999999999999999999}
                          ^
            """,
            "'99999999999999999999999999', expected window: a number from 1 to 1099511627776")
        check(
            """
            expect: {applied: 3..1}
                              ^
            """,
            "'3..1', expected a number or bounds: 3, 1..3, 2..")
        check(
            """
            expect: {longest-hold: 5 s}
                                   ^
            """,
            "'5 s', expected milliseconds, more than 0: 5 ms")
    }

    @Test func `situations are known by name`() {
        check(
            """
            expect: {meets: [delta older than a window]}
                             ^
            """,
            "'delta older than a window', expected a situation of Docs/scenarios.md; did you mean "
                + "'delta older than window'?")
    }

    @Test func `what should be a list or a mapping is no scalar`() {
        check(
            """
            setup: mkdir a
                   ^
            """,
            "'mkdir a', expected a list of operations")
        check(
            """
            writers:
              a:
                ^
            """,
            "nothing, expected a list of transactions")
        check(
            """
            - store
            ^
            """,
            "a list, expected a scenario: a mapping with store, setup, damage, run, runs, writers, "
                + "faults, order or expect")
        check(
            """
            writers: {a: [[]]}
                          ^
            """,
            "an empty list, expected operations")
    }

    @Test func `mistakes of YAML have their places`() {
        check(
            """
            store: tree
            setup: [a}
                     ^
            """,
            "did not find expected ',' or ']' (while parsing a flow sequence), expected YAML")
        check(
            """
            store: tree
            ^
            store: tree
            """,
            "the key 'store' more than once, expected it once")
        check(
            """
            setup: [mkdir \u{7}]
                          ^
            """,
            "the character U+0007, expected text, or an escape in double quotes")
        check(
            """
            run: &a {}
                 ^
            """,
            "an anchor, expected none: the language has no anchors and aliases")
        check(
            """
            store: tree
            ---
            ^
            store: tree
            """,
            "but found another document (expected a single document in the stream), expected YAML")
    }

    @Test func `a small text does not become an enormous document`() {
        var text = "setup: [&a0 [x, x]"
        for level in 1...40 { text += ", &a\(level) [*a\(level - 1), *a\(level - 1)]" }
        let error = mistake(in: text + "]")
        #expect(error?.found == "an alias" && error?.line == 1)
    }

    @Test func `deep nesting is a mistake`() {
        let text = "setup: " + String(repeating: "[", count: 100_000)
        #expect(mistake(in: text)?.line == 1)
    }
}
