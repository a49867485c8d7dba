// What can be checked on a mounted ext4.

internal import LinuxFilesystem

extension Examination {
    mutating func examineExt4(_ mount: MountedFilesystem) {
        do {
            let volume = try Ext4Volume(mount)
            add(
                "privileges", .available, "\(volume.device) can be read",
                "inodes, names and block bitmaps are read beside the kernel")
            let superblock = volume.superblock
            add("blocks", .available, "block bitmaps", "which blocks are in use is checked")
            if superblock.sharesBlocks {
                add(
                    "owners", .limited, "files share blocks",
                    "blocks with two owners are not looked for")
            }
            add("links", .available, "link counts", "the counts of all inodes are checked")
            if !superblock.hasChecksums {
                add(
                    "checksums", .limited, "no checksums of metadata",
                    "an inode that is damaged may be taken for another; "
                        + "`tune2fs -O metadata_csum`, unmounted, adds them")
            }
            // Two passes' bits for each cluster, two bytes for each inode.
            let memory = superblock.clusters / 8 * 10 + UInt64(superblock.inodes) * 2
            add(
                "memory", .available, "about \(memory >> 20 + 1) MiB",
                "what a check of this filesystem takes, with 12 bytes for each extent of one file "
                    + "and 4 for each name of one directory at a time")
        } catch let error as LinuxCallError where error.isForbidden {
            add("privileges", .missing, "\(error)", "run it as root, who reads the device")
        } catch {
            add("device", .missing, "\(error)", "nothing can be checked without it")
        }
        examineEvents(.ext4, "ext4")
        add(
            "repair", .limited, "no online repair of ext4",
            "what is found is mended by e2fsck, unmounted")
    }
}
