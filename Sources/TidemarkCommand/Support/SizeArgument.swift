// Sizes as people write them.

internal import ArgumentParser
internal import Reports

/// A number of bytes: `64G`, `512M`, `1.5T`, `4096`. K, M, G, T, P are powers of 1,024, with
/// or without `iB` or `B` behind them.
struct SizeArgument: ExpressibleByArgument {
    let bytes: UInt64

    init(bytes: UInt64) { self.bytes = bytes }

    init?(argument: String) {
        var digits = argument[...]
        if digits.hasSuffix("iB") { digits = digits.dropLast(2) }
        if digits.hasSuffix("B") { digits = digits.dropLast() }
        var factor: UInt64 = 1
        if let letter = digits.last,
            let power = "KMGTP".firstIndex(of: Character(letter.uppercased()))
        {
            factor = 1 << (10 * UInt64("KMGTP".distance(from: "KMGTP".startIndex, to: power) + 1))
            digits = digits.dropLast()
        }
        if let whole = UInt64(digits) {
            let (product, overflow) = whole.multipliedReportingOverflow(by: factor)
            guard !overflow else { return nil }
            bytes = product
        } else {
            guard let number = Double(digits), number.isFinite, number >= 0,
                number * Double(factor) < 9e18, factor > 1
            else { return nil }
            bytes = UInt64(number * Double(factor))
        }
    }

    var defaultValueDescription: String { binarySize(bytes) }
}
