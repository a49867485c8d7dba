// `stress --record`: what happened, as a scenario that replays to the same end.

import Foundation
import TestSupport
import Testing

@Suite struct RecordTests {
    @Test(arguments: [["--index", "rmap"], ["--index", "parents", "--index", "rmap"], []])
    func `a recorded stress replays to the same end`(indexes: [String]) throws {
        try withVolume(files: 60) { volume in
            let file = volume + ".yaml"
            defer { try? FileManager.default.removeItem(atPath: file) }
            let command = ["stress", volume, "--seconds", "0.1", "--writers", "2", "--seed", "5"]
            let stressed = try run(command + ["--json", "--record", file] + indexes)
            #expect(stressed.status == 0, "\(stressed.output)\(stressed.errors)")
            try expectVerified(volume)
            let replayed = try run("replay", file)
            #expect(replayed.status == 0, "\(replayed.output)\(replayed.errors)")
            #expect(replayed.output.contains("1 passed, 0 failed"))
        }
    }

    @Test func `a recording that can't be made says why`() throws {
        try withVolume(files: 5) { volume in
            let common = ["stress", volume, "--seconds", "0.1", "--record"]
            let nowhere = try run(common + [volume + "/none/file.yaml"])
            #expect(nowhere.status == 4)
            #expect(nowhere.errors.contains("can't be written"))
            let damaging = try run(common + ["x.yaml", "--index", "rmap", "--damage", "3"])
            #expect(damaging.status == 8)
        }
    }
}
