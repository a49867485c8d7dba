// Goes through a tree of the host, each directory before what is in it.
//
// What must hold:
// - No symbolic link is followed, whoever moves what meanwhile: every step is from an open
//   directory to a name in it.
// - Any depth, with a bounded number of open directories: of a deep chain only the lower
//   end stays open. The way back up is `..`, and it is checked to lead where it came from.
// - What can't be read is reported to the visitor, and the walk continues.

#if canImport(Glibc)
internal import Glibc
#endif

/// What the walk meets.
public protocol TreeVisitor {
    /// A directory is entered; `number` names it from now on. The root is number 0.
    /// - Returns: whether to go into it.
    mutating func enter(
        _ number: Int, in parent: Int, _ name: [UInt8], _ directory: borrowing HostFile,
        _ status: HostStatus
    ) -> Bool

    /// All that is in the directory has been visited.
    mutating func leave(_ number: Int, _ status: HostStatus)

    /// Something that is no directory. `parent` is open as `directory`.
    mutating func visit(
        _ name: [UInt8], in parent: Int, _ directory: borrowing HostFile, _ status: HostStatus)

    /// `name` in `parent`, or `parent` itself where `name` is nil, can't be read.
    mutating func failed(_ name: [UInt8]?, in parent: Int, _ error: HostError)

    /// Whether the walk is to end here. Asked before each name.
    var isStopped: Bool { get }
}

public struct TreeWalk {
    /// Directories of the chain that are kept open.
    static let openDirectories = 64

    private final class OpenDirectory {
        let file: HostFile
        init(_ file: consuming HostFile) { self.file = file }
    }

    /// A directory on the way down.
    private final class Frame {
        let number: Int
        let status: HostStatus
        /// Its directories that are still to be entered, the next one last.
        var pending: [[UInt8]] = []
        private var open: OpenDirectory?

        init(number: Int, status: HostStatus, file: consuming HostFile) {
            self.number = number
            self.status = status
            open = OpenDirectory(file)
        }

        var isOpen: Bool { open != nil }

        func close() { open = nil }
        func reopen(_ file: consuming HostFile) { open = OpenDirectory(file) }

        func withFile<R: ~Copyable, E: Error>(
            _ body: (borrowing HostFile) throws(E) -> R
        ) throws(E) -> R {
            guard let open else { preconditionFailure("a directory is used while it is open") }
            return try body(open.file)
        }
    }

    private var frames: [Frame] = []
    private var count = 0

    public init() {}

    /// Visits all that is in `root`.
    public mutating func run(
        _ root: consuming HostFile, _ visitor: inout some TreeVisitor
    ) throws(HostError) {
        let status = try root.status()
        let isWanted = visitor.enter(0, in: 0, [], root, status)
        count = 1
        guard isWanted else { return visitor.leave(0, status) }
        push(Frame(number: 0, status: status, file: root), &visitor)
        while let frame = frames.last {
            if visitor.isStopped || frame.pending.isEmpty {
                pop(&visitor)
            } else {
                descend(into: frame.pending.removeLast(), &visitor)
            }
        }
    }

    /// Takes `frame` as the lowest directory, and visits what in it is no directory.
    private mutating func push(_ frame: Frame, _ visitor: inout some TreeVisitor) {
        frames.append(frame)
        if frames.count > TreeWalk.openDirectories {
            frames[frames.count - 1 - TreeWalk.openDirectories].close()
        }
        frame.withFile { file in
            let names: [[UInt8]]
            do throws(HostError) {
                names = try file.names()
            } catch {
                return visitor.failed(nil, in: frame.number, error)
            }
            for name in names where !visitor.isStopped {
                do throws(HostError) {
                    let status = try file.status(of: name)
                    if status.type == .directory {
                        frame.pending.append(name)
                    } else {
                        visitor.visit(name, in: frame.number, file, status)
                    }
                } catch {
                    visitor.failed(name, in: frame.number, error)
                }
            }
            frame.pending.reverse()
        }
    }

    private mutating func descend(into name: [UInt8], _ visitor: inout some TreeVisitor) {
        guard let parent = frames.last else { return }
        let number = count
        count += 1
        var entered: Frame?
        parent.withFile { file in
            do throws(HostError) {
                let directory = try file.open(name, for: .directory)
                let status = try directory.status()
                if visitor.enter(number, in: parent.number, name, directory, status) {
                    entered = Frame(number: number, status: status, file: directory)
                } else {
                    visitor.leave(number, status)
                }
            } catch {
                visitor.failed(name, in: parent.number, error)
            }
        }
        if let entered { push(entered, &visitor) }
    }

    /// Leaves the lowest directory for the one above it.
    private mutating func pop(_ visitor: inout some TreeVisitor) {
        let frame = frames.removeLast()
        visitor.leave(frame.number, frame.status)
        guard let parent = frames.last, !parent.isOpen else { return }
        do throws(HostError) {
            guard frame.isOpen else { throw HostError("find the way back to", errno: ESTALE) }
            let above = try frame.withFile { (file) throws(HostError) in try file.parent() }
            guard try above.status().identity == parent.status.identity else {
                throw HostError("find the way back to", errno: ESTALE)
            }
            parent.reopen(above)
        } catch {
            // What is left of the parent can't be reached any more.
            visitor.failed(nil, in: parent.number, error)
            parent.pending = []
        }
    }
}
