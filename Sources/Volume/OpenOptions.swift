// How a volume is made and opened.

public import Logging
package import Threads
public import VolumeFormat

public struct CreateOptions: Sendable {
    /// Bytes of the data area. Ignored where `device` is given and this is nil.
    public var size: UInt64?
    /// Bytes: a power of two from 512 to 65,536.
    public var blockSize: UInt32 = 4096
    /// Blocks at the start of the data area that belong to the volume itself: at least one,
    /// which holds its label.
    public var reservedAtStart: UInt32 = 16
    public var reservedAtEnd: UInt32 = 1
    /// A block device for the data area, in place of a sparse file.
    public var device: String?
    /// The owner of the root directory; nil: those of the process.
    public var uid, gid: UInt32?

    public static let defaultSize: UInt64 = 64 << 30

    public init(size: UInt64? = nil) { self.size = size }
}

public struct OpenOptions: Sendable {
    public enum Mode: Sendable { case readWrite, readOnly }

    public var mode: Mode
    /// Bytes of metadata at the most: the address space that is set aside for it.
    public var metadataLimit: Int = 1 << 40
    /// Seconds until what was acknowledged is durable, at the most.
    public var durableSeconds: Double = 5
    /// Bytes of data written, or of metadata grown, that make a durable point due before that.
    public var durableBytes: UInt64 = 64 << 20
    /// Group commit with early acknowledgement: seconds for which a group stays open, so that many
    /// changes share its commit. Changes are acknowledged when they have run; the death of the
    /// process takes those of the open group with it, unless `sync` has returned since. 0: each has
    /// committed before it is acknowledged.
    public var groupCommitSeconds: Double = 0
    /// Whether what was freed since the last durable point is passed over while other blocks are
    /// free. Where it is not, no place depends on when points are made.
    public var passesOverUnsettled = true
    /// Bytes that the hook log may grow to. Beyond that the run that needs most of it gives its
    /// position up.
    public var hookLogBytes: Int = 256 << 20
    /// Bytes of the journal of what scrubs have mended, at the most.
    public var mendJournalBytes: Int = 64 << 20
    /// Whether every page of the metadata is checked before the volume is used, however long it
    /// takes. Where it is not, that is done where the volume was not closed, and else for
    /// `pageSeconds`; what was not looked at then is checked as far as the branch pages tell.
    public var checksAllPages = false
    public var pageSeconds = 1.0
    /// The time of day: what operations stamp.
    public var clock: @Sendable () -> Timestamp
    /// Seconds on a clock that never goes back: deadlines, and what is deferred.
    public var monotonicClock: @Sendable () -> Double
    /// Tells one run of the kernel from another; nil: the kernel's own identity.
    public var bootIdentity: String?
    /// What durable points come by; nil: the system's time.
    package var manualClock: ManualClock?
    public var logger = Logger(label: "volume", factory: { _ in SwiftLogNoOpLogHandler() })

    public init(mode: Mode = .readWrite) {
        self.mode = mode
        clock = systemClock
        monotonicClock = monotonicSeconds
    }
}
