// Calls that fail on purpose, for tests: the nth put, delete, commit or beginning of a write
// transaction in environments below a folder. In a release build nothing can be registered,
// and what asks is compiled away.

internal import Synchronization

package final class CallFailures: Sendable {
    package enum Call: String, CaseIterable, Sendable {
        case begin, put, delete, commit
        /// `next` of a cursor, in place of which liblmdb answers with an error of the disk.
        case next
        case sync

        /// Those that write.
        package static let writing: [Call] = [.begin, .put, .delete, .commit]
    }

    /// Which call fails, and how.
    package struct Plan: Sendable {
        let call: Call
        /// Counted from 1.
        let number: Int
        let code: LMDBError.Code

        package init(_ call: Call, number: Int, code: LMDBError.Code) {
            self.call = call
            self.number = number
            self.code = code
        }
    }

    private struct State {
        var counts: [Call: Int] = [:]
        var plan: Plan?
        var isCounting = false
    }

    private let state = Mutex(State())

    package init() {}

    /// Counts from the start, and lets happen what is planned.
    package func begin(_ plan: Plan?) {
        state.withLock { $0 = State(counts: [:], plan: plan, isCounting: true) }
    }

    /// Nothing fails any more, and nothing is counted.
    package func end() { state.withLock { $0.isCounting = false } }

    package var counts: [Call: Int] { state.withLock { $0.counts } }

    /// Whether the call is the one that is to fail.
    func fails(_ call: Call) -> Bool { take(call) != nil }

    private func take(_ call: Call) -> LMDBError.Code? {
        state.withLock { state in
            guard state.isCounting else { return nil }
            let number = state.counts[call, default: 0] + 1
            state.counts[call] = number
            guard let plan = state.plan, plan.call == call, plan.number == number else {
                return nil
            }
            return plan.code
        }
    }

    func check(_ call: Call, _ object: String) throws(LMDBError) {
        guard let code = take(call) else { return }
        throw LMDBError(code: code, operation: call.rawValue, object: object)
    }

    // MARK: Who fails

    #if TIDEMARK_MUTANTS
    private static let all = Mutex<[String: CallFailures]>([:])

    /// Environments that are opened below `folder` from here on fail as `failures` says.
    package static func register(_ failures: CallFailures?, below folder: String) {
        all.withLock { $0[folder] = failures }
    }

    static func registered(for path: String) -> CallFailures? {
        all.withLock { all in all.first { path.hasPrefix($0.key) }?.value }
    }
    #endif
}
