// Whole files, and folders of them, by the paths that a user gave.

internal import Bytes
#if canImport(Glibc)
internal import Glibc
#endif

extension HostFile {
    /// What the file `path` holds.
    public static func contents(path: String) throws(HostError) -> [UInt8] {
        let descriptor = unsafe Glibc.open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw HostError("open") }
        let file = HostFile(descriptor: descriptor)
        var whole: [UInt8] = []
        while true {
            let part = try file.read(1 << 16, at: UInt64(whole.count))
            whole += part
            if part.count < 1 << 16 { return whole }
        }
    }

    /// The files below the folder `path` whose names end in `suffix`, in the order of their names;
    /// nil: it is no folder. No symbolic link is followed.
    public static func files(
        below path: String, endingIn suffix: String
    ) throws(HostError) -> [String]? {
        let folder: HostFile
        do throws(HostError) {
            folder = try directory(path: path)
        } catch {
            guard error.errno == ENOTDIR || error.errno == ENOENT else { throw error }
            return nil
        }
        var found: [String] = []
        try folder.find(Array(suffix.utf8), path, &found)
        return found.sorted()
    }

    private borrowing func find(
        _ suffix: [UInt8], _ path: String, _ found: inout [String]
    ) throws(HostError) {
        for name in try names() {
            let whole = path + "/" + String(hostPath: name)
            if try status(of: name).type == .directory {
                try open(name, for: .directory).find(suffix, whole, &found)
            } else if name.suffix(suffix.count).elementsEqual(suffix) {
                found.append(whole)
            }
        }
    }
}
