// Directories for the length of a test: a trait makes one for each test case and removes it when
// the case has ended, however it has.

internal import Foundation
package import Testing

/// Gives each test case of a suite, or of a test, a directory of its own.
package struct TemporaryDirectoryTrait: SuiteTrait, TestTrait, TestScoping {
    @TaskLocal fileprivate static var current: String?

    package let isRecursive = true

    /// One for each case, not for the suite as a whole.
    package func scopeProvider(for test: Test, testCase: Test.Case?) -> Self? {
        testCase == nil ? nil : self
    }

    package func provideScope(
        for test: Test, testCase: Test.Case?,
        performing function: @concurrent @Sendable () async throws -> Void
    ) async throws {
        let path = try makeDirectory(in: NSTemporaryDirectory())
        defer { removeDirectory(path) }
        try await Self.$current.withValue(path, operation: function)
    }
}

extension Trait where Self == TemporaryDirectoryTrait {
    /// A directory for each test case, in which `temporaryDirectory()` makes others.
    package static var temporaryDirectory: Self { Self() }
}

/// A new, empty directory, which is gone after the test.
///
/// To be called from the test's own thread, in a suite that has the trait.
package func temporaryDirectory() throws -> String {
    guard let parent = TemporaryDirectoryTrait.current else { throw MissingTrait() }
    return try makeDirectory(in: parent)
}

private struct MissingTrait: Error, CustomStringConvertible {
    var description: String { "the suite has no trait `.temporaryDirectory`" }
}

/// Runs `body` with a new directory and removes that at once, however deep it has become.
package func withDirectory<R>(_ body: (String) throws -> R) throws -> R {
    let parent = TemporaryDirectoryTrait.current ?? NSTemporaryDirectory()
    let path = try makeDirectory(in: parent)
    defer { removeDirectory(path) }
    return try body(path)
}

private func makeDirectory(in parent: String) throws -> String {
    let path = (parent as NSString).appendingPathComponent("tidemark-\(UUID().uuidString)")
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return path
}

/// A path may be longer than a system call takes, and a directory may be closed to its owner:
/// rm(1) copes with the one, chmod(1) with the other.
private func removeDirectory(_ path: String) {
    guard (try? FileManager.default.removeItem(atPath: path)) == nil else { return }
    _ = try? shell("chmod -R u+rwx \"$1\" 2>/dev/null; rm -rf \"$1\"", path)
}
