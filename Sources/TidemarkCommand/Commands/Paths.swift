// `tidemark paths`: from an inode to its names.

internal import ArgumentParser
internal import Bytes
internal import Reports
internal import Volume
internal import VolumeFormat

struct Paths: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print every path that leads to an inode.",
        discussion: """
            Answered from the live parent pointers, each checked against its directory entry. \
            Control characters, backslashes and bytes that are not UTF-8 are printed as \\xHH. \
            Missing or wrong parent pointers are reported, and the exit status is then 1.

            Of a mounted XFS or ext4 the index answers that `tidemark serve` keeps, and says as \
            of when; without one all inodes are read for the answer. Exit status 16: that is not \
            settled.

            Example: tidemark paths /tmp/v --inode 4711
            """)

    @Argument(
        help: ArgumentHelp(
            "The volume's directory, a mount point, or an index file.", valueName: "target"),
        transform: Arguments.path)
    var target: String

    @Option(help: "The inode number.")
    var inode: UInt64

    @Option(help: "How many paths at the most.")
    var limit = VolumeSnapshot.mostPaths

    @OptionGroup var common: CommonOptions

    func validate() throws {
        guard (1...VolumeSnapshot.mostPaths).contains(limit) else {
            throw ValidationError("--limit is 1 to \(VolumeSnapshot.mostPaths).")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        if isOfIndex { return try askIndex(output) }
        return try withVolume(target, .readOnly, output) { volume in
            let report = try volume.read().paths(of: inode, limit: limit)
            let paths = report.paths.map { escapedName($0) }
            output.json(
                ifAsked: document([
                    ("inode", .unsigned(inode)), ("paths", .array(paths.map { .string($0) })),
                    ("isComplete", .bool(!report.isCut)),
                    ("problems", .array(report.problems.map { .string("\($0)") })),
                ]))
            for path in paths { output.line(path) }
            if report.isCut { output.note("there are more than \(paths.count) paths; see --limit") }
            for problem in report.problems { output.error("\(problem)") }
            if paths.isEmpty, report.problems.isEmpty {
                output.note("inode \(inode) has no name: it was unlinked")
            }
            return report.problems.isEmpty ? .success : .uncorrected
        }
    }
}
