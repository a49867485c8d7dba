// Shrinking: of a scenario that fails, the smallest that still does. Parts are left out one
// after the other, and what fails without them stays left out, until nothing more can go;
// then the order is made as short as the failure allows.
//
// A part is left out by itself: what needed it is refused by the store, and that is no
// failure of the kind that is looked for.

internal import Bytes
internal import Tidemark

struct Shrinker {
    /// Tells how a scenario fails, if it does: the order that shows it, and what is said of it.
    let failure: (Scenario) -> (scenario: Scenario, text: String)?
    /// Scenarios that may be tried, and whether there is time for one more.
    var budget = 1000
    var hasTime: () -> Bool = { true }

    /// The smallest scenario that was found, with the order in which it fails.
    mutating func shrink(_ scenario: Scenario) -> (scenario: Scenario, text: String)? {
        var plain = scenario
        plain.order = []
        plain.expect = Expectations()
        for index in plain.runs.indices { plain.runs[index].expect = nil }
        guard var best = failure(plain) else { return nil }
        var isSmaller = true
        while isSmaller, budget > 0, hasTime() {
            isSmaller = false
            var place = 0
            while budget > 0, hasTime() {
                var smaller = best.scenario
                smaller.order = []
                guard Shrinker.leaveOut(place, of: &smaller) else { break }
                budget -= 1
                if let found = failure(smaller) {
                    best = found
                    isSmaller = true
                } else {
                    place += 1
                }
            }
        }
        return best
    }

    /// Leaves out one part, counted over all parts.
    /// - Returns: false where there are not so many.
    private static func leaveOut(_ number: Int, of scenario: inout Scenario) -> Bool {
        var number = number
        for lane in scenario.writers.indices.reversed() {
            let transactions = scenario.writers[lane].transactions
            if number < transactions.count {
                scenario.writers[lane].transactions.remove(at: transactions.count - 1 - number)
                if scenario.writers[lane].transactions.isEmpty { scenario.writers.remove(at: lane) }
                return true
            }
            number -= transactions.count
            for place in transactions.indices where transactions[place].operations.count > 1 {
                let count = transactions[place].operations.count
                if number < count {
                    scenario.writers[lane].transactions[place].operations.remove(at: number)
                    return true
                }
                number -= count
            }
        }
        if leaveOut(&number, of: &scenario.setup) { return true }
        if leaveOut(&number, of: &scenario.damage) { return true }
        if leaveOut(&number, of: &scenario.faults) { return true }
        if scenario.runs.count > 1, leaveOut(&number, of: &scenario.runs) { return true }
        return simplify(&number, &scenario.runs)
    }

    private static func leaveOut<Part>(_ number: inout Int, of parts: inout [Part]) -> Bool {
        if number < parts.count {
            parts.remove(at: parts.count - 1 - number)
            return true
        }
        number -= parts.count
        return false
    }

    /// Sets one option back to what it is by itself, or takes an index away.
    private static func simplify(_ number: inout Int, _ runs: inout [RunDescription]) -> Bool {
        let plain = RunDescription()
        for place in runs.indices {
            for path in [
                \RunDescription.scanners, \.window, \.spill, \.loadBatch, \.overlay, \.parts,
                \.compare, \.patch, \.reap, \.queue, \.checkpoints, \.replay,
            ] where runs[place][keyPath: path] != plain[keyPath: path] {
                if number == 0 {
                    runs[place][keyPath: path] = plain[keyPath: path]
                    return true
                }
                number -= 1
            }
            if runs[place].keepsOld {
                if number == 0 {
                    runs[place].keepsOld = false
                    return true
                }
                number -= 1
            }
            if runs[place].indexes.count > 1 {
                if number < runs[place].indexes.count {
                    runs[place].indexes.remove(at: number)
                    return true
                }
                number -= runs[place].indexes.count
            }
        }
        return false
    }
}
