// What is measured of writers and requests, as JSON.

package import Meters
package import Reports

extension Activity {
    /// Latencies in microseconds, of the last second; null where nothing was done in it.
    package var json: JSONValue { .object(members) }

    fileprivate var members: [(String, JSONValue)] {
        func microseconds(_ seconds: Double?) -> JSONValue { .optional(seconds.map { $0 * 1e6 }) }
        return [
            ("count", .unsigned(count)), ("perSecond", .number(perSecond)),
            (
                "latency",
                .object([
                    ("p50", microseconds(median)), ("p99", microseconds(percentile99)),
                    ("max", microseconds(maximum)),
                ])
            ),
        ]
    }
}

extension LiveMount {
    package var json: JSONValue {
        .object([
            ("mountPoint", .string(mountPoint)),
            (
                "requests",
                .array(
                    requests.filter { $0.count > 0 }.map {
                        .object([("kind", .string($0.name))] + $0.members)
                    })
            ),
        ])
    }
}
