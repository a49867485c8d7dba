// The place where a volume is mounted: looked at before, and let go of after.

internal import Bytes
internal import CFUSE
#if canImport(Glibc)
internal import Glibc
#endif

/// One line of `/proc/self/mountinfo`.
public struct Mount: Hashable, Sendable {
    public let mountPoint: String
    public let type: String
    /// For a volume: its directory.
    public let source: String

    public var isVolume: Bool { type == Mount.volumeType }
    static let volumeType = "fuse.tidemark"
}

public enum MountPoint {
    /// The newest mount whose mount point is exactly `path`.
    public static func mount(at path: String) -> Mount? {
        let path = resolved(path)
        return mounts().last { $0.mountPoint == path }
    }

    /// Sees that the volume in the directory `volume` can be mounted on `path`, and clears away the
    /// mount of a server that has died.
    /// - Returns: the path without symbolic links.
    static func prepare(_ path: String, for volume: String) throws(MountError) -> String {
        try checkDevice()
        var status = stat()
        var code = unsafe stat(path.hostPath, &status) == 0 ? 0 : errno
        let place = resolved(path)
        while let dead = mount(at: place), dead.isVolume, isDead(place) {
            try detach(place)
            code = unsafe stat(place.hostPath, &status) == 0 ? 0 : errno
        }
        if code == ENOENT { throw .missing(path) }
        guard code == 0 else { throw .system(operation: "look at", object: path, errno: code) }
        guard status.st_mode & S_IFMT == S_IFDIR else { throw .notDirectory(path) }
        if let other = mount(at: place) {
            throw .inUse(place, by: "\(other.source) (\(other.type))")
        }
        guard !(resolved(volume) + "/").hasPrefix(place == "/" ? place : place + "/") else {
            throw .hidesVolume(place, volume: volume)
        }
        return place
    }

    /// Whether nobody serves the mount. Its attributes may be remembered: statfs(2) always asks.
    private static func isDead(_ path: String) -> Bool {
        var statistics = statvfs()
        return unsafe statvfs(path.hostPath, &statistics) != 0 && errno == ENOTCONN
    }

    private static func checkDevice() throws(MountError) {
        let file = unsafe open("/dev/fuse", O_RDWR | O_CLOEXEC)
        let number = errno
        guard file < 0 else {
            Glibc.close(file)
            return
        }
        switch number {
        case ENOENT:
            // Without udev a node may be missing while the driver is loaded, and vice versa.
            if kernelHasFUSE() == false { throw .moduleNotLoaded(why: systemText(number)) }
            throw .noDeviceNode
        case ENODEV, ENXIO: throw .moduleNotLoaded(why: systemText(number))
        case EACCES, EPERM: throw .noDevicePermission(why: systemText(number))
        default: throw .system(operation: "open", object: "/dev/fuse", errno: number)
        }
    }

    /// Whether a driver for FUSE is loaded; nil if the kernel does not tell.
    private static func kernelHasFUSE() -> Bool? {
        let text = String(decoding: readWhole("/proc/filesystems"), as: UTF8.self)
        guard !text.isEmpty else { return nil }
        return text.split(whereSeparator: \.isWhitespace).contains("fuse")
    }

    // MARK: Unmounting

    /// Ends a mount after the kernel has written out all that it caches.
    /// - Throws: `busy` where programs use it.
    public static func unmount(_ path: String) throws(MountError) {
        guard geteuid() == 0 else { return try runHelper(["-u", path], path) }
        guard unsafe umount2(path.hostPath, 0) != 0 else { return }
        let number = errno
        switch number {
        case EBUSY: throw .busy(path)
        case EINVAL, ENOENT: throw .notMounted(path)
        default: throw .system(operation: "unmount", object: path, errno: number)
        }
    }

    /// Ends a mount that is in use: what the kernel caches is written out first, what programs
    /// do after that fails.
    /// - Returns: whether the kernel has severed it, as root is allowed to have it; if not, its
    ///   server has to leave it.
    public static func cutOff(_ path: String) throws(MountError) -> Bool {
        let file = unsafe open(path.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        if file >= 0 {
            _ = fuse_shim_syncfs(file)
            Glibc.close(file)
        }
        // Forced, it severs the connection, which ends the workers, and then finds it in use.
        let isSevered = geteuid() == 0
        if isSevered { _ = unsafe umount2(path.hostPath, Int32(MNT_FORCE)) }
        try detach(path)
        return isSevered
    }

    /// Takes the mount out of the tree of names, whatever uses it.
    private static func detach(_ path: String) throws(MountError) {
        guard geteuid() == 0 else { return try runHelper(["-u", "-z", path], path) }
        guard unsafe umount2(path.hostPath, Int32(MNT_DETACH)) == 0 || errno == EINVAL else {
            throw .system(operation: "detach", object: path, errno: errno)
        }
    }

    /// fusermount3(1), which may unmount for those who mounted.
    private static func runHelper(_ words: [String], _ path: String) throws(MountError) {
        var copies = unsafe (["fusermount3"] + words).map { unsafe strdup($0.hostPath) }
        defer { unsafe copies.forEach { unsafe free($0) } }
        unsafe copies.append(nil)
        var child: pid_t = 0
        let code = unsafe posix_spawnp(&child, "fusermount3", nil, nil, copies, environ)
        guard code == 0 else {
            throw .system(operation: "run", object: "fusermount3", errno: code)
        }
        var status: Int32 = 0
        while unsafe waitpid(child, &status, 0) < 0, errno == EINTR {}
        guard status == 0 else { throw .busy(path) }
    }

    // MARK: What is mounted

    /// `path` without symbolic links, as far as it can be followed: a mount whose server has
    /// died can't be looked into, but the way to it can.
    private static func resolved(_ path: String) -> String {
        if let whole = unsafe realpath(path.hostPath, nil) {
            defer { unsafe free(whole) }
            return unsafe String(hostPath: whole)
        }
        var parts = path.split(separator: "/", omittingEmptySubsequences: true)
        guard let last = parts.popLast() else { return path }
        let way = (path.hasPrefix("/") ? "/" : "") + parts.joined(separator: "/")
        let folder = way.isEmpty ? "." : way
        guard let parent = unsafe realpath(folder.hostPath, nil) else { return path }
        defer { unsafe free(parent) }
        let base = unsafe String(hostPath: parent)
        return (base == "/" ? "" : base) + "/" + last
    }

    static func mounts() -> [Mount] {
        readWhole("/proc/self/mountinfo").split(separator: UInt8(ascii: "\n")).compactMap { line in
            let words = line.split(separator: UInt8(ascii: " "))
            guard words.count > 8, let dash = words[6...].firstIndex(of: [UInt8(ascii: "-")]),
                dash + 2 < words.count
            else { return nil }
            return Mount(
                mountPoint: unescaped(words[4]), type: unescaped(words[dash + 1]),
                source: unescaped(words[dash + 2]))
        }
    }

    /// Blanks and backslashes stand there as `\\ooo`.
    private static func unescaped(_ word: ArraySlice<UInt8>) -> String {
        var bytes: [UInt8] = []
        var index = word.startIndex
        while index < word.endIndex {
            let digits = word[min(index + 1, word.endIndex)..<min(index + 4, word.endIndex)]
            if word[index] == UInt8(ascii: "\\"), digits.count == 3,
                let value = UInt8(String(decoding: digits, as: UTF8.self), radix: 8)
            {
                bytes.append(value)
                index += 4
            } else {
                bytes.append(word[index])
                index += 1
            }
        }
        return String(hostPath: bytes)
    }

    private static func readWhole(_ path: String) -> [UInt8] {
        let file = unsafe open(path.hostPath, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return [] }
        defer { Glibc.close(file) }
        var all: [UInt8] = []
        var part = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = unsafe part.withUnsafeMutableBytes {
                unsafe read(file, $0.baseAddress, $0.count)
            }
            guard count > 0 else { return all }
            all += part[0..<count]
        }
    }
}
