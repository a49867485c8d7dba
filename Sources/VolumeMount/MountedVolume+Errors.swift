// From errors to the numbers that programs know. What a program can't mend is logged.

internal import LMDB
internal import Logging
internal import Synchronization
internal import Volume
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

extension MountedVolume {
    /// The number that answers a request which failed with `error`.
    func number(of error: any Error) -> Int32 {
        guard let error = error as? VolumeError else {
            note("\(error)")
            return EIO
        }
        switch error {
        case .damaged, .groupAborted, .io, .stopped: note("\(error)")
        default: break
        }
        return error.errno
    }

    /// Logs `text`, but not what was logged last again and again.
    private func note(_ text: String) {
        let time = Timestamp.now.seconds
        let isNew = lastNote.withLock { last in
            if last.text == text, time - last.time < 10 { return false }
            last = (text, time)
            return true
        }
        guard isNew else { return }
        logger.info("a request failed", metadata: ["why": "\(text)", "volume": "\(volume.path)"])
    }

    /// Makes a change, as often as it takes.
    func change<R>(_ body: (inout Operations) throws -> R) throws -> R {
        try volume.retrying { try volume.perform(body) }
    }
}
