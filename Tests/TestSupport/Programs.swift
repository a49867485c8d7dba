// Runs programs as a user would, and waits for them with a bound.

internal import Foundation
internal import Synchronization
package import Testing
internal import Threads

/// What a program printed, and how it ended.
package struct Ended: Sendable {
    package let status: Int32
    package let output: String
    package let errors: String

    package init(status: Int32, output: String, errors: String) {
        self.status = status
        self.output = output
        self.errors = errors
    }
}

/// The command beside the test bundle that runs.
package let tidemark: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("tidemark")
        .path
}()

/// A program that has been started.
package final class Started: Sendable {
    package let number: Int32
    private let outputPath, errorsPath: String
    /// As waitpid(2) gives it; nil while the program runs.
    private let ending: Monitor<Int32?>

    package init(_ executable: String, _ arguments: [String]) throws {
        let base = NSTemporaryDirectory() + "tidemark-output-\(UUID().uuidString)"
        outputPath = base + ".out"
        errorsPath = base + ".err"
        number = try spawn(executable, arguments, output: outputPath, errors: errorsPath)
        let ending = Monitor<Int32?>(nil)
        self.ending = ending
        _ = DedicatedThread(name: "test-wait") { [number] in
            // It ends here, but its number is nobody else's before the lock is held: a signal
            // meets it or nobody.
            var information = siginfo_t()
            while waitid(P_PID, id_t(number), &information, WEXITED | WNOWAIT) != 0,
                errno == EINTR
            {}
            ending.withLock(notify: true) {
                var status: Int32 = 0
                while waitpid(number, &status, 0) != number, errno == EINTR {}
                $0 = status
            }
        }
    }

    deinit {
        // Whoever was not waited for is not wanted any more.
        if isRunning {
            signal(SIGKILL)
            _ = ending.wait(seconds: patience) { $0 }
        }
        unlink(outputPath)
        unlink(errorsPath)
    }

    package var isRunning: Bool { ending.withLock { $0 == nil } }

    package func signal(_ signal: Int32) {
        ending.withLock { if $0 == nil { kill(number, signal) } }
    }

    /// What it has printed so far.
    package var output: String { text(outputPath) }

    /// Waits for the end. The status of a process that a signal ended is that of a shell.
    ///
    /// A program that does not end within `seconds` fails the test, and is killed.
    package func wait(
        within seconds: Double = programPatience, location: SourceLocation = #_sourceLocation
    ) -> Ended {
        if ending.wait(seconds: seconds, { $0 }) == nil {
            Issue.record(
                "process \(number) has not ended in \(seconds) s", sourceLocation: location)
            signal(SIGKILL)
        }
        let ended = ending.wait(seconds: patience) { $0 } ?? SIGKILL
        let code = ended & 0x7f == 0 ? (ended >> 8) & 0xff : 128 + ended & 0x7f
        return Ended(status: code, output: text(outputPath), errors: text(errorsPath))
    }

    private func text(_ path: String) -> String {
        String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    }
}

/// Seconds after which a program that a test runs has hung.
package let programPatience = 600.0

private func spawn(
    _ executable: String, _ arguments: [String], output: String, errors: String
) throws -> pid_t {
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let flags = O_WRONLY | O_CREAT | O_TRUNC
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
    posix_spawn_file_actions_addopen(&actions, 1, output, flags, 0o666)
    posix_spawn_file_actions_addopen(&actions, 2, errors, flags, 0o666)
    // Threads of a test block signals, those that timeout(1) lives by among them.
    var attributes = posix_spawnattr_t(), none = sigset_t()
    posix_spawnattr_init(&attributes)
    defer { posix_spawnattr_destroy(&attributes) }
    sigemptyset(&none)
    posix_spawnattr_setsigmask(&attributes, &none)
    posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK))
    var words = ([executable] + arguments).map { strdup($0) } + [nil]
    defer { for word in words { free(word) } }
    var child: pid_t = 0
    let code = posix_spawn(&child, executable, &actions, &attributes, &words, environ)
    guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EIO) }
    return child
}

/// Runs a script of bash(1), which finds the arguments in `$1` and so on.
package func shell(
    _ script: String, _ arguments: String..., location: SourceLocation = #_sourceLocation
) throws -> Ended {
    try Started("/bin/bash", ["-c", script, "bash"] + arguments).wait(location: location)
}
