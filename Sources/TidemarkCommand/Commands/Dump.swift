// `tidemark dump`: the records of a table, decoded.

internal import ArgumentParser
internal import Bytes
internal import Reports
internal import Volume
internal import VolumeFormat

struct Dump: ServableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the records of a table as JSON lines.",
        discussion: """
            TABLE is super, inodes, dirents, extents, xattrs, symlinks, free, freelen, reclaim, \
            freeinos, quarantine or mends (where a scrub has made them); rmap, parents or quota \
            for the active generation; or one generation by its name, such as rmap.g2. One record \
            per line, {"key": …, "value": …}, in key order. \
            Names are escaped as everywhere; a record that can't be decoded has a member "damage" \
            and its bytes in hexadecimal. With --json the lines are the member "records" of one \
            document. Of an index file that `tidemark serve` keeps, TABLE is rmap or parents.

            Example: tidemark dump /tmp/v dirents | head
            """)

    @Argument(
        help: ArgumentHelp("The volume's directory, or an index file.", valueName: "volume"),
        transform: Arguments.path)
    var volume: String

    @Argument(help: "The table.")
    var table: String

    @OptionGroup var pages: PageOptions
    @OptionGroup var common: CommonOptions

    var target: String { volume }

    func execute(_ output: Output) throws -> ExitStatus {
        if AskedIndex.isMeant(volume) { return try dumpIndex(output) }
        return try withVolume(volume, .readOnly, output, pages: pages.pages) { opened in
            let snapshot = try opened.read()
            let name = try resolved(snapshot, opened)
            var count = 0, damaged = 0
            let isJSON = output.isJSON
            if isJSON { output.put(head(name)) }
            do {
                try snapshot.dump(name) { key, value in
                    if output.isUnread { throw DumpEnd() }
                    let record = DumpedRecord(table: name, key: key, value: value)
                    output.put((isJSON && count > 0 ? "," : "") + record.json.compact + "\n")
                    count += 1
                    damaged += record.isDamaged ? 1 : 0
                }
            } catch is DumpEnd {}
            if isJSON { output.put("],\"count\":\(count),\"damaged\":\(damaged)}\n") }
            if damaged > 0 {
                output.error("\(volume): \(counted(damaged, "record")) of \(name) can't be decoded")
            }
            return damaged > 0 ? .uncorrected : .success
        }
    }

    /// The head of the document, as `JSONValue` would print it.
    private func head(_ table: String) -> String {
        document([("table", .string(table))]).compact.dropLast() + ",\"records\":[\n"
    }

    private func dumpIndex(_ output: Output) throws -> ExitStatus {
        let index = try AskedIndex(volume, output)
        var count = 0
        let isJSON = output.isJSON
        guard AskedIndex.tables.contains(table) else {
            throw CommandFailure(
                "\(volume): there is no table \(table); there are rmap and parents", .usage)
        }
        if isJSON { output.put(head(table)) }
        do {
            try index.dump(table) { key, value in
                if output.isUnread { throw DumpEnd() }
                let record = JSONValue.object([("key", .object(key)), ("value", .object(value))])
                output.put((isJSON && count > 0 ? "," : "") + record.compact + "\n")
                count += 1
            }
        } catch is DumpEnd {}
        if isJSON { output.put("],\"count\":\(count),\"damaged\":0}\n") }
        return .success
    }

    /// Nobody reads any more.
    private struct DumpEnd: Error {}

    /// The table's own name.
    private func resolved(_ snapshot: VolumeSnapshot, _ opened: Volume) throws -> String {
        let names = try snapshot.tableNames()
        if names.contains(table) { return table }
        let active = try opened.statistics().generations.first {
            $0.record.index == table && $0.record.state == .active
        }
        if let active { return "\(table).g\(active.record.number)" }
        throw CommandFailure(
            "\(volume): there is no table \(table); there are \(names.joined(separator: ", ")), "
                + "rmap, parents and quota", .usage)
    }
}
