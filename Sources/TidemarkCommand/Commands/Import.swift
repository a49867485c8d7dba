// `tidemark import`: a tree of the host becomes the contents of a volume.

internal import ArgumentParser
internal import HostFiles
internal import Reports
internal import Threads
internal import Volume

struct Import: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Import a directory tree into a volume.",
        discussion: """
            Names (as bytes), hard links, symbolic links, fifos, sockets, devices, modes, \
            owners, times, extended attributes, and sizes as extents, holes included. Access \
            control lists are not kept: permissions are narrowed so that nobody may do more than \
            before, the exit status is 4, and the names are told. The tree \
            becomes the contents of the volume's root directory, which takes the attributes of \
            DIRECTORY. Without --data no contents are copied: blocks are reserved for them, and \
            they read as zeroes.

            The import stays on the filesystem of DIRECTORY, follows no symbolic link, and omits \
            the volume itself. Files that can't be read, or disappear meanwhile, are counted and \
            named, and the exit status is then 4; what was imported stays.

            Example: tidemark import /tmp/v /usr
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Argument(
        help: "The directory to import.", completion: .directory, transform: Arguments.path)
    var directory: String

    @Flag(help: "Copy the contents of files too.")
    var data = false

    @Flag(help: "Descend into other filesystems that are mounted in the tree.")
    var crossMounts = false

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func execute(_ output: Output) throws -> ExitStatus {
        // A directory that can't be read is told before the volume is opened.
        _ = try hostDirectory(directory)
        // The contents of a file are several changes, which share a commit.
        let shareCommits: (inout OpenOptions) -> Void = {
            if data { $0.groupCommitSeconds = 0.005 }
        }
        return try withVolume(volume, .readWrite, output, options: shareCommits) { opened in
            try run(try hostDirectory(directory), into: opened, output)
        }
    }

    private func hostDirectory(_ path: String) throws -> HostFile {
        do throws(HostError) {
            return try HostFile.directory(path: path)
        } catch {
            throw CommandFailure(
                "\(path): \(error.reason); give a directory that exists and that you may read")
        }
    }

    private func run(
        _ root: consuming HostFile, into opened: Volume, _ output: Output
    ) throws -> ExitStatus {
        let start = monotonicNanoseconds()
        let log = ImportLog(output)
        let queue = ImportQueue()
        let writer = ImportWriter(opened, root: directory, log)
        let thread = DedicatedThread(name: "import-writer") { writer.run(queue) }
        let watch = Watch(output) { progress in
            let counts = writer.progress
            progress.show("importing", UInt64(counts.names), of: 0, "names")
        }
        var options = ImportReader.Options(copiesData: data, crossesMounts: crossMounts)
        options.volume = try? HostFile.directory(path: volume).status().identity
        var reader = ImportReader(options, root: directory, queue, log)
        var failure: HostError?
        do throws(HostError) {
            var walk = TreeWalk()
            try walk.run(root, &reader)
        } catch {
            failure = error
        }
        reader.finish()
        thread.join()
        watch.end()
        if let failure { throw CommandFailure("\(directory): \(failure)") }
        if let signal = Signals.stopRequest { log.stop("\(signal); what was imported stays") }
        let seconds = Double(monotonicNanoseconds() - start) / 1e9
        return report(writer.progress, reader.mountPoints, log, seconds, output)
    }

    private func report(
        _ counts: ImportCounts, _ mountPoints: Int, _ log: ImportLog, _ seconds: Double,
        _ output: Output
    ) -> ExitStatus {
        output.json(ifAsked: document(members(counts, mountPoints, log, seconds)))
        output.line(
            "\(volume): imported \(counted(counts.inodes, "inode")) "
                + "(\(counted(counts.directories, "directory", "directories")), "
                + "\(counted(counts.files, "file")), \(counted(counts.symlinks, "symlink")), "
                + "\(grouped(counts.others)) other) and \(counted(counts.hardLinks, "hard link")), "
                + "\(binarySize(counts.bytes)) of files, "
                + "\(counted(counts.attributes, "attribute")), in \(duration(seconds)) "
                + "(\(grouped(Int(Double(counts.names) / max(seconds, 1e-6)))) names/s)")
        if data { output.line("  contents copied: \(binarySize(counts.copied))") }
        if mountPoints > 0 {
            output.line(
                "  \(counted(mountPoints, "mount point")) not entered; --cross-mounts does that")
        }
        if let reason = log.stopReason { output.error("\(volume): \(reason)") }
        if log.count > 0 {
            output.error("\(directory): \(counted(log.count, "name")) could not be imported")
        }
        if log.accessLists > 0 {
            output.error(
                "\(directory): \(counted(log.accessLists, "access control list")) not kept")
        }
        return log.isWhole ? .success : .operational
    }

    private func members(
        _ counts: ImportCounts, _ mountPoints: Int, _ log: ImportLog, _ seconds: Double
    ) -> [(String, JSONValue)] {
        [
            ("directory", .string(directory)),
            ("outcome", log.isWhole ? "complete" : "incomplete"),
            ("reason", .optional(log.stopReason)),
            (
                "imported",
                .object([
                    ("inodes", .integer(counts.inodes)),
                    ("directories", .integer(counts.directories)),
                    ("files", .integer(counts.files)),
                    ("symlinks", .integer(counts.symlinks)),
                    ("others", .integer(counts.others)),
                    ("hardLinks", .integer(counts.hardLinks)),
                    ("attributes", .integer(counts.attributes)),
                    ("bytes", .unsigned(counts.bytes)),
                    ("bytesCopied", .unsigned(counts.copied)),
                ])
            ),
            ("mountPoints", .integer(mountPoints)),
            ("accessListsNotKept", .integer(log.accessLists)),
            (
                "failed",
                .object([
                    ("count", .integer(log.count)),
                    (
                        "first",
                        .array(
                            log.first.map {
                                .object([
                                    ("path", .string($0.path)), ("problem", .string($0.problem)),
                                ])
                            })
                    ),
                ])
            ),
            ("seconds", .object([("total", .number(seconds))])),
        ]
    }
}
