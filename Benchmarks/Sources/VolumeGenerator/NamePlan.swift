// Which inodes there are, and which names lead to them.
//
// Nothing is in an order that would help: an inode's number says nothing about its
// directory, names are random, and so neighbours in a directory are strangers in the index
// of parent pointers.

internal import VolumeFormat

struct NamePlan: Sendable {
    let seed: UInt64
    /// Directory entries.
    let entries: Int
    /// Inode numbers are 1 to `inodes`.
    let inodes: Int
    /// By inode number; entry 0 is not used.
    private(set) var types: [FileType]
    /// The directory of each entry. Entry `e` below `inodes - 1` is the first name of inode
    /// `e + 2`; the others are hard links.
    private(set) var directory: [UInt32]
    /// The inodes of the hard links, from entry `inodes - 1` on.
    private var linked: [UInt32] = []
    /// The hard links in the order of their inodes.
    private(set) var linksByChild: [UInt32] = []

    init(entries: Int, seed: UInt64) {
        self.seed = seed
        self.entries = entries
        inodes = 1 + entries - entries / 50
        types = [FileType](repeating: .regular, count: inodes + 1)
        directory = [UInt32](repeating: 0, count: entries)
        var random = Random(seed: seed)
        types[1] = .directory
        for inode in 2...inodes {
            switch random.below(100) {
            case 0..<4: types[inode] = .directory
            case 4..<6: types[inode] = .symlink
            default: break
            }
        }
        placeNames(&random)
        let linked = linked, first = inodes - 1
        linksByChild = (first..<entries).map(UInt32.init).sorted {
            (linked[Int($0) - first], $0) < (linked[Int($1) - first], $1)
        }
    }

    private mutating func placeNames(_ random: inout Random) {
        var directories = types.indices.filter { $0 > 1 && types[$0] == .directory }
            .map(UInt32.init)
        random.shuffle(&directories)
        // A tree: each directory below the root or one that comes before it in this order.
        for (position, inode) in directories.enumerated() {
            let parent = random.below(position + 1)
            directory[Int(inode) - 2] = parent == 0 ? 1 : directories[parent - 1]
        }
        directories.insert(1, at: 0)
        // A few huge directories hold an eighth of all names; the others vary from none to
        // thousands.
        let huge = max(1, entries / 2_000_000)
        for entry in 0..<entries {
            if entry >= inodes - 1 {
                var child = 0
                repeat { child = 2 + random.below(inodes - 1) } while types[child] != .regular
                linked.append(UInt32(child))
            } else if types[entry + 2] == .directory {
                continue
            }
            if random.chance(oneIn: 8) {
                directory[entry] = directories[directories.count - 1 - random.below(huge)]
            } else {
                let u = random.fraction()
                directory[entry] = directories[Int(u * u * Double(directories.count))]
            }
        }
    }

    func child(_ entry: Int) -> Int {
        entry < inodes - 1 ? entry + 2 : Int(linked[entry - (inodes - 1)])
    }

    /// Each use of an inode number has a generation of its own; these were used once.
    func generation(_ inode: Int) -> UInt32 { UInt32(inode) }

    func target(_ entry: Int) -> DirentTarget {
        let child = child(entry)
        return DirentTarget(
            child: InodeNumber(child), generation: generation(child), type: types[child])
    }

    /// Appends the entry's name: random, mostly 8 to 24 bytes, and unique, because what
    /// follows the dot is the entry's number.
    func appendName(of entry: Int, to name: inout [UInt8]) {
        var random = Random(seed: seed, object: entry)
        let length = random.chance(oneIn: 1000) ? 200 + random.below(40) : 3 + random.below(16)
        for _ in 0..<length { name.append(NamePlan.letters[random.below(NamePlan.letters.count)]) }
        name.append(UInt8(ascii: "."))
        var number = entry
        repeat {
            name.append(NamePlan.letters[number % 36])
            number /= 36
        } while number > 0
    }

    /// Digits of base 36 first.
    private static let letters = Array("0123456789abcdefghijklmnopqrstuvwxyz_-".utf8)
}
