// Damage of all kinds at once, of a volume that nobody uses meanwhile: what a seed does it does
// again. What was not hit is as it was.

import Foundation
import Scrub
import TestSupport
import Testing
import Tidemark
import Volume
import VolumeFormat
import VolumeVerify

@Suite(.temporaryDirectory) struct ScrubMixedTests {
    /// TIDEMARK_SEEDS=N for more.
    static let seeds = 1...(ProcessInfo.processInfo.environment["TIDEMARK_SEEDS"]
        .flatMap(UInt64.init) ?? 6)

    @Test(arguments: seeds)
    func `what damage of all kinds did not hit is as it was`(_ seed: UInt64) throws {
        let fixture = try ScrubVolume(in: temporaryDirectory(), directories: 10, files: 6)
        var log: [String] = []
        var observer = ScrubObserver()
        observer.onMend = { log.append("\($0): \($1.outcome): \($1.what)") }
        try fixture.withVolume { volume in
            let before = try ScrubVolume.nodes(volume)
            let done = try volume.damageMixed(count: 66, seed: seed)
            #expect(done.count >= 60)
            let hit = Set(done.map(\.inode))
            log += done.map { "\($0.kind): \($0.inode)" }
            let report = try ScrubVolume.scrub(volume, ScrubOptions(), observer)
            #expect(
                report.outcome == .repaired,
                "SEED=\(seed) \((report.lines("", isVerbose: true) + log).joined(separator: "\n"))")
            let after = try ScrubVolume.nodes(volume)
            let lost = before.filter { path, was in
                guard !hit.contains(was.inode) else { return false }
                return after[path]?.inode != was.inode || after[path]?.text != was.text
            }
            #expect(lost.isEmpty, "SEED=\(seed) \(lost)\n\(log.joined(separator: "\n"))")
        }
        let witness = try fixture.verify()
        #expect(witness.isClean, "SEED=\(seed) \(witness.examples)")
    }
}
