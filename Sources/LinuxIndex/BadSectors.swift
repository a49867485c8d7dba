// Lists of bad sectors, as programs print them:
//
// - `badblocks`: a number on each line, in units of the block size that it was run with.
// - `smartctl -l selftest`, `-l error`, `-l xerror`: the LBA of the first error of a self-test that
//   failed, and that of each error of the log.
// - the kernel's log: `I/O error, dev sda, sector 1953120 op 0x0:(READ) …`. What it says of buffers
//   and filesystems is in other units and tells of the same errors once more: it is passed over.
//
// A line that is of a list and can't be read is an error, never a guess: a sector that is taken for
// another one names the wrong file.

/// What prints a list of bad sectors.
package enum BadSectorFormat: String, Sendable, CaseIterable {
    case badblocks, smartctl, kernel

    /// Bytes of what is counted, where nobody says otherwise.
    package var unit: UInt64 { self == .badblocks ? 1024 : 512 }
}

/// A bad sector of 512 bytes.
package struct BadSector: Hashable, Sendable, Comparable {
    /// The kernel's name of the device that it is of, where the list says that.
    package let device: String?
    package let sector: UInt64

    package init(device: String? = nil, _ sector: UInt64) {
        self.device = device
        self.sector = sector
    }

    package static func < (a: BadSector, b: BadSector) -> Bool {
        (a.sector, a.device ?? "") < (b.sector, b.device ?? "")
    }
}

package struct BadSectorError: Error, Hashable, Sendable, CustomStringConvertible {
    /// Counted from 1; nil: the list as a whole.
    package let line: Int?
    package let reason: String

    package var description: String {
        (line.map { "standard input, line \($0): " } ?? "standard input: ") + reason
    }
}

/// Takes a list in, line by line.
package struct BadSectorList: Sendable {
    private let format: BadSectorFormat
    private let unit: UInt64
    private var number = 0
    /// Whether something was read that only such a list has.
    private var isRecognised = false
    package private(set) var sectors: Set<BadSector> = []

    /// Sectors at the most.
    static let limit = 1 << 20

    /// - Parameter unit: bytes of what is counted: a multiple of 512.
    package init(_ format: BadSectorFormat, unit: UInt64? = nil) {
        self.format = format
        self.unit = unit ?? format.unit
        precondition(self.unit >= 512 && self.unit % 512 == 0 && self.unit <= 1 << 30)
    }

    package mutating func take(_ line: some StringProtocol) throws(BadSectorError) {
        number += 1
        let words = String(line).split(whereSeparator: { $0.isWhitespace }).map { String($0) }
        guard !words.isEmpty else { return }
        switch format {
        case .badblocks:
            guard words.count == 1, let block = decimal(words[0]) else {
                throw wrong("`\(shown(line))` is no number of a block: badblocks prints one a line")
            }
            isRecognised = true
            try add(block)
        case .smartctl: try takeSmart(words, line)
        case .kernel: try takeKernel(words, line)
        }
    }

    /// To be called behind the last line.
    package func finish() throws(BadSectorError) {
        guard !isRecognised, number > 0 else { return }
        switch format {
        case .badblocks: return
        case .smartctl:
            throw BadSectorError(
                line: nil,
                reason: "nothing in it is of `smartctl -l selftest`, `-l error` or "
                    + "`-l xerror`")
        case .kernel: return
        }
    }

    // MARK: Formats

    private mutating func takeSmart(
        _ words: [String], _ line: some StringProtocol
    ) throws(BadSectorError) {
        if line.contains("LBA_of_first_error") || line.contains("LBA_first_err")
            || line.contains("Error Log")
        {
            isRecognised = true
        }
        // "40 51 08 00 40 37 e6  Error: UNC 8 sectors at LBA = 0x06374000 = 104284160"
        if let place = words.firstIndex(of: "LBA"), place + 4 < words.count,
            words[place + 1] == "=", words[place + 3] == "=",
            words[..<place].contains("Error:")
        {
            guard let sector = decimal(words[place + 4]), hexadecimal(words[place + 2]) == sector
            else { throw wrong("`\(shown(line))` names no LBA") }
            isRecognised = true
            return try add(sector)
        }
        // "# 1  Extended offline    Completed: read failure       90%     18801      104284160"
        guard words[0].hasPrefix("#") else { return }
        isRecognised = true
        var last = words.count - 1
        // Of SCSI: "… 0x1f3c0 [0x3 0x11 0x0]".
        if let bracket = words.firstIndex(where: { $0.hasPrefix("[") }) { last = bracket - 1 }
        guard last > 1 else { throw wrong("`\(shown(line))` is no line of a self-test log") }
        if words[last] == "-" { return }
        guard let sector = decimal(words[last]) ?? hexadecimal(words[last]) else {
            throw wrong("`\(shown(line))` ends with no LBA")
        }
        try add(sector)
    }

    private mutating func takeKernel(
        _ words: [String], _ line: some StringProtocol
    ) throws(BadSectorError) {
        // "… I/O error, dev sda, sector 1953120 op …", "… critical medium error, dev sda, sector 7"
        guard let place = words.firstIndex(of: "dev"), place > 0, place + 3 < words.count,
            words[place - 1] == "error,", words[place + 2] == "sector",
            words[place + 1].hasSuffix(",")
        else { return }
        isRecognised = true
        guard
            let sector = decimal(
                words[place + 3].hasSuffix(",")
                    ? String(words[place + 3].dropLast()) : words[place + 3])
        else { throw wrong("`\(shown(line))` names no sector") }
        try add(sector, of: String(words[place + 1].dropLast()))
    }

    // MARK: Numbers

    private func decimal(_ word: String) -> UInt64? {
        word.utf8.allSatisfy { (48...57).contains($0) } ? UInt64(word) : nil
    }

    private func hexadecimal(_ word: String) -> UInt64? {
        guard word.hasPrefix("0x") else { return nil }
        let digits = word.dropFirst(2)
        return digits.allSatisfy(\.isHexDigit) ? UInt64(digits, radix: 16) : nil
    }

    private mutating func add(_ number: UInt64, of device: String? = nil) throws(BadSectorError) {
        let (first, overflow) = number.multipliedReportingOverflow(by: unit / 512)
        guard !overflow, first <= 1 << 54 else { throw wrong("\(number) is beyond every device") }
        // All of them: a unit may reach over several blocks.
        for sector in first..<first + unit / 512 {
            guard sectors.count < BadSectorList.limit else {
                throw wrong("more than \(BadSectorList.limit) sectors: give it in parts")
            }
            sectors.insert(BadSector(device: device, sector))
        }
    }

    private func wrong(_ reason: String) -> BadSectorError {
        BadSectorError(line: number, reason: reason)
    }

    private func shown(_ line: some StringProtocol) -> String {
        line.count > 80 ? "\(line.prefix(80))…" : String(line)
    }
}
