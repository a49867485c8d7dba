// `tidemark create`: an empty volume.

internal import ArgumentParser
internal import Reports
internal import Volume
internal import VolumeFormat

struct Create: TidemarkSubcommand {
    static let configuration = CommandConfiguration(
        abstract: "Create an empty volume.",
        discussion: """
            VOLUME must not exist, or be an empty directory. The data area is a sparse file: it \
            takes space on the disk only as it is filled. If the command fails, nothing is left \
            behind.

            Example: tidemark create /tmp/v --size 64G
            """)

    @Argument(
        help: ArgumentHelp("The directory to make.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Option(help: "The size of the data area, in bytes or with K, M, G or T (powers of 1,024).")
    var size = SizeArgument(bytes: CreateOptions.defaultSize)

    @Option(help: "The size of a block: a power of two from 512 to 64K.")
    var blockSize = SizeArgument(bytes: 4096)

    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func validate() throws {
        guard blockSize.bytes.nonzeroBitCount == 1, (512...65536).contains(blockSize.bytes) else {
            throw ValidationError("--block-size is a power of two from 512 to 64K.")
        }
        guard size.bytes / blockSize.bytes >= 64 else {
            throw ValidationError("--size has to be at least 64 blocks.")
        }
    }

    func execute(_ output: Output) throws -> ExitStatus {
        var options = CreateOptions(size: size.bytes)
        options.blockSize = UInt32(blockSize.bytes)
        try Volume.create(volume, options: options)
        try withVolume(volume, .readOnly, output) { opened in
            let geometry = opened.geometry
            output.json(
                ifAsked: document([
                    ("blockSize", .unsigned(UInt64(geometry.blockSize))),
                    ("blocks", .unsigned(geometry.blocks)),
                    ("identity", .string(uuid(geometry.identity))),
                ]))
            output.line(
                "\(volume): made, \(binarySize(geometry.blocks * UInt64(geometry.blockSize))) in "
                    + "blocks of \(binarySize(geometry.blockSize)), identity "
                    + uuid(geometry.identity))
        }
        return .success
    }
}

/// An identity as a UUID.
func uuid(_ identity: (UInt64, UInt64)) -> String {
    func digits(_ value: UInt64) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: 16 - text.count) + text
    }
    let all = Array(digits(identity.0) + digits(identity.1))
    var parts: [String] = []
    var start = 0
    for length in [8, 4, 4, 4, 12] {
        parts.append(String(all[start..<(start + length)]))
        start += length
    }
    return parts.joined(separator: "-")
}
