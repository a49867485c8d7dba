// POSIX access control lists, which a volume does not keep (decision 33), and what is left of the
// access that they give: never more than before.

/// The value of `system.posix_acl_access` (acl(5), linux/posix_acl_xattr.h): a version, then
/// entries of a tag, permissions and an identity, all little-endian.
struct AccessList {
    private enum Tag {
        static let user: UInt16 = 0x02
        static let ownGroup: UInt16 = 0x04
        static let group: UInt16 = 0x08
        static let mask: UInt16 = 0x10
        static let other: UInt16 = 0x20
    }

    /// Permissions that the file's group has by the list.
    private var ownGroup: UInt16 = 0o7
    private var mask: UInt16 = 0o7
    /// What every user, and every group, that is named has; nil: none is named.
    private var users: UInt16?
    private var groups: UInt16?

    /// - Returns: nil where the value is no such list.
    init?(_ value: [UInt8]) {
        func number(_ place: Int) -> UInt16 { UInt16(value[place]) | UInt16(value[place + 1]) << 8 }
        guard value.count >= 4, (value.count - 4) % 8 == 0, number(0) == 2, number(2) == 0 else {
            return nil
        }
        for place in stride(from: 4, to: value.count, by: 8) {
            let permissions = number(place + 2) & 0o7
            switch number(place) {
            case Tag.ownGroup: ownGroup = permissions
            case Tag.mask: mask = permissions
            case Tag.user: users = (users ?? 0o7) & permissions
            case Tag.group: groups = (groups ?? 0o7) & permissions
            default: break
            }
        }
    }

    /// The low 12 bits of a mode with which nobody may do what the list did not let them do. The
    /// group's bits of a file with a list are the mask: the group itself has what its entry says.
    /// Whoever is named in the list is of the group, or of the others, from then on.
    func narrowed(_ permissions: UInt16) -> UInt16 {
        let users = self.users.map { $0 & mask } ?? 0o7
        let groups = self.groups.map { $0 & mask } ?? 0o7
        let group = ownGroup & mask & users
        let other = permissions & users & groups & 0o7
        return permissions & ~0o77 | group << 3 | other
    }
}

/// Attributes that hold access control lists.
enum AccessListAttribute {
    static let access = Array("system.posix_acl_access".utf8)
    /// Of all attributes that a file system interprets, such as the list that files which are made
    /// in a directory get.
    static let namespace = Array("system.".utf8)
}
