// Verdicts on names: parent pointers and link counts.

extension RepairVerdict {
    /// The verdict on the parent pointers of an inode; nil where they agree with the directories.
    package static func judge(_ evidence: NameEvidence) -> RepairVerdict? {
        let missing = evidence.missing, surplus = evidence.surplus
        guard !missing.isEmpty || !surplus.isEmpty else { return nil }
        var inodes = [evidence.inode]
        for name in missing + surplus where !inodes.contains(name.directory) {
            inodes.append(name.directory)
        }
        func verdict(
            _ belief: Belief, _ reason: String, _ witnesses: [String] = [],
            remedy: RepairItem? = nil, loss: String? = nil
        ) -> RepairVerdict {
            RepairVerdict(
                "parents", "inode \(evidence.inode)", belief, reason, witnesses: witnesses,
                inodes: inodes, remedy: remedy, loss: loss)
        }
        if evidence.isWithheld {
            return verdict(.unsettled, "it is being removed, or removed and open")
        }
        guard let generation = evidence.generation else {
            return verdict(
                .secondary,
                "\(labels(evidence.entries)) leads to it, and there is no such inode: the entry is "
                    + "wrong, or the inode is lost")
        }
        let item = RepairItem.parents(inode: evidence.inode, generation: generation)
        let loss = "what the parent pointers say: \(labels(evidence.pointers))"
        if evidence.entries.isEmpty {
            return verdict(
                .secondary,
                "no directory has it, and a parent pointer says \(labels(surplus)): the entry is "
                    + "lost", remedy: nil)
        }
        if let name = missing.first(where: evidence.notFound.contains) {
            return verdict(
                .open, "the directory lists \(name.label), and does not find it by its hash index",
                remedy: item, loss: loss)
        }
        if evidence.isDirectory {
            if evidence.entries.count > 1 {
                return verdict(
                    .secondary, "a directory has two names: \(labels(evidence.entries))")
            }
            guard evidence.above == evidence.entries[0].directory else {
                return verdict(
                    .open,
                    "\(evidence.entries[0].label) leads to it, and its '..' leads to "
                        + (evidence.above.map { "inode \($0)" } ?? "nothing"),
                    remedy: item, loss: loss)
            }
            return verdict(
                .primary, "\(evidence.entries[0].label) is right, the parent pointer is wrong",
                ["its '..' leads there", "the directory finds it by its hash index"], remedy: item)
        }
        if evidence.links == UInt32(clamping: evidence.entries.count) {
            return verdict(
                .primary,
                "\(labels(missing.isEmpty ? evidence.entries : missing)) "
                    + "is right, the parent pointers are wrong",
                [
                    "its link count is \(evidence.links), as many as its names in directories",
                    "the directories find them by their hash indexes",
                ], remedy: item)
        }
        return verdict(
            .open,
            "directories have \(evidence.entries.count) of its names, parent pointers "
                + "\(evidence.pointers.count), and its link count is \(evidence.links)",
            remedy: item, loss: loss)
    }

    /// The verdict on a link count.
    package static func judge(_ finding: LinkFinding, _ evidence: NameEvidence?) -> RepairVerdict {
        func verdict(
            _ belief: Belief, _ reason: String, _ witnesses: [String] = [],
            remedy: RepairItem? = nil, loss: String? = nil
        ) -> RepairVerdict {
            RepairVerdict(
                "links", "inode \(finding.inode)", belief, reason, witnesses: witnesses,
                inodes: [finding.inode], remedy: remedy, loss: loss)
        }
        if finding.isDirectory {
            var judged = verdict(
                .primary, "its entries are right, the count is wrong",
                ["it has \(finding.expected) with '.' and '..' of its directories"],
                remedy: .linkCounts)
            judged.unsure = ["an entry of a directory that is lost would look alike"]
            return judged
        }
        guard let evidence, !evidence.isWithheld, evidence.generation != nil else {
            return verdict(.unsettled, "it is gone, or being removed")
        }
        let count = UInt64(evidence.entries.count)
        if evidence.missing.isEmpty, evidence.surplus.isEmpty, count == finding.expected {
            return verdict(
                .primary, "its names are right, the count is wrong",
                [
                    "directories have \(count) of its names",
                    "parent pointers have the same",
                ], remedy: .linkCounts)
        }
        return verdict(
            .open,
            "directories have \(count) of its names, parent pointers \(evidence.pointers.count), "
                + "and its link count is \(finding.found)", remedy: .linkCounts,
            loss: "how many names it once had")
    }

    private static func labels(_ names: [NameEvidence.Name]) -> String {
        names.isEmpty ? "nothing" : names.map(\.label).joined(separator: " and ")
    }
}
