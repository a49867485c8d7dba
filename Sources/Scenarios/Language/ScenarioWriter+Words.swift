// Operations, places and turns as words, as Words reads them.

internal import Tidemark

// MARK: Operations

func words(_ operation: Operation) -> String {
    switch operation {
    case .make(let making, let path): "\(making.rawValue) \(words(path))"
    case .link(let file, let name): "link \(words(file)) \(words(name))"
    case .unlink(let path): "unlink \(words(path))"
    case .rmdir(let path): "rmdir \(words(path))"
    case .rename(let renaming, let old, let new):
        "\(renaming.rawValue) \(words(old)) \(words(new))"
    case .map(let mapping, let path, let offset, let length):
        "\(mapping.rawValue) \(words(path)) \(offset) \(length)"
    case .truncate(let path, let length): "truncate \(words(path)) \(length)"
    case .open(let path): "open \(words(path))"
    case .close(let path): "close \(words(path))"
    case .chmod(let path, let bits): "chmod \(words(path)) \(String(bits, radix: 8))"
    case .chown(let path, let uid, let gid, let project):
        "chown \(words(path)) \(uid) \(gid) \(project)"
    case .set(let item, let tag, let weight): "set \(item) \(word(tag)) \(weight)"
    case .remove(let item, let tag): "remove \(item) \(word(tag))"
    }
}

func words(_ damage: Damage) -> String {
    "\(damage.kind.rawValue) \(damage.index) \(words(damage.place))"
}

// MARK: Paths and places

func words(_ path: Path) -> String {
    guard let base = path.base else {
        return path.names.isEmpty ? "/" : path.names.map(word).joined(separator: "/")
    }
    return (["#\(base)"] + path.names.map(word)).joined(separator: "/")
}

func words(_ place: Place) -> String {
    switch place.part {
    case .all: words(place.path)
    case .inode: "\(words(place.path)):."
    case .entry(let name): "\(words(place.path)):\(word(name))"
    case .extent(let block): "\(words(place.path))@\(block)"
    case .tagging(let item, let tag): "\(item):\(word(tag))"
    }
}

func words(_ scope: ScopeDescription) -> String {
    switch scope {
    case .inode(let path): "inode \(words(path))"
    case .subtree(let path): "subtree \(words(path))"
    case .blocks(let start, let count): "blocks \(start) \(count)"
    }
}

/// One name, in single quotes where it would not stand for itself.
private func word(_ text: String) -> String {
    let isPlain = text.unicodeScalars.allSatisfy { scalar in
        switch scalar {
        case " ", "\t", "\n", "\r", "'", "/", ":", "@", "#": false
        default: true
        }
    }
    guard !isPlain || text.isEmpty else { return text }
    var quoted = "'"
    for scalar in text.unicodeScalars {
        if scalar == "'" { quoted += "'" }
        quoted.unicodeScalars.append(scalar)
    }
    return quoted + "'"
}

// MARK: Turns

/// How lanes are called.
struct Lanes {
    /// Whether a run's name stands in front of its lanes.
    let hasNames: Bool

    /// Whether the runs of a scenario have names of their own.
    static func haveNames(_ runs: [RunDescription]) -> Bool {
        runs.count != 1 || runs[0].name != RunDescription().name
    }

    fileprivate func event(_ word: String, _ run: String) -> String {
        hasNames ? "\(word): \(run)" : word
    }

    fileprivate func name(_ run: String, _ part: String, _ number: Int = 1) -> String {
        (hasNames ? "\(run) " : "") + part + (number == 1 ? "" : " \(number)")
    }
}

/// A turn as `order` has it.
func turn(_ turn: Turn, _ lanes: Lanes) -> String {
    let lane: String
    switch turn.lane {
    case .crash(let isMachine): return isMachine ? "crash: machine" : "crash"
    case .restart(let run): return lanes.event("restart", run)
    case .stop(let run, let isPause): return lanes.event(isPause ? "pause" : "stop", run)
    case .resume(let run): return lanes.event("resume", run)
    case .sideFile(let run, let isLost): return lanes.event(isLost ? "lose" : "spoil", run)
    case .writer(let name): lane = name
    case .scanner(let run, let number): lane = lanes.name(run, "scanner", number)
    case .assistant(let run): lane = lanes.name(run, "assistant")
    case .compare(let run, let number): lane = lanes.name(run, "compare", number)
    case .merger(let run): lane = lanes.name(run, "merger")
    case .feed(let run, let number): lane = lanes.name(run, "feed", number)
    case .feedEnds(let reason): return "feed ends: \(scalar(reason))"
    case .checkpoint(let run): lane = lanes.name(run, "checkpoint")
    case .coordinator(let run): lane = run
    }
    return "\(lane): \(until(turn))"
}

private func until(_ turn: Turn) -> String {
    switch turn.until {
    case .steps(let steps): return "\(steps)"
    case .end:
        if case .assistant = turn.lane { return "all" }
        return "end"
    case .step(let name): return name
    case .opened(let place): return scalar("opened \(words(place))")
    case .read(let place): return scalar("read \(words(place))")
    }
}
