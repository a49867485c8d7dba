// Access control lists, which a volume does not keep: an import gives nobody more than before.

import Bytes
import Foundation
import TestSupport
import Testing

@testable import TidemarkCommand

@Suite struct AccessListTests {
    /// The attribute's value: tag, permissions, identity of each entry.
    private func list(_ entries: [(UInt16, UInt16, UInt32)]) -> [UInt8] {
        var bytes: [UInt8] = [2, 0, 0, 0]
        for (tag, permissions, identity) in entries {
            for value in [tag, permissions] { bytes += [UInt8(value & 0xff), UInt8(value >> 8)] }
            for shift: UInt32 in [0, 8, 16, 24] {
                bytes.append(UInt8(truncatingIfNeeded: identity >> shift))
            }
        }
        return bytes
    }

    private static let none = UInt32.max

    @Test func `the group has what its entry says, and not the mask`() throws {
        let none = AccessListTests.none
        let bytes = list([
            (1, 6, none), (2, 6, 1001), (4, 4, none), (0x10, 6, none), (0x20, 0, none),
        ])
        let list = try #require(AccessList(bytes))
        #expect(list.narrowed(0o660) == 0o640)
    }

    @Test func `who was named for less has no more as one of the others`() throws {
        let none = AccessListTests.none
        let bytes = list([
            (1, 7, none), (2, 0, 1001), (4, 5, none), (8, 4, 50), (0x10, 7, none), (0x20, 5, none),
        ])
        let list = try #require(AccessList(bytes))
        // The user may be of the file's group too.
        #expect(list.narrowed(0o4775) == 0o4700)
        let masked = self.list([
            (1, 7, none), (4, 7, none), (8, 7, 50), (0x10, 4, none), (0x20, 7, none),
        ])
        #expect(AccessList(masked)?.narrowed(0o747) == 0o744)
    }

    /// By the rules of acl(5): what the list lets somebody do, and what the mode does afterwards.
    @Test(arguments: 0..<500)
    func `nobody has more than before`(seed: Int) throws {
        var numbers = SplitMix64(seed: UInt64(seed))
        let none = AccessListTests.none
        func permissions() -> UInt16 { UInt16(numbers.next() % 8) }
        let users = (0..<Int(numbers.next() % 3)).map { (UInt32($0), permissions()) }
        let groups = (0..<Int(numbers.next() % 3)).map { (UInt32($0), permissions()) }
        let own = permissions(), mask = permissions(), other = permissions()
        var entries: [(UInt16, UInt16, UInt32)] = [(1, 7, none), (4, own, none)]
        for (identity, permissions) in users { entries.append((2, permissions, identity)) }
        for (identity, permissions) in groups { entries.append((8, permissions, identity)) }
        entries += [(0x10, mask, none), (0x20, other, none)]
        let bytes = list(entries)
        let mode = try #require(AccessList(bytes)).narrowed(0o700 | mask << 3 | other)
        let everybody: [UInt32?] = [nil] + users.map(\.0)
        for user in everybody {
            for isOfGroup in [false, true] {
                for isNamed in [false, true] {
                    let named = isNamed ? groups.map(\.1) : []
                    let matching = (isOfGroup ? [own] : []) + named
                    let before: [UInt16]
                    if let user, let entry = users.first(where: { $0.0 == user }) {
                        before = [entry.1 & mask]
                    } else if matching.isEmpty {
                        before = [other]
                    } else {
                        before = matching.map { $0 & mask }
                    }
                    let after = isOfGroup ? mode >> 3 & 7 : mode & 7
                    // One entry must have let all of it happen.
                    let isWithin = before.contains { after & ~$0 == 0 }
                    #expect(isWithin, "SEED=\(seed): \(before) then \(after)")
                }
            }
        }
    }

    @Test func `what is no list is refused`() {
        for bytes in [[], [2, 0, 0], [1, 0, 0, 0], [2, 0, 0, 0, 1], [2, 0, 1, 0]] as [[UInt8]] {
            #expect(AccessList(bytes) == nil)
        }
    }

    @Test(.enabled(if: getuid() == 0, "gives files to others"))
    func `an import tells of each list, and narrows the mode`() throws {
        try withDirectory { directory in
            let tree = directory + "/tree", volume = directory + "/volume"
            let script = """
                import os, sys
                os.mkdir(sys.argv[1]); path = sys.argv[1] + "/f"; open(path, "w").write("x")
                os.mkdir(sys.argv[1] + "/d")
                os.chmod(path, 0o640)
                entries = bytes.fromhex(
                    "02000000" "01000600ffffffff" "02000600e9030000" "04000400ffffffff"
                    "10000600ffffffff" "20000000ffffffff")
                try:
                    os.setxattr(path, "system.posix_acl_access", entries)
                    os.setxattr(sys.argv[1] + "/d", "system.posix_acl_default", entries)
                except OSError:
                    sys.exit(77)
                """
            let made = try Started("/usr/bin/env", ["python3", "-c", script, tree]).wait()
            // A file system without access control lists.
            guard made.status != 77 else { return }
            try #require(made.status == 0, "\(made.errors)")
            try json("create", volume, "--size", "1G")
            let ended = try run("import", volume, tree, "--json")
            #expect(ended.status == 4)
            let document = try ended.document()
            #expect(document.int("accessListsNotKept") == 2)
            #expect(document.string("outcome") == "incomplete")
            #expect(ended.errors.contains("/tree/f: its access control list is not kept"))
            #expect(ended.errors.contains("/tree/d: its access control list is not kept"))
            let inodes = try run("dump", volume, "inodes").output
            #expect(inodes.contains("\"mode\":\"0640\""), "\(inodes)")
            #expect(try !run("dump", volume, "xattrs").output.contains("posix_acl"))
            try expectVerified(volume)
        }
    }
}
