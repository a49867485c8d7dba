// The side files of runs, in `runs/`: `run-N.mdb` with `run-N.checkpoint` belong to run N.
// Whoever opens the volume for writing, and so has it alone, removes those that no run can go
// on from.

internal import Foundation

enum SideFiles {
    static func path(_ folder: String, run: UInt64) -> String { "\(folder)/run-\(run).mdb" }

    /// Removes the side files in the folder but those of `runs`. One that can't be removed is no
    /// harm.
    static func removeAll(in folder: String, except runs: [UInt64]) {
        let kept = runs.map { "run-\($0)." }
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names
        where name.hasPrefix("run-") && !kept.contains(where: { name.hasPrefix($0) }) {
            try? FileManager.default.removeItem(atPath: folder + "/" + name)
        }
    }
}
