// Lines of a picture on a terminal: text with colours, which are left out where there are none, cut
// to a width; bars and small curves in the characters that the terminal has.

/// What a terminal can do.
struct WatchStyle: Sendable {
    var columns = 80
    var rows = 24
    var isColored = false
    var isUnicode = false
}

struct WatchLine {
    enum Color: String {
        case bold = "1"
        case dim = "2"
        case red = "31"
        case yellow = "33"
    }

    private var parts: [(text: String, color: Color?)] = []

    init(_ text: String = "", _ color: Color? = nil) { add(text, color) }

    mutating func add(_ text: String, _ color: Color? = nil) {
        if !text.isEmpty { parts.append((text, color)) }
    }

    /// The line, no wider than the terminal.
    func rendered(_ style: WatchStyle) -> String {
        var left = style.columns, text = ""
        for part in parts {
            var shown = ""
            for character in part.text {
                let character = character.isControl ? "?" : character
                guard character.columns <= left else {
                    left = 0
                    break
                }
                left -= character.columns
                shown.append(character)
            }
            guard !shown.isEmpty else { continue }
            if style.isColored, let color = part.color {
                text += "\u{1b}[\(color.rawValue)m\(shown)\u{1b}[0m"
            } else {
                text += shown
            }
            if left == 0 { break }
        }
        return text
    }
}

extension Character {
    fileprivate var isControl: Bool {
        unicodeScalars.contains { $0.value < 0x20 || (0x7f..<0xa0).contains($0.value) }
    }

    /// Of a terminal: two for the letters of East Asia and for pictures, as nearly as that is
    /// known without a table.
    fileprivate var columns: Int {
        guard let first = unicodeScalars.first else { return 0 }
        switch first.value {
        case 0x1100...0x115f, 0x2e80...0xa4cf, 0xac00...0xd7a3, 0xf900...0xfaff,
            0xfe30...0xfe6f, 0xff00...0xff60, 0xffe0...0xffe6, 0x1f300...0x1faff,
            0x20000...0x3fffd:
            return 2
        default: return 1
        }
    }
}

extension WatchStyle {
    /// How much of something is done, as a bar of `width` characters.
    func bar(_ part: Double, _ width: Int) -> String {
        let part = part.isFinite ? min(max(part, 0), 1) : 0
        guard isUnicode else {
            let filled = Int(part * Double(width - 2))
            return "[" + String(repeating: "#", count: filled)
                + String(repeating: ".", count: width - 2 - filled) + "]"
        }
        let eighths = Int(part * Double(width * 8))
        var text = String(repeating: "█", count: eighths / 8)
        if eighths % 8 > 0 { text += String(Array("▏▎▍▌▋▊▉")[eighths % 8 - 1]) }
        return text + String(repeating: "░", count: width - text.count)
    }

    /// A curve of the last values, in time's direction; the highest is the full height.
    func curve(_ values: [Double], _ width: Int) -> String {
        let shown = values.suffix(width), highest = shown.max() ?? 0
        let steps = Array(isUnicode ? "▁▂▃▄▅▆▇█" : "_.:-=+*#")
        let text = shown.map { value -> Character in
            guard highest > 0, value > 0 else { return steps[0] }
            return steps[min(Int(value / highest * Double(steps.count)), steps.count - 1)]
        }
        return String(text) + String(repeating: " ", count: width - text.count)
    }
}
