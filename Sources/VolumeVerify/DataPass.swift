// The data area, as far as it says anything about itself: whose it is, and how long.
//
// The label and its length are those of Docs/format.md; the code that writes them is not used.

internal import Bytes
internal import VolumeFormat
#if canImport(Glibc)
internal import Glibc
#endif

/// What stands at the start of the data area.
private enum Label {
    /// `TIDEDATA`.
    static let magic: UInt64 = 0x5449_4445_4441_5441
    static let size = 28
}

/// Looks at the file or device `path`.
/// - Throws: where it can't be read although it is there.
func verifyData(_ path: String, _ geometry: Geometry, _ findings: Findings) throws {
    func defect(_ kind: PrimaryDefect, _ found: String?, _ expected: String) {
        findings.defect(
            kind, in: "data", key: [.init("file", path.shownPath)], found: found,
            expected: expected)
    }
    let file = open(path.hostPath, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else {
        guard errno == ENOENT else { throw VerifyError.unreadable(path: path, errno: errno) }
        return defect(.dataLabel, nil, "a data area")
    }
    defer { close(file) }
    var label = [UInt8](repeating: 0, count: Label.size)
    let count = pread(file, &label, label.count, 0)
    guard count >= 0 else { throw VerifyError.unreadable(path: path, errno: errno) }
    if count < label.count {
        defect(.dataLabel, "\(count) bytes", "a label of \(label.count) bytes")
    } else {
        judge(label.rawSpan, geometry, defect)
    }
    let end = lseek(file, 0, SEEK_END)
    guard end >= 0 else { throw VerifyError.unreadable(path: path, errno: errno) }
    let needed = geometry.blocks.multipliedReportingOverflow(by: UInt64(geometry.blockSize))
    if needed.overflow || UInt64(end) < needed.partialValue {
        let least = needed.overflow ? "more than 2^64" : "\(needed.partialValue)"
        defect(.dataLength, "\(end) bytes", "\(least) bytes or more")
    }
}

private func judge(
    _ label: RawSpan, _ geometry: Geometry, _ defect: (PrimaryDefect, String?, String) -> Void
) {
    guard label.integer(at: 0, as: UInt64.self) == Label.magic,
        (try? label.verified(key: RawSpan())) != nil
    else { return defect(.dataLabel, "bytes that are no label", "a label") }
    let identity: (UInt64, UInt64) = (label.integer(at: 8), label.integer(at: 16))
    guard identity == geometry.identity else {
        func words(_ identity: (UInt64, UInt64)) -> String {
            "identity \(String(identity.0, radix: 16)) \(String(identity.1, radix: 16))"
        }
        return defect(.dataLabel, words(identity), words(geometry.identity))
    }
}
