// The machine that was measured.

internal import Foundation

enum Machine {
    /// CPU model, cores, memory, kernel, and the load before the first measurement.
    static func description() -> String {
        let model = field("model name", of: "/proc/cpuinfo") ?? "unknown processor"
        let memory = field("MemTotal", of: "/proc/meminfo")
            .flatMap { Double($0.filter(\.isNumber)) }
        let gibibytes = (memory ?? 0) / 1024 / 1024
        let kernel = text("/proc/sys/kernel/osrelease")
            .trimmingCharacters(in: .whitespacesAndNewlines)
        let load = text("/proc/loadavg").split(separator: " ").prefix(3).joined(separator: " ")
        let cores = ProcessInfo.processInfo.processorCount
        return "\(model), \(cores) cores, \(gibibytes.shown(1)) GiB of memory, Linux \(kernel); "
            + "load average at the start \(load)"
    }

    static var date: String {
        let formatter = ISO8601DateFormatter()
        formatter.formatOptions = [.withFullDate]
        return formatter.string(from: Date())
    }

    /// CPU seconds that all processes together have taken since the machine came up.
    static var busySeconds: Double {
        let line = text("/proc/stat").prefix { $0 != "\n" }
        let ticks = line.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard ticks.count >= 8 else { return 0 }
        // user nice system idle iowait irq softirq steal
        return (ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]) / 100
    }

    private static func field(_ name: String, of file: String) -> String? {
        for line in text(file).split(separator: "\n") where line.hasPrefix(name) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            return line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces)
        }
        return nil
    }

    private static func text(_ file: String) -> String {
        (try? String(contentsOfFile: file, encoding: .utf8)) ?? ""
    }
}

extension Double {
    /// With `digits` decimals.
    func shown(_ digits: Int) -> String {
        isNaN ? "–" : String(format: "%.\(digits)f", self)
    }
}

extension Int {
    /// `10M`, `250k`.
    var shortened: String {
        if self >= 1_000_000, self % 1_000_000 == 0 { return "\(self / 1_000_000)M" }
        return self >= 1000 && self % 1000 == 0 ? "\(self / 1000)k" : "\(self)"
    }
}
