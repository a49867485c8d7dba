// The entries of the indexes as text, however damaged they are.

internal import Bytes
internal import VolumeFormat

/// An index by its name.
enum IndexName: String, CaseIterable {
    case rmap, parents, quota

    /// Counters in the inode records: no table of its own.
    static let links = "links"

    /// The fields of a key.
    func fields(_ key: RawSpan) -> [Finding.Field] {
        switch self {
        case .rmap where key.byteCount == 25:
            [
                .init("block", key.integer(at: 0, as: UInt64.self)),
                .init("inode", key.integer(at: 8, as: UInt64.self)),
                .init("fork", forkName(key.integer(at: 16))),
                .init("offset", key.integer(at: 17, as: UInt64.self)),
            ]
        case .parents where key.byteCount > 16:
            [
                .init("inode", key.integer(at: 0, as: UInt64.self)),
                .init("parent", key.integer(at: 8, as: UInt64.self)),
                .init("name", escapedName(key.extracting(droppingFirst: 16))),
            ]
        case .quota where key.byteCount == 5:
            [
                .init("type", usageTypeName(key.integer(at: 0))),
                .init("id", key.integer(at: 1, as: UInt32.self)),
            ]
        default: [.init("key", hexadecimal(key))]
        }
    }

    /// A value without its checksum.
    func text(_ payload: RawSpan) -> String {
        switch self {
        case .rmap where payload.byteCount == 5:
            "length \(payload.integer(at: 0, as: UInt32.self)), "
                + stateName(payload.integer(at: 4))
        case .parents where payload.byteCount == 4:
            "generation \(payload.integer(at: 0, as: UInt32.self))"
        case .quota where payload.byteCount == 16:
            "blocks \(payload.integer(at: 0, as: UInt64.self)), "
                + "inodes \(payload.integer(at: 8, as: UInt64.self))"
        default: "bytes \(hexadecimal(payload))"
        }
    }
}

private func usageTypeName(_ type: UInt8) -> String {
    switch type {
    case 0: "volume"
    case 1: "user"
    case 2: "group"
    case 3: "project"
    default: "\(type)"
    }
}

private func stateName(_ state: UInt8) -> String {
    ExtentState(rawValue: state).map { "\($0)" } ?? "state \(state)"
}
