// What is done with a volume that was lied to, and what it comes to. All in this process: a trap, a
// signal or a hang ends the campaign, and the case is the one that it names last.

import Foundation
import LMDB
import LMDBPages
import RunService
import Scrub
import TestSupport
import Testing
import Tidemark
import Volume
import VolumeFormat
import VolumeService
import VolumeVerify

enum Verdict: String, Sendable {
    /// Nothing is wrong; wrong, and named; mended; not all could be looked at, and said so.
    case clean, found, repaired, incomplete
    /// An error that says what is wrong.
    case refused
}

struct Answer: Sendable {
    let verdict: Verdict
    /// Kinds of what was found, or the words of an error.
    var kinds: Set<String> = []
    var words = ""
}

enum CampaignVerbs {
    private static func refusing(_ body: () throws -> Answer) -> Answer {
        do { return try body() } catch { return Answer(verdict: .refused, words: "\(error)") }
    }

    private static func opened<R>(
        _ path: String, _ mode: OpenOptions.Mode, _ body: (Volume) throws -> R
    ) throws -> R {
        let volume = try Volume.open(path, options: OpenOptions(mode: mode))
        let result: R
        do {
            result = try body(volume)
        } catch {
            try? volume.close()
            throw error
        }
        try volume.close()
        return result
    }

    /// As the command does it.
    static func verify(_ path: String) -> Answer {
        refusing {
            let report: VerifyReport
            var failure: (any Error)?
            do {
                report = try opened(path, .readOnly) {
                    try Verifier.verify($0.metadata, data: path + "/data")
                }
            } catch {
                switch error {
                case VolumeError.damaged, VolumeError.damagedPages: break
                default: throw error
                }
                failure = error
                report = try Verifier.verify(
                    metadata: path + "/meta.mdb", data: path + "/data")
            }
            if report.isClean {
                if let failure { throw failure }
                return Answer(verdict: .clean)
            }
            var kinds = Set(report.primaries.filter { $0.value > 0 }.map(\.key.rawValue))
            for index in report.indexes where index.discrepancies > 0 { kinds.insert(index.name) }
            for (defect, _) in report.pages.counts { kinds.insert(defect.rawValue) }
            return Answer(
                verdict: .found, kinds: kinds,
                words: report.examples.prefix(4).map(\.description).joined(separator: "; "))
        }
    }

    static func run(_ path: String, _ strategy: Strategy) -> Answer {
        refusing {
            try opened(path, strategy == .check ? .readOnly : .readWrite) { volume in
                if strategy != .check { _ = try volume.finishReaping { false } }
                let registry = RunRegistry(volume, command: "campaign")
                let report = try registry.withHandle(RunLimits()) { handle in
                    var execution = RunExecution(handle, volume.indexes.indices.map { .init($0) })
                    execution.options.strategy = strategy
                    return try execution.perform()
                }
                return answer(report)
            }
        }
    }

    private static func answer(_ report: RunReport) -> Answer {
        var kinds = Set(report.primaryDefects.counts.keys)
        for index in report.indexes where index.found.total > 0 { kinds.insert(index.name) }
        let verdict: Verdict =
            switch report.outcome {
            case .clean: .clean
            case .repaired: .repaired
            case .corrupt: .found
            case .incomplete: .incomplete
            default: .refused
            }
        return Answer(verdict: verdict, kinds: kinds, words: report.reason ?? "")
    }

    /// The run that was stopped goes on, or starts again.
    static func resume(_ path: String) -> Answer {
        refusing {
            try opened(path, .readWrite) { volume in
                let record = try volume.resumableRun(nil)
                let registry = RunRegistry(volume, command: "campaign")
                let report = try registry.withHandle(record.resumeLimits(with: registry)) {
                    try RunExecution($0, of: record).resume(record)
                }
                return answer(report)
            }
        }
    }

    static func scrub(_ path: String) -> Answer {
        refusing {
            try opened(path, .readWrite) { volume in
                let registry = RunRegistry(volume, command: "campaign")
                let report = try registry.withHandle(RunLimits()) {
                    try Scrub.perform(volume, $0)
                }
                let kinds = report.counts.filter { $0.value > 0 }.map(\.key.rawValue)
                let verdict: Verdict =
                    switch report.outcome {
                    case .clean: .clean
                    case .repaired: .repaired
                    case .optimisable, .corrupt: .found
                    case .stopped: .incomplete
                    }
                return Answer(
                    verdict: verdict, kinds: Set(kinds),
                    words: report.left.prefix(4).map { "\($0.finding)" }.joined(separator: "; "))
            }
        }
    }

    /// Whether this process may mount.
    static let canMount: Bool = {
        let device = open("/dev/fuse", O_RDWR | O_CLOEXEC)
        if device >= 0 { close(device) }
        return device >= 0
    }()

    /// Through the command and the kernel: mounted, used, unmounted.
    static func mount(_ path: String) throws -> Answer {
        let point = path + ".mount"
        try FileManager.default.createDirectory(
            atPath: point, withIntermediateDirectories: false)
        defer { _ = try? shell("umount -l \"$1\" 2>/dev/null; rmdir \"$1\"", point) }
        let mounted = try Started("/usr/bin/timeout", ["20", tidemark, "mount", path, point]).wait()
        guard mounted.status == 0 else {
            guard mounted.status < 32 else { throw MountEnded(during: "mount", mounted) }
            return Answer(verdict: .refused, words: mounted.errors)
        }
        // Errors of files are none of the mount. A size that lies makes a file of any length.
        let used = try shell(
            """
            cd "$1" && timeout 20 bash -c 'find . -ls; find . -type f -exec head -c 99999 {} + |
            cat >/dev/null; mkdir made &&
            echo 1 >made/file && mv made/file made/other && rm -r made; rm -f link; sync -f .; true'
            """, point)
        let unmounted = try Started("/usr/bin/timeout", ["20", tidemark, "unmount", point]).wait()
        let isDead = used.errors.contains("Transport endpoint is not connected")
        guard used.status < 124, unmounted.status < 32, !isDead else {
            throw MountEnded(during: "use: \(used.errors.suffix(300))", unmounted)
        }
        return Answer(verdict: unmounted.status == 0 ? .clean : .found, words: unmounted.errors)
    }

    struct MountEnded: Error, CustomStringConvertible {
        let description: String

        init(during what: String, _ ended: Ended) {
            description = "\(what) ended with \(ended.status): \(ended.errors.suffix(300))"
        }
    }

    /// `stat`, and `dump` of every table.
    static func look(_ path: String) -> Answer {
        refusing {
            try opened(path, .readOnly) { volume in
                _ = try volume.statistics()
                _ = try volume.runs()
                let snapshot = try volume.read()
                for name in try snapshot.tableNames() {
                    try snapshot.dump(name) { key, value in
                        _ = try? InodeRecord(key: key, value: value)
                        _ = try? VolumeSnapshot.run(key: key, value: value)
                        _ = try? VolumeSnapshot.logged(key: key, value: value)
                    }
                }
                return Answer(verdict: .clean)
            }
        }
    }

    /// What programs do on a mount: everything is read, something is made and removed.
    static func use(_ path: String) -> Answer {
        refusing {
            try opened(path, .readWrite) { volume in
                var words = ""
                func attempt(_ body: (inout Operations) throws -> Void) {
                    do { try volume.perform { try body(&$0) } } catch { words = "\(error)" }
                }
                let root = InodeNumber.root
                let name = Array("made".utf8), other = Array("moved".utf8)
                attempt { operations in
                    let file = try operations.create(root, name, NewInode(permissions: 0o644))
                    try operations.allocate(file.number, 0, 20_000, .reserve(keepSize: false))
                    try operations.setXattr(
                        file.number, Array("user.x".utf8), [UInt8](repeating: 1, count: 3000))
                }
                attempt { try $0.rename(root, name, to: root, other) }
                attempt { try $0.unlink(root, other) }
                attempt { try $0.unlink(root, Array("link".utf8)) }
                attempt {
                    try $0.makeDirectory(
                        root, Array("new".utf8), NewInode(permissions: 0o755))
                }
                try volume.sync()
                return Answer(verdict: .clean, words: words)
            }
        }
    }
}
