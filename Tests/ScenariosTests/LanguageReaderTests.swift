// What the reader makes of a file: every form of the language once.

import Testing
import Tidemark

@testable import Scenarios

private func read(_ text: String) throws -> Scenario {
    try ScenarioReader.read(text, file: "test.yaml")
}

@Suite struct LanguageReaderTests {
    @Test func `a whole scenario is read`() throws {
        let scenario = try read(
            """
            # A rename takes a name to a directory ahead.
            #
            #  Indented, it is all there.
            store: {kind: tree, blocks: 64, void-every: 3}
            setup:
              - mkdir low
              - write low/file 0 4
            damage:
              - missing parents low:file
              - wrong rmap low/file@2
            run:
              indexes: [parents, rmap]
              strategy: patch
              scanners: 2
              window: 3
              spill: 4096
              load-batch: 5
              overlay: 6
              parts: 2
              compare: 7
              patch: 8
              reap: 9
              queue: 10
              impatient: true
            writers:
              a:
                - rename low/file high
                - [unlink x, create y]
                - abort: [unlink x]
                - abort: create z
                - sync
            expect:
              outcome: repaired
              reason: words of it
              applied: 1
              elided: 1..3
              windows: 2..
              found: {parents: {missing: 1, wrong: ..2}}
              generation: {parents: 2}
              exact: false
              longest-hold: 5 ms
              meets: [window split inside a directory]
              digest: abc
            """)
        #expect(
            scenario.title
                == [
                    "A rename takes a name to a directory ahead.", "",
                    " Indented, it is all there.",
                ])
        #expect(scenario.store.blocks == 64 && scenario.store.voidEvery == 3)
        #expect(
            scenario.setup == [
                .make(.mkdir, Path(names: ["low"])),
                .map(.write, Path(names: ["low", "file"]), offset: 0, length: 4),
            ])
        #expect(
            scenario.damage == [
                Damage(
                    kind: .missing, index: "parents",
                    place: Place(path: Path(names: ["low"]), part: .entry("file"))),
                Damage(
                    kind: .wrong, index: "rmap",
                    place: Place(path: Path(names: ["low", "file"]), part: .extent(2))),
            ])
        checkRun(try #require(scenario.runs.first))
        checkWriters(scenario.writers)
        checkExpectations(scenario.expect)
    }

    private func checkRun(_ run: RunDescription) {
        var expected = RunDescription()
        expected.indexes = ["parents", "rmap"]
        expected.strategy = .patch
        expected.scanners = 2
        expected.window = 3
        expected.spill = 4096
        expected.loadBatch = 5
        expected.overlay = 6
        expected.parts = 2
        expected.compare = 7
        expected.patch = 8
        expected.reap = 9
        expected.queue = 10
        expected.isPatient = false
        #expect(run == expected)
    }

    private func checkWriters(_ writers: [Writer]) {
        let x = Path(names: ["x"])
        #expect(
            writers == [
                Writer(
                    name: "a",
                    transactions: [
                        Transaction([
                            .rename(
                                .rename, Path(names: ["low", "file"]), Path(names: ["high"]))
                        ]),
                        Transaction([.unlink(x), .make(.create, Path(names: ["y"]))]),
                        Transaction([.unlink(x)], isAborted: true),
                        Transaction([.make(.create, Path(names: ["z"]))], isAborted: true),
                        Transaction([], isSync: true),
                    ])
            ])
    }

    private func checkExpectations(_ expect: Expectations) {
        #expect(expect.run.outcomes == ["repaired"] && expect.run.reason == "words of it")
        #expect(expect.run.applied == Bounds(1, 1) && expect.run.elided == Bounds(1, 3))
        #expect(expect.run.windows == Bounds(2, .max))
        #expect(
            expect.run.found == ["parents": [.missing: Bounds(1, 1), .wrong: Bounds(0, 2)]])
        #expect(expect.run.generations == ["parents": 2])
        #expect(!expect.isExact && expect.longestHold == 5)
        #expect(expect.meets == ["window split inside a directory"] && expect.digest == "abc")
    }

    @Test func `a file without anything is the standard scenario`() throws {
        #expect(try read("") == Scenario())
        #expect(try read("# Only a title.\n").title == ["Only a title."])
    }

    @Test func `a run without a word is the standard run`() throws {
        #expect(try read("run: {}").runs == [RunDescription()])
    }

    @Test(
        arguments: [
            ("mkdir a/b", Operation.make(.mkdir, Path(names: ["a", "b"]))),
            ("create a", .make(.create, Path(names: ["a"]))),
            ("symlink a", .make(.symlink, Path(names: ["a"]))),
            ("fifo a", .make(.fifo, Path(names: ["a"]))),
            ("link a b/c", .link(Path(names: ["a"]), Path(names: ["b", "c"]))),
            ("unlink a", .unlink(Path(names: ["a"]))),
            ("rmdir a", .rmdir(Path(names: ["a"]))),
            ("move a b", .rename(.move, Path(names: ["a"]), Path(names: ["b"]))),
            ("exchange a b", .rename(.exchange, Path(names: ["a"]), Path(names: ["b"]))),
            ("allocate a 1 2", .map(.allocate, Path(names: ["a"]), offset: 1, length: 2)),
            ("punch a 1 2", .map(.punch, Path(names: ["a"]), offset: 1, length: 2)),
            ("zero a 1 2", .map(.zero, Path(names: ["a"]), offset: 1, length: 2)),
            ("truncate a 3", .truncate(Path(names: ["a"]), 3)),
            ("open a", .open(Path(names: ["a"]))), ("close a", .close(Path(names: ["a"]))),
            ("chmod / 1755", .chmod(Path(names: []), 0o1755)),
            ("close #17", .close(Path(base: 17, names: []))),
            ("unlink #17/b/c", .unlink(Path(base: 17, names: ["b", "c"]))),
            ("unlink 'a b'", .unlink(Path(names: ["a b"]))),
            ("unlink a/'it''s:@#'", .unlink(Path(names: ["a", "it's:@#"]))),
            ("unlink '#17'", .unlink(Path(names: ["#17"]))),
            ("  unlink\t ü ", .unlink(Path(names: ["ü"]))),
        ])
    func `each operation of a tree is read`(text: String, operation: Operation) throws {
        #expect(try read("setup: [\"\(escaped(text))\"]").setup == [operation])
    }

    private func escaped(_ text: String) -> String {
        text.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"")
    }

    @Test func `operations of a catalogue are read`() throws {
        let scenario = try read(
            """
            store: catalogue
            setup: [set 17 red 4294967295, remove 0 'a b']
            damage: [stray tags 3:'a:b', wrong weights 4:c]
            """)
        #expect(
            scenario.setup
                == [.set(item: 17, tag: "red", weight: .max), .remove(item: 0, tag: "a b")])
        #expect(
            scenario.damage.map(\.place.part)
                == [.tagging(item: 3, tag: "a:b"), .tagging(item: 4, tag: "c")])
    }

    @Test func `faults are read`() throws {
        let scenario = try read(
            """
            faults:
              - append batch, call 2: no space
              - side file append: no memory
              - reap, every call: i/o error
              - window read: unreadable low:file
            """)
        let place = Place(path: Path(names: ["low"]), part: .entry("file"))
        #expect(
            scenario.faults == [
                Fault(.appendBatch, call: 2, cause: .noSpace),
                Fault(.sideFileAppend, cause: .noMemory), Fault(.reap, call: 0, cause: .ioError),
                Fault(.windowRead, call: 0, cause: .damaged, unreadable: place),
            ])
    }

    @Test func `turns are read, with their lines`() throws {
        let scenario = try read(
            """
            run: {scanners: 2, parts: 2}
            writers: {a: [create x]}
            order:
              - run: begin load
              - run: end
              - scanner: opened low
              - scanner 2: read low/file@3
              - scanner 2: 3
              - scanner: end
              - a: 1
              - a: begin
              - assistant: all
              - assistant: spill
              - compare 2: end
              - merger: 1
              - crash
              - crash: machine
              - restart
            """)
        let low = Place(path: Path(names: ["low"]))
        let extent = Place(path: Path(names: ["low", "file"]), part: .extent(3))
        let expected: [(Turn.Lane, Turn.Until)] = [
            (.coordinator(run: "run"), .step("begin load")), (.coordinator(run: "run"), .end),
            (.scanner(run: "run", number: 1), .opened(low)),
            (.scanner(run: "run", number: 2), .read(extent)),
            (.scanner(run: "run", number: 2), .steps(3)),
            (.scanner(run: "run", number: 1), .end), (.writer("a"), .steps(1)),
            (.writer("a"), .step("begin")), (.assistant(run: "run"), .end),
            (.assistant(run: "run"), .step("spill")), (.compare(run: "run", number: 2), .end),
            (.merger(run: "run"), .steps(1)), (.crash(isMachine: false), .steps(1)),
            (.crash(isMachine: true), .steps(1)), (.restart(run: "run"), .steps(1)),
        ]
        #expect(
            scenario.order == expected.enumerated().map { Turn($1.0, $1.1, line: $0 + 4) })
    }

    @Test func `lanes of several runs bear their names`() throws {
        let scenario = try read(
            """
            runs:
              x: {indexes: rmap, scanners: 2}
              y: {indexes: parents, expect: {outcome: [aborted, clean]}}
            order:
              - x: prepare
              - x scanner 2: 1
              - y scanner: 1
              - y assistant: all
              - x compare: 1
              - x merger: 1
              - restart: y
            """)
        #expect(scenario.runs.map(\.name) == ["x", "y"])
        #expect(scenario.runs[1].expect?.outcomes == ["aborted", "clean"])
        #expect(
            scenario.order.map(\.lane) == [
                .coordinator(run: "x"), .scanner(run: "x", number: 2),
                .scanner(run: "y", number: 1), .assistant(run: "y"),
                .compare(run: "x", number: 1), .merger(run: "x"), .restart(run: "y"),
            ])
    }
}
