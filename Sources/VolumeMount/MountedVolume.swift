// A volume as a mounted filesystem, through libfuse3's low-level interface.
//
// Who does what:
// - Workers read requests from the kernel, several at a time, and answer them. Names and
//   attributes are read from snapshots, contents from the data file, on the worker's own thread.
//   Changes are jobs for the volume's writer, which puts those that come together into one commit.
// - The sync thread answers fsync (SyncQueue.swift).
//
// What the kernel may rely on, and we therefore keep:
// - It is the only way to change the volume's files: so it keeps names, attributes and contents as
//   long as it likes, and its cache of writes is the newest state of a file.
// - An inode that it knows stays until it forgets it: each answer that hands it one holds it once
//   more (Volume+Holding.swift).
//
// The volume is its owner's: a run of a check or repair goes on in the same process, beside the
// mount, and it is closed after the mount has ended.

internal import Bytes
internal import CFUSE
public import Logging
internal import Meters
internal import Synchronization
internal import Threads
public import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

public struct MountOptions: Sendable {
    public var isReadOnly = false
    /// Whether users other than the one who mounts get in. Always so where root mounts.
    public var allowsOthers = false
    /// Requests that are worked on at a time.
    public var workers = 8
    public var logger = Logger(label: "mount", factory: { _ in SwiftLogNoOpLogHandler() })

    public init() {}
}

@safe public final class MountedVolume: @unchecked Sendable {
    public let volume: Volume
    public let mountPoint: String
    let logger: Logger
    let buffers = Buffers()
    let pipes = AnswerPipes()
    private let pool = WorkerPool()
    let streams = DirectoryStreams()
    let nearlyFull = NearlyFullFiles()
    let meter = RequestMeter()
    let syncs: SyncQueue
    let lastNote = Mutex((text: "", time: 0 as Int64))
    let aside = AsideThread()
    /// libfuse's session. Set before the workers start, and gone after they have ended.
    private(set) var session: OpaquePointer?
    /// Where requests come from and answers go to.
    private(set) var descriptor: Int32 = -1
    /// The number of the kernel's first request, where it leaves setuid bits to us; and whether
    /// its answer is still to come (RawRequests.swift).
    let firstAnswer = Mutex<UInt64?>(nil)
    let isStarting = Atomic<Bool>(true)
    private let threads = Mutex<[DedicatedThread]>([])
    /// Workers that have not ended.
    private let working = Monitor(0)

    /// Mounts a volume. The mount is in use as soon as this returns, and until `close`.
    public init(_ volume: Volume, at path: String, options: MountOptions = MountOptions()) throws {
        self.volume = volume
        mountPoint = try MountPoint.prepare(path, for: volume.path)
        logger = options.logger
        syncs = SyncQueue(meter) {
            do {
                try volume.sync()
                return 0
            } catch {
                return (error as? VolumeError)?.errno ?? EIO
            }
        }
        do {
            try mount(options)
        } catch {
            endThreads()
            throw error
        }
        volume.watchCorrections { [weak self] in self?.askAgain(for: $0, $1) }
        working.withLock { $0 = options.workers }
        threads.withLock { threads in
            for number in 0..<options.workers {
                threads.append(DedicatedThread(name: "mount-\(number)") { [self] in work() })
            }
            threads.append(DedicatedThread(name: "mount watchdog") { [pool] in pool.watch() })
        }
    }

    private func mount(_ options: MountOptions) throws(MountError) {
        var words = ["fsname=" + volume.path.escapedForOptions, "subtype=tidemark"]
        words.append("default_permissions")
        if volume.isReadOnly || options.isReadOnly { words.append("ro") }
        if geteuid() == 0 { words += ["allow_other", "suid", "dev"] }
        if geteuid() != 0, options.allowsOthers { words.append("allow_other") }
        let made = unsafe withArguments(["tidemark", "-o", words.joined(separator: ",")]) {
            var table = operationsTable()
            return unsafe fuse_shim_session($0, &table, Unmanaged.passUnretained(self).toOpaque())
        }
        guard let made = unsafe made else { throw .refused(mountPoint) }
        guard unsafe fuse_session_mount(made, mountPoint.hostPath) == 0 else {
            unsafe fuse_session_destroy(made)
            throw .refused(mountPoint)
        }
        unsafe useOwnAnswers(made)
        descriptor = unsafe fuse_session_fd(made)
        unsafe session = unsafe made
    }

    /// What is asked of the kernel, of what it can do.
    static func negotiate(_ connection: inout fuse_conn_info) {
        let wanted =
            FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_WRITEBACK_CACHE
            | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_READDIRPLUS | FUSE_CAP_READDIRPLUS_AUTO
            | FUSE_CAP_NO_OPEN_SUPPORT | FUSE_CAP_EXPORT_SUPPORT | FUSE_CAP_CACHE_SYMLINKS
        connection.want = connection.capable & UInt32(wanted)
        connection.max_write = UInt32(Buffer.size)
        connection.max_background = 64
        connection.congestion_threshold = 48
        connection.time_gran = 1
    }

    /// One worker: request after request, until the kernel ends the session.
    private func work() {
        guard let session = unsafe session else { preconditionFailure("no session") }
        var buffer = unsafe fuse_buf()
        let call = WorkerPool.Call(false)
        while unsafe fuse_session_exited(session) == 0, pool.enter(call) {
            let start = monotonicNanoseconds()
            let count = unsafe fuse_session_receive_buf(session, &buffer)
            pool.leave(waitedSince: start)
            if count == -EINTR { continue }
            guard count > 0 else { break }
            unsafe meter.measured(buffer) {
                if unsafe intercept(buffer) { return }
                unsafe fuse_session_process_buf(session, &buffer)
            }
        }
        pool.end()
        unsafe free(buffer.mem)
        working.withLock(notify: true) { $0 -= 1 }
    }

    /// Has the kernel ask again for inodes and names that it may remember. Not on the
    /// writer's thread: the kernel waits with one that it is about to forget until its times are
    /// written, and that is a change.
    private func askAgain(for inodes: [InodeNumber], _ names: [VolumeName]) {
        aside.run { [self] in
            guard let session = unsafe session else { return }
            for name in names {
                unsafe name.name.withUnsafeBytes { bytes in
                    guard let start = bytes.baseAddress else { return }
                    _ = unsafe fuse_lowlevel_notify_inval_entry(
                        session, name.directory, start.assumingMemoryBound(to: CChar.self),
                        bytes.count)
                }
            }
            for n in inodes { _ = unsafe fuse_lowlevel_notify_inval_inode(session, n, -1, 0) }
        }
    }

    // MARK: The end

    /// Whether the mount has ended, by whoever: waits for it so long.
    public func hasEnded(within seconds: Double) -> Bool {
        working.wait(seconds: seconds) { $0 == 0 ? () : nil } != nil
    }

    /// Has the kernel write out what it caches, and ends the mount. Programs that use it
    /// meanwhile get errors from then on. To be called again until it `hasEnded`.
    public func unmount() throws(MountError) {
        if hasEnded(within: 0) { return }
        // Ended already, but used: see below.
        guard MountPoint.mount(at: mountPoint)?.isVolume == true else { return leave() }
        do {
            try MountPoint.unmount(mountPoint)
        } catch MountError.busy {
            logger.info("programs use the mount that is ended", metadata: ["at": "\(mountPoint)"])
            if try !MountPoint.cutOff(mountPoint) { leave() }
        }
    }

    /// Has the workers end where the kernel does not end the session: only root severs it. A
    /// worker that is about to wait misses this: it is for the caller of `unmount` to try again.
    private func leave() {
        guard let session = unsafe session else { return }
        unsafe fuse_session_exit(session)
        pool.end()
        threads.withLock { for thread in $0 { thread.interrupt() } }
    }

    /// After the end: lets go of everything but the volume, which is the caller's to close.
    public func close() {
        for thread in threads.withLock({ threads in
            defer { threads = [] }
            return threads
        }) { thread.join() }
        endThreads()
        volume.watchCorrections(nil)
        volume.forgetAll()
        if let session = unsafe session.take() { unsafe fuse_session_destroy(session) }
    }
}

extension MountedVolume {
    private func endThreads() {
        syncs.close()
        aside.close()
    }
}

/// Calls `body` with the words as libfuse takes them.
private func withArguments<R>(
    _ words: [String], _ body: (UnsafeMutablePointer<fuse_args>) -> R
) -> R {
    var copies = unsafe words.map { unsafe strdup($0.hostPath) }
    defer { unsafe copies.forEach { unsafe free($0) } }
    return unsafe copies.withUnsafeMutableBufferPointer {
        var arguments = unsafe fuse_args(
            argc: Int32(words.count), argv: $0.baseAddress, allocated: 0)
        defer { unsafe fuse_opt_free_args(&arguments) }
        return unsafe body(&arguments)
    }
}

extension String {
    /// The text as the value of an option, in a list with commas.
    fileprivate var escapedForOptions: String {
        var result = ""
        for character in self {
            if character == "," || character == "\\" { result.append("\\") }
            result.append(character)
        }
        return result
    }
}
