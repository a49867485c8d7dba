// A plan, step by step: the kernel is asked, and what it has done is looked at before the next is
// asked for. The first surprise ends it: the kernel finds something else that is wrong, refuses, or
// what was to be mended is not. What was done stays done; running it again goes on, since a check
// comes first.

public import LinuxFilesystem

/// Whoever carries out repairs.
public protocol RepairKernel {
    func perform(_ request: ScrubRequest) throws(LinuxCallError) -> ScrubAnswer
}

extension XFSFilesystem: RepairKernel {
    public func perform(_ request: ScrubRequest) throws(LinuxCallError) -> ScrubAnswer {
        try scrub(request)
    }
}

extension RepairStep {
    public var request: ScrubRequest {
        let action: ScrubRequest.Action = isForced ? .rebuild : .repair
        return switch item {
        case .reverseMap(let group): ScrubRequest(.reverseMap, .group(group), action)
        case .parents(let inode, let generation):
            ScrubRequest(.parents, .inode(inode, generation: generation), action)
        case .linkCounts: ScrubRequest(.linkCounts, .filesystem, action)
        case .counters: ScrubRequest(.counters, .filesystem, action)
        }
    }
}

/// What has become of a step.
public struct RepairResult: Hashable, Sendable {
    public enum State: String, Sendable {
        case mended
        /// The kernel saw no need, and nothing is wrong any more.
        case needless
        case held
        /// It ended the repair.
        case failed
        /// The repair had ended before.
        case notReached
    }

    public let step: RepairStep
    public let state: State
    /// Why, where it was not mended.
    public let reason: String?
    public let refusal: ScrubRefusal?

    init(
        _ step: RepairStep, _ state: State, _ reason: String? = nil,
        _ refusal: ScrubRefusal? = nil
    ) {
        self.step = step
        self.state = state
        self.reason = reason
        self.refusal = refusal
    }
}

public struct RepairExecution {
    /// How often a step that others hold up is asked for, and how long it waits before it is asked
    /// for again, in nanoseconds.
    static let attempts = 20, pause: Int64 = 100_000_000

    let kernel: any RepairKernel
    /// Of a step that was carried out: what is still wrong.
    let recheck: (RepairStep) throws -> [String]
    let isStopped: () -> Bool
    let wait: (Int64) -> Void

    public init(
        kernel: any RepairKernel, isStopped: @escaping () -> Bool = { false },
        wait: @escaping (Int64) -> Void = XFSOwner.sleep,
        recheck: @escaping (RepairStep) throws -> [String]
    ) {
        self.kernel = kernel
        self.recheck = recheck
        self.isStopped = isStopped
        self.wait = wait
    }

    /// Carries out what is not held, in order, up to the first surprise.
    /// - Parameter onResult: told of each.
    public func run(
        _ plan: RepairPlan, onResult: (RepairResult) -> Void = { _ in }
    ) throws -> [RepairResult] {
        var results: [RepairResult] = []
        var hasEnded = false
        for step in plan.steps {
            let result: RepairResult
            if let reason = step.held {
                result = RepairResult(step, .held, reason)
            } else if hasEnded {
                result = RepairResult(step, .notReached)
            } else if isStopped() {
                result = RepairResult(step, .notReached, "stopped")
                hasEnded = true
            } else {
                result = try perform(step)
                hasEnded = result.state == .failed
            }
            results.append(result)
            onResult(result)
        }
        return results
    }

    private func perform(_ step: RepairStep) throws -> RepairResult {
        for attempt in 1...RepairExecution.attempts {
            let answer: ScrubAnswer
            do throws(LinuxCallError) {
                answer = try kernel.perform(step.request)
            } catch {
                let refusal = ScrubRefusal(error)
                let mayPass = refusal == .busy || refusal == .interrupted
                if mayPass, attempt < RepairExecution.attempts, !isStopped() {
                    wait(RepairExecution.pause)
                    continue
                }
                return RepairResult(step, .failed, refusal.words ?? "\(error)", refusal)
            }
            if answer.contains(.incomplete), attempt < RepairExecution.attempts, !isStopped() {
                wait(RepairExecution.pause)
                continue
            }
            guard answer.complaints.isEmpty else {
                let words = answer.complaints.joined(separator: " and ")
                return RepairResult(step, .failed, "the kernel says that it is \(words)")
            }
            let left = try recheck(step)
            guard left.isEmpty else {
                return RepairResult(
                    step, .failed, "the kernel says that it is right, and it is not: "
                        + left.joined(separator: "; "))
            }
            return RepairResult(step, answer.contains(.wasRight) ? .needless : .mended)
        }
        preconditionFailure("the last attempt decides")
    }
}

extension ScrubRefusal {
    /// What to do, for a user; nil where only the error itself says anything.
    var words: String? {
        switch self {
        case .notSupported: "this kernel has no repair of it"
        case .noObject: "it is gone, or was replaced: run the repair again"
        case .readOnly: "the filesystem is mounted for reading only: remount it for writing"
        case .damaged: "what the kernel would rebuild it from is corrupt, too: unmount it and run "
            + "xfs_repair"
        case .busy: "others hold what the kernel needs for it: run the repair again"
        case .noRoom: "there is no room to build a new copy in: free some space or memory, and run "
            + "the repair again"
        case .interrupted: "interrupted: run the repair again"
        case .forbidden: "not allowed: run it as root, or with CAP_SYS_ADMIN"
        case .shutDown: "the filesystem has been shut down, or its device fails"
        case .other: nil
        }
    }
}
