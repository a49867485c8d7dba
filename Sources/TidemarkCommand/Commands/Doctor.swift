// `tidemark doctor`: what can be done with a mounted filesystem, and what can't.

internal import ArgumentParser
internal import LinuxFilesystem
internal import LinuxOwner
internal import Reports

struct Doctor: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Say what can be checked on a mounted filesystem, and what each limit means.",
        discussion: """
            Looks at the kernel, the filesystem's features, the privileges of this process, the \
            trace events and the kernel's online repair. It changes nothing.

            Exit status: 0 a check can be made; 4 it can't, or the filesystem can't be opened.

            Example: tidemark doctor /srv
            """)

    @Argument(help: ArgumentHelp("Where the filesystem is mounted.", valueName: "mountpoint"))
    var target: String

    @OptionGroup var common: CommonOptions

    func execute(_ output: Output) throws -> ExitStatus {
        let examination = try Examination(path: target)
        output.json(
            ifAsked: document([
                ("canCheck", .bool(examination.canCheck)),
                (
                    "abilities",
                    .array(
                        examination.abilities.map { ability in
                            .object([
                                ("name", .string(ability.name)),
                                ("state", .string(ability.state.rawValue)),
                                ("found", .string(ability.found)),
                                ("meaning", .string(ability.meaning)),
                            ])
                        })
                ),
            ]))
        for ability in examination.abilities {
            let meaning = ability.meaning.isEmpty ? "" : ": \(ability.meaning)"
            output.line("\(ability.name): \(ability.state.rawValue): \(ability.found)\(meaning)")
        }
        output.line(
            examination.canCheck
                ? "\(target) can be checked" : "\(target) can't be checked from here")
        return examination.canCheck ? .success : .operational
    }
}
