// What runs leave in `runs/` when their process is killed. No run goes on after its process,
// so whoever opens the volume for writing, and so has it alone, removes it.

internal import Foundation

enum SideFiles {
    /// Removes the side files in the folder. One that can't be removed is no harm.
    static func removeAll(in folder: String) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        for name in names where name.hasPrefix("run-") {
            try? FileManager.default.removeItem(atPath: folder + "/" + name)
        }
    }
}
