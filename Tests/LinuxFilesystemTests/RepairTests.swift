// Plans, and their execution by a kernel that does as the test says.

import Bytes
import Foundation
import LinuxFilesystem
import TestSupport
import Testing
import Tidemark

@testable import LinuxOwner

/// Answers from a list, and remembers what it was asked.
final class ScriptedKernel: RepairKernel {
    enum Reply {
        case answer(ScrubAnswer)
        case failure(Int32)
    }

    var replies: [Reply]
    private(set) var asked: [ScrubRequest] = []

    init(_ replies: [Reply] = []) { self.replies = replies }

    func perform(_ request: ScrubRequest) throws(LinuxCallError) -> ScrubAnswer {
        asked.append(request)
        guard !replies.isEmpty else { return [] }
        switch replies.removeFirst() {
        case .answer(let answer): return answer
        case .failure(let number):
            throw LinuxCallError("XFS_IOC_SCRUB_METADATA", request.label, .failed(number))
        }
    }
}

@Suite(.temporaryDirectory) struct RepairTests {
    static func verdict(
        _ object: String, _ remedy: RepairItem?, _ belief: RepairVerdict.Belief = .primary,
        index: String? = nil, loss: String? = nil, group: UInt32 = 0, inodes: [UInt64] = [5]
    ) -> RepairVerdict {
        let kind =
            switch remedy {
            case .reverseMap: "rmap"
            case .linkCounts: "links"
            case .parents: "parents"
            case .counters, nil: "rmap"
            }
        var verdict = RepairVerdict(
            index ?? kind, object, belief, "", inodes: inodes, remedy: remedy, loss: loss)
        verdict.group = verdict.index == "rmap" ? group : nil
        return verdict
    }

    static let five = [
        verdict("inode 262461", .linkCounts),
        verdict("inode 815", .parents(inode: 815, generation: 1), inodes: [815]),
        verdict("block 20867", .reverseMap(group: 1), group: 1),
        verdict("inode 275", .parents(inode: 275, generation: 2), inodes: [275]),
        verdict("block 72", .reverseMap(group: 0)),
        verdict("block 73", .reverseMap(group: 0)),
    ]

    @Test func `reverse maps come first and by force, then parents, then link counts`() {
        let plan = RepairPlan(Self.five)
        #expect(
            plan.steps.map(\.item) == [
                .reverseMap(group: 0), .reverseMap(group: 1),
                .parents(inode: 275, generation: 2), .parents(inode: 815, generation: 1),
                .linkCounts,
            ])
        #expect(plan.steps.map(\.isForced) == [true, true, true, true, false])
        #expect(plan.steps[0].verdicts == [4, 5])
        #expect(plan.due.count == 5)
    }

    @Test func `no plan rebuilds a directory or an extent map`() {
        let kinds = Set(RepairPlan(Self.five).steps.map(\.request.type))
        #expect(kinds == [.reverseMap, .parents, .linkCounts])
    }

    @Test func `a group with a verdict that is not proven waits, and is done when asked for`() {
        let verdicts = [
            Self.verdict("block 1", .reverseMap(group: 0)),
            Self.verdict("block 2", .reverseMap(group: 0), .secondary, loss: "the only record"),
            Self.verdict("block 1001", .reverseMap(group: 1), group: 1, inodes: [6]),
            Self.verdict("inode 5", .parents(inode: 5, generation: 1)),
            Self.verdict("inode 6", .parents(inode: 6, generation: 1), inodes: [6]),
        ]
        let plan = RepairPlan(verdicts)
        #expect(plan.steps.map { $0.held == nil } == [false, true, false, true])
        #expect(plan.steps[0].waitsForUser)
        let asked = RepairPlan(verdicts, believesFiles: true)
        #expect(asked.due.map(\.item.rank) == [0, 0, 1, 1, 3])
        #expect(asked.due.last?.item == .counters)
    }

    @Test(arguments: [RepairVerdict.Belief.secondary, .unsettled])
    func `what no rebuild mends holds its group, also when asked`(belief: RepairVerdict.Belief) {
        let plan = RepairPlan(
            [
                Self.verdict("block 1", .reverseMap(group: 0)),
                Self.verdict("block 2", nil, belief),
            ], believesFiles: true)
        #expect(plan.due.isEmpty)
        #expect(plan.steps.allSatisfy { !$0.waitsForUser })
    }

    @Test func `link counts wait for every name that is not proven`() {
        let plan = RepairPlan([
            Self.verdict("inode 7", .linkCounts),
            Self.verdict("inode 8", nil, .secondary, index: "parents"),
        ])
        #expect(plan.due.isEmpty)
    }

    // MARK: Execution

    static func run(
        _ kernel: ScriptedKernel, isStopped: @escaping () -> Bool = { false },
        left: @escaping (RepairStep) -> [String] = { _ in [] }
    ) throws -> [RepairResult] {
        try RepairExecution(kernel: kernel, isStopped: isStopped, wait: { _ in }, recheck: left)
            .run(RepairPlan(five))
    }

    @Test func `each step is asked for once, and looked at behind`() throws {
        let kernel = ScriptedKernel([.answer([]), .answer(.wasRight)])
        var seen: [RepairItem] = []
        let results = try Self.run(kernel, left: { step in
            seen.append(step.item)
            #expect(kernel.asked.count == seen.count)
            return []
        })
        #expect(results.map(\.state) == [.mended, .needless, .mended, .mended, .mended])
        #expect(kernel.asked.map(\.action) == [.rebuild, .rebuild, .rebuild, .rebuild, .repair])
        #expect(seen.count == 5)
    }

    @Test(arguments: [
        ScrubAnswer.corrupt, .disagrees, .notCompared, [.corrupt, .disagrees],
    ])
    func `a complaint of the kernel ends the repair`(answer: ScrubAnswer) throws {
        let kernel = ScriptedKernel([.answer([]), .answer(answer)])
        let results = try Self.run(kernel)
        #expect(
            results.map(\.state) == [.mended, .failed, .notReached, .notReached, .notReached])
        #expect(kernel.asked.count == 2)
    }

    @Test func `what is not mended though the kernel says so ends the repair`() throws {
        let kernel = ScriptedKernel()
        let results = try Self.run(
            kernel,
            left: { $0.item == .reverseMap(group: 1) ? ["block 20867 is still mapped"] : [] })
        #expect(
            results.map(\.state) == [.mended, .failed, .notReached, .notReached, .notReached])
        #expect(results[1].reason?.contains("20867") == true)
    }

    @Test(arguments: [
        (EOPNOTSUPP, ScrubRefusal.notSupported), (ENOSPC, .noRoom), (EROFS, .readOnly),
        (EUCLEAN, .damaged), (ENOENT, .noObject), (EIO, .shutDown), (EPERM, .forbidden),
        (EINVAL, .other),
    ])
    func `an error of the kernel ends the repair and says what to do`(
        number: Int32, refusal: ScrubRefusal
    ) throws {
        let kernel = ScriptedKernel([.failure(number)])
        let results = try Self.run(kernel)
        #expect(results[0].state == .failed)
        #expect(results[0].refusal == refusal)
        #expect(results[0].reason?.isEmpty == false)
        #expect(kernel.asked.count == 1)
    }

    @Test func `what others hold up is asked for again, but not for ever`() throws {
        let passing = ScriptedKernel([
            .failure(EBUSY), .failure(EINTR), .answer(.incomplete), .answer([]),
        ])
        #expect(try Self.run(passing).allSatisfy { $0.state == .mended })
        #expect(passing.asked.count == 8)
        let endless = ScriptedKernel(
            Array(repeating: .failure(EBUSY), count: RepairExecution.attempts + 1))
        let results = try Self.run(endless)
        #expect(results[0].refusal == .busy)
        #expect(endless.asked.count == RepairExecution.attempts)
    }

    @Test func `a stop lets the step at work end, and begins none`() throws {
        let kernel = ScriptedKernel()
        let results = try Self.run(kernel, isStopped: { kernel.asked.count >= 2 })
        #expect(
            results.map(\.state) == [.mended, .mended, .notReached, .notReached, .notReached])
    }

    // MARK: Repairs that start by themselves

    @Test func `a repair that starts by itself is warned of, a check is not`() {
        func lines(
            _ property: String?, _ units: [String] = [], _ programs: [String] = []
        ) -> [String] {
            AutomaticRepair(property: property, units: units, programs: programs)
                .warnings(on: "/srv")
        }
        #expect(lines(nil).isEmpty)
        #expect(lines("check", ["xfs_scrub_all.timer"]).isEmpty)
        #expect(lines("optimize", ["xfs_healer_start.service"]).isEmpty)
        #expect(lines("repair").count == 1)
        #expect(lines("repair")[0].contains("xfs_property /srv set autofsck=check"))
        #expect(lines("repair", ["xfs_scrub_all.timer"]).count == 2)
        #expect(lines(nil, [], ["xfs_scrub (process 7)"]).count == 1)
    }

    @Test func `units that are enabled and programs at work are found`() throws {
        let place = try temporaryDirectory()
        let files = FileManager.default
        let wants = place + "/etc/systemd/system/timers.target.wants"
        try files.createDirectory(atPath: wants, withIntermediateDirectories: true)
        for unit in ["xfs_scrub_all.timer", "fstrim.timer", "xfs_healer@srv.service"] {
            try files.createSymbolicLink(
                atPath: "\(wants)/\(unit)", withDestinationPath: "/usr/lib/systemd/system/\(unit)")
        }
        #expect(
            AutomaticRepair.units(place) == ["xfs_healer@srv.service", "xfs_scrub_all.timer"])
        for (process, line) in [
            (7, "/usr/sbin/xfs_scrub\0-b\0/srv\0"), (8, "xfs_scrub\0-n\0/srv\0"),
            (9, "bash\0-c\0xfs_scrub\0"),
        ] {
            try files.createDirectory(
                atPath: "\(place)/proc/\(process)", withIntermediateDirectories: true)
            try Data(line.utf8).write(
                to: URL(fileURLWithPath: "\(place)/proc/\(process)/cmdline"))
        }
        #expect(AutomaticRepair.programs(place + "/proc") == ["xfs_scrub (process 7)"])
        #expect(AutomaticRepair.units(place + "/nothing") == [])
    }
}

@Suite(
    .enabled(
        if: LiveMachine.canTrace,
        LiveMachine.xfs ?? "the kernel lets this process have no instance of its tracer"))
struct LiveRepairTests {
    static func repair(_ path: String, _ kernel: (any RepairKernel)? = nil) -> XFSRepair {
        XFSRepair(path: path, kernel: kernel) { MemoryStore() }
    }

    @Test func `the five lies are judged, and the plan is the one that loses nothing`() throws {
        try LiveMachine.withMounted(.damaged) { path in
            let report = try Self.repair(path).perform(isDryRun: true)
            #expect(
                report.plan.verdicts.map(\.object) == [
                    "block 72", "block 20867", "inode 275", "inode 815", "inode 262461",
                ])
            #expect(report.plan.verdicts.allSatisfy { $0.belief == .primary })
            let kinds = report.plan.due.map(\.item.rank)
            #expect(kinds == [0, 0, 1, 1, 2])
            #expect(report.results.isEmpty)
            switch report.ability {
            case .repairs: #expect(report.outcome == .planned)
            case .none, .checks:
                let advice = try #require(report.advice)
                #expect(report.outcome == .advice)
                #expect(advice.commands.first == "umount \(path)")
                #expect(advice.commands.contains { $0.hasPrefix("xfs_repair /dev/") })
                #expect(advice.seconds > 0)
                #expect(advice.paths.contains("/dir003/dir005/dir013/file-00437"))
            }
        }
    }

    @Test func `a kernel that says it has mended what it has not is found out at the first step`()
        throws
    {
        try LiveMachine.withMounted(.damaged) { path in
            let kernel = ScriptedKernel()
            let report = try Self.repair(path, kernel).perform(isDryRun: false)
            #expect(kernel.asked == [ScrubRequest(.reverseMap, .group(0), .rebuild)])
            #expect(report.outcome == .stopped)
            #expect(report.surprise?.contains("block 72") == true)
            #expect(report.recheck == nil)
        }
    }

    @Test func `a clean filesystem is left alone`() throws {
        try LiveMachine.withMounted(.clean) { path in
            let kernel = ScriptedKernel()
            let report = try Self.repair(path, kernel).perform(isDryRun: false)
            #expect(report.outcome == .clean)
            #expect(kernel.asked.isEmpty)
        }
    }

    @Test func `a candidate that is right when it is looked at again is withdrawn`() throws {
        try LiveMachine.withMounted(.clean) { path in
            let owner = try XFSOwner(path: path)
            let key = MappingKey(block: 72, owner: 139, fork: 0, offset: 0).bytes
            let judged = try owner.judge(
                [
                    Discrepancy(
                        index: IndexSlot(0), kind: .missing, key: key.span.array, found: nil,
                        expected: [0])
                ], [])
            #expect(judged.verdicts.isEmpty)
            #expect(judged.withdrawn == ["block 72"])
        }
    }

    /// It has no name, and bulkstat tells of it as long as it is open.
    @Test func `mappings of a file that is removed and open are no findings`() throws {
        try LiveMachine.withMounted(.clean) { path in
            let file = open(path + "/gone", O_RDWR | O_CREAT, 0o600)
            try #require(file >= 0)
            defer { close(file) }
            let bytes = [UInt8](repeating: 7, count: 8192)
            #expect(write(file, bytes, bytes.count) == bytes.count)
            fsync(file)
            var status = stat()
            #expect(fstat(file, &status) == 0)
            let owner = try XFSOwner(path: path)
            let found = try OwnerTests.mappings(of: UInt64(status.st_ino), in: owner)
            let key = try #require(found.first)
            unlink(path + "/gone")
            let judged = try owner.judge(
                [
                    Discrepancy(
                        index: IndexSlot(0), kind: .stray, key: key, found: [0], expected: nil)
                ], [], wait: { _ in })
            #expect(judged.verdicts.isEmpty)
            #expect(judged.withdrawn.count == 1)
        }
    }
}

extension OwnerTests {
    /// Keys of the reverse map that name `inode`.
    static func mappings(of inode: UInt64, in owner: XFSOwner) throws -> [[UInt8]] {
        try served(owner, 0, limit: 5000).keys.filter { bytes in
            MappingKey(bytes.rawSpan)?.owner == inode
        }
    }
}
