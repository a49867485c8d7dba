// The side files of runs, in `runs/`: `run-N.mdb` with `run-N.checkpoint` belong to run N.
// Whoever opens the volume for writing, and so has it alone, removes those that no run can go
// on from.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

enum SideFiles {
    static func path(_ folder: String, run: UInt64) -> String { "\(folder)/run-\(run).mdb" }

    /// Removes the side files in the folder but those of `runs`. One that can't be removed is no
    /// harm.
    static func removeAll(in folder: String, except runs: [UInt64]) {
        let kept = runs.map { "run-\($0)." }
        guard let directory = unsafe opendir(folder.hostPath) else { return }
        defer { unsafe closedir(directory) }
        while let entry = unsafe readdir(directory) {
            let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
                unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) {
                    unsafe String(hostPath: $0)
                }
            }
            guard name.hasPrefix("run-"), !kept.contains(where: { name.hasPrefix($0) }) else {
                continue
            }
            unsafe unlinkat(dirfd(directory), name.hostPath, 0)
        }
    }
}
