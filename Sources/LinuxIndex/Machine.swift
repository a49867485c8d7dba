// What the system says of devices, boots, mounts and time.

internal import LinuxFilesystem
internal import Threads
#if canImport(Glibc)
internal import Glibc
#endif

func deviceNumber(_ device: dev_t) -> (UInt32, UInt32) {
    // gnu_dev_major(3), gnu_dev_minor(3).
    let number = UInt64(device)
    return (
        UInt32(truncatingIfNeeded: (number >> 8 & 0xfff) | (number >> 32 & 0xffff_f000)),
        UInt32(truncatingIfNeeded: (number & 0xff) | (number >> 12 & 0xffff_ff00))
    )
}

/// The kernel's name of this boot.
func bootIdentity() -> String {
    String((text(of: "boot_id", in: "/proc/sys/kernel/random") ?? "").prefix { $0 != "\n" })
}

/// The number of the mount that the directory is open in; 0 where the system does not say.
func mountNumber(_ mount: MountedFilesystem) -> UInt64 {
    let text = text(of: "\(mount.root.number)", in: "/proc/self/fdinfo") ?? ""
    for line in text.split(separator: "\n") where line.hasPrefix("mnt_id:") {
        return UInt64(line.dropFirst(7).drop { $0 == "\t" || $0 == " " }) ?? 0
    }
    return 0
}

/// A time of CLOCK_MONOTONIC, in nanoseconds since 1970.
func wallClock(of monotonic: UInt64) -> UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_REALTIME, &time)
    let now = UInt64(clamping: time.tv_sec) &* 1_000_000_000 &+ UInt64(clamping: time.tv_nsec)
    let age = monotonicNanoseconds()
    return now &- (age > monotonic ? age - monotonic : 0)
}

/// What sysfs says of a block device.
struct BlockDevice {
    /// The kernel's name, and that of the disk that it is a part of, or it itself.
    var name = "", disk = ""
    /// Where it begins on the disk, in sectors of 512 bytes; nil: it lies on other devices.
    var start: UInt64?

    init(major: UInt32, minor: UInt32) {
        let path = "/sys/dev/block/\(major):\(minor)"
        guard let link = unsafe realpath(path, nil) else { return }
        defer { unsafe free(link) }
        let parts = unsafe String(cString: link).split(separator: "/").map(String.init)
        name = parts.last ?? ""
        disk = name
        if text(of: "partition", in: path) != nil {
            disk = parts.dropLast().last ?? name
            start = text(of: "start", in: path).flatMap { UInt64($0.filter(\.isNumber)) }
        } else if names(in: path + "/slaves").isEmpty {
            start = 0
        }
    }
}

/// The whole of a small file of the kernel; nil where it can't be read.
private func text(of name: String, in folder: String) -> String? {
    do {
        return try Descriptor.open(folder, flags: O_RDONLY | O_DIRECTORY).text(of: name)
    } catch {
        return nil
    }
}

/// The names in a directory; none where it can't be read.
func names(in folder: String) -> [String] {
    do {
        return try Descriptor.open(folder, flags: O_RDONLY | O_DIRECTORY).names()
    } catch {
        return []
    }
}
