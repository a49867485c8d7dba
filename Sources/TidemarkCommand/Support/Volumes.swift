// Opening and closing volumes around a command.

internal import HostFiles
internal import LMDBPages
internal import LinuxOwner
internal import Logging
internal import Reports
internal import Threads
internal import Volume
#if canImport(Glibc)
internal import Glibc
#endif

/// Whether `target` is a mounted XFS or ext4, and no volume.
func isMountedFilesystem(_ target: String) -> Bool {
    access(target + "/meta.mdb", F_OK) != 0 && isMountOfKernelFilesystem(target)
}

/// Runs `body` with the volume and closes it, whatever happens. The volume that this process serves
/// stays open.
/// - Parameter pages: whether every page of the metadata is checked first.
func withVolume<R>(
    _ path: String, _ mode: OpenOptions.Mode, _ output: Output, _ logger: Logger? = nil,
    pages: Bool = false, options change: (inout OpenOptions) -> Void = { _ in },
    _ body: (Volume) throws -> R
) throws -> R {
    if let served = output.served {
        if pages {
            let report = try served.volume.checkPages()
            guard report.isSound else {
                throw VolumeError.damagedPages(path: served.volume.path + "/meta.mdb", report)
            }
        }
        return try body(served.volume)
    }
    var options = OpenOptions(mode: mode)
    options.checksAllPages = pages
    if let logger { options.logger = logger }
    change(&options)
    let volume = try open(volumePath(path), options, output)
    let result: R
    do {
        result = try body(volume)
    } catch {
        // The first error is the one that matters.
        try? volume.close()
        throw error
    }
    try volume.close()
    return result
}

private func open(_ path: String, _ options: OpenOptions, _ output: Output) throws -> Volume {
    do {
        return try Volume.open(path, options: options)
    } catch VolumeError.needsRecovery where options.mode == .readOnly {
        // The system came down with the volume open. Opening it for writing goes back to the
        // last durable point, as any program that changes the volume would.
        output.detail("\(path): going back to the last durable point")
        try Volume.open(path, options: OpenOptions(mode: .readWrite)).close()
        return try Volume.open(path, options: options)
    }
}

/// Calls `body` ten times a second on a thread of its own, until the end.
final class Watch: Sendable {
    private let monitor: Monitor<Bool>
    private let thread: DedicatedThread
    private let progress: Progress

    init(_ output: Output, _ body: @escaping @Sendable (Progress) -> Void) {
        let monitor = Monitor(false)
        let progress = Progress(output)
        self.monitor = monitor
        self.progress = progress
        thread = DedicatedThread(name: "watch") {
            while monitor.wait(seconds: 0.1, { $0 ? true : nil }) == nil { body(progress) }
        }
    }

    func end() {
        monitor.withLock(notify: true) { $0 = true }
        thread.join()
        progress.finish()
    }
}

extension Output {
    /// The one document, where one was asked for.
    func json(ifAsked document: @autoclosure () -> JSONValue) {
        if isJSON { json(document()) }
    }
}
