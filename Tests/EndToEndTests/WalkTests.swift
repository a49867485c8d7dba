// The walk through a tree of the host, while the tree changes.

import Foundation
import HostFiles
import TestSupport
import Testing

/// Notes what it meets, and does something to the tree when it meets a certain name.
private struct Notebook: TreeVisitor {
    var visited: [String] = []
    var failures: [(name: String?, error: HostError)] = []
    var entered = 0, left = 0
    var isStopped = false
    var act: (String) -> Void = { _ in }

    mutating func enter(
        _ number: Int, in parent: Int, _ name: [UInt8], _ directory: borrowing HostFile,
        _ status: HostStatus
    ) -> Bool {
        entered += 1
        note(name)
        return true
    }

    mutating func leave(_ number: Int, _ status: HostStatus) { left += 1 }

    mutating func visit(
        _ name: [UInt8], in parent: Int, _ directory: borrowing HostFile, _ status: HostStatus
    ) { note(name) }

    mutating func failed(_ name: [UInt8]?, in parent: Int, _ error: HostError) {
        failures.append((name.map { String(decoding: $0, as: UTF8.self) }, error))
    }

    private mutating func note(_ name: [UInt8]) {
        let name = String(decoding: name, as: UTF8.self)
        visited.append(name)
        act(name)
    }
}

@Suite struct WalkTests {
    private func walk(_ path: String, _ act: @escaping (String) -> Void) throws -> Notebook {
        var notebook = Notebook()
        notebook.act = act
        var walk = TreeWalk()
        try walk.run(try HostFile.directory(path: path), &notebook)
        #expect(notebook.entered == notebook.left)
        return notebook
    }

    @Test func `a file that vanishes before its turn is told and the others are met`() throws {
        try withDirectory { directory in
            for name in ["a", "b", "c"] {
                try Data().write(to: URL(fileURLWithPath: directory + "/" + name))
            }
            var gone = ""
            let notebook = try walk(directory) { name in
                guard gone.isEmpty, !name.isEmpty else { return }
                gone = name == "a" ? "b" : "a"
                unlink(directory + "/" + gone)
            }
            // It was met before, or it failed.
            #expect(notebook.visited.count + notebook.failures.count == 4)
            if let failure = notebook.failures.first {
                #expect(failure.name == gone)
                #expect(failure.error.isVanished)
            }
        }
    }

    @Test func `a directory that vanishes before its turn is told`() throws {
        try withDirectory { directory in
            for name in ["x", "y"] { mkdir(directory + "/" + name, 0o755) }
            let notebook = try walk(directory) { name in
                if name == "x" { rmdir(directory + "/y") }
                if name == "y" { rmdir(directory + "/x") }
            }
            #expect(notebook.entered == 2)
            #expect(notebook.failures.count == 1)
            #expect(notebook.failures.first?.error.isVanished == true)
        }
    }

    @Test func `a symbolic link that takes the place of a directory is not followed`() throws {
        try withDirectory { directory in
            for name in ["x", "y"] { mkdir(directory + "/" + name, 0o755) }
            let notebook = try walk(directory) { name in
                guard name == "x" || name == "y" else { return }
                let other = directory + (name == "x" ? "/y" : "/x")
                rmdir(other)
                symlink("/usr", other)
            }
            #expect(notebook.visited.filter { $0 == "bin" || $0 == "lib" }.isEmpty)
            #expect(notebook.failures.count == 1)
        }
    }

    @Test func `a subtree that is moved away while it is walked loses what can't be reached`()
        throws
    {
        try withDirectory { directory in
            let chain = (0..<100).map { "d\($0)" }
            let top = directory + "/tree"
            mkdir(top, 0o755)
            var path = top
            for name in chain {
                path += "/" + name
                mkdir(path, 0o755)
            }
            // Level 50 is moved when the walk is at the bottom: the way up from it leads
            // elsewhere.
            let moved = ([top] + chain[0...50]).joined(separator: "/")
            let notebook = try walk(top) { name in
                if name == "d99" { rename(moved, directory + "/elsewhere") }
            }
            #expect(notebook.entered == 101)
            #expect(notebook.failures.count <= 51)
        }
    }

    @Test func `a walk that is stopped leaves every directory it has entered`() throws {
        try withDirectory { directory in
            for name in ["p", "q", "r"] {
                mkdir(directory + "/" + name, 0o755)
                mkdir(directory + "/" + name + "/inside", 0o755)
            }
            struct Stopping: TreeVisitor {
                var entered = 0, left = 0
                var isStopped: Bool { entered == 3 }
                mutating func enter(
                    _ number: Int, in parent: Int, _ name: [UInt8],
                    _ directory: borrowing HostFile, _ status: HostStatus
                ) -> Bool {
                    entered += 1
                    return true
                }
                mutating func leave(_ number: Int, _ status: HostStatus) { left += 1 }
                mutating func visit(
                    _ name: [UInt8], in parent: Int, _ directory: borrowing HostFile,
                    _ status: HostStatus
                ) {}
                mutating func failed(_ name: [UInt8]?, in parent: Int, _ error: HostError) {}
            }
            var visitor = Stopping()
            var walk = TreeWalk()
            try walk.run(try HostFile.directory(path: directory), &visitor)
            #expect(visitor.entered == 3)
            #expect(visitor.left == 3)
        }
    }
}
