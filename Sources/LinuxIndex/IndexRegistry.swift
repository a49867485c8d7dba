// Where a server says which index it keeps, so that a question can be asked of a mount point: a
// symbolic link to the index file for each device, in a directory that only root writes to.
//
// It is a hint, and not believed: an index that is found there answers only where its lock is held
// and it is of the same device. A server holds its filesystem open, so that no other one has the
// number of the device meanwhile.

internal import Bytes
internal import LinuxFilesystem
#if canImport(Glibc)
internal import Glibc
#endif

package enum IndexRegistry {
    package static let folder = "/run/tidemark"
    private static let prefix = "index-"

    private static func link(_ mount: MountedFilesystem) -> String {
        "\(folder)/\(prefix)\(mount.major):\(mount.minor)"
    }

    /// Says that `index`, whose lock is held, is of `mount`.
    /// - Returns: false where it can't be said.
    static func announce(_ index: String, of mount: MountedFilesystem) -> Bool {
        _ = unsafe mkdir(folder, 0o755)
        removeStale()
        let made = "\(folder)/.\(getpid())-\(mount.major):\(mount.minor)"
        unsafe unlink(made)
        guard unsafe symlink(index.hostPath, made) == 0 else { return false }
        guard unsafe rename(made, link(mount)) == 0 else {
            unsafe unlink(made)
            return false
        }
        return true
    }

    /// Takes back what `announce` has said.
    static func withdraw(_ index: String, of mount: MountedFilesystem) {
        if target(of: link(mount)) == index { unsafe unlink(link(mount)) }
    }

    /// The index that a server keeps of what `path` is mounted on; nil where there is none.
    package static func index(of path: String) throws -> String? {
        let mount: MountedFilesystem
        do throws(LinuxCallError) {
            mount = try MountedFilesystem(path: path)
        } catch {
            throw IndexFileError(path, .failed("\(error)"))
        }
        guard let index = target(of: link(mount)), FileLock.isHeld(index),
            let header = try IndexFile.openForReading(index).snapshot().header,
            header.major == mount.major, header.minor == mount.minor
        else { return nil }
        return index
    }

    /// What servers that were killed have left.
    private static func removeStale() {
        for name in names(in: folder) where name.hasPrefix(prefix) {
            let link = "\(folder)/\(name)"
            if let index = target(of: link), !FileLock.isHeld(index) { unsafe unlink(link) }
        }
    }
}

/// What the symbolic link `path` holds; nil where it is none.
func target(of path: String) -> String? {
    var target = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe target.withUnsafeMutableBytes {
        unsafe readlink(
            path.hostPath, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    return count > 0 ? String(hostPath: target.prefix(count)) : nil
}
