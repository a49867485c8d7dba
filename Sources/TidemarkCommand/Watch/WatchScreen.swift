// A picture on a terminal that is drawn over and over, in place: what was printed before it stays,
// and so does the last picture.

internal import Bytes
internal import HostFiles

final class WatchScreen {
    private var drawn = 0
    /// Whether nothing can be drawn any more.
    private(set) var hasFailed = false
    private var size = (columns: 0, rows: 0)
    private var picture: (WatchStyle) -> [String] = { _ in [] }

    /// - Returns: nil where standard output is no terminal that could be redrawn.
    init?() {
        guard StandardStream.output.isTerminal, StandardStream.isDrawable else { return nil }
    }

    /// - Parameter picture: of the lines for a terminal; called again when that has another size.
    func show(_ picture: @escaping (WatchStyle) -> [String]) {
        self.picture = picture
        draw()
    }

    func redrawIfResized() { if StandardStream.output.size != size { draw() } }

    private func draw() {
        let now = StandardStream.output.size
        // A terminal of another width has broken the lines anew: nobody knows where they are.
        var text = drawn == 0 ? "" : now == size ? "\u{1b}[\(drawn)A" : "\u{1b}[2J\u{1b}[H"
        size = now
        // The last column stays free: some terminals go on to the next line when it is written.
        let style = WatchStyle(
            columns: max(20, size.columns - 1), rows: size.rows,
            isColored: StandardStream.mayUseColor, isUnicode: StandardStream.isUTF8)
        let lines = picture(style)
        for line in lines { text += "\r\u{1b}[K\(line)\n" }
        // What the last picture had more.
        text += "\u{1b}[J"
        do throws(HostError) {
            try StandardStream.output.write(text.shownPath)
        } catch {
            hasFailed = true
        }
        drawn = lines.count
    }
}
