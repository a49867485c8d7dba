/*
 * What a mounted XFS or ext4 answers, as the kernel lays it out (include/uapi/linux/fsmap.h,
 * fiemap.h, fs/xfs/libxfs/xfs_fs.h), and system calls that glibc declares only for GNU sources
 * or as variadic functions. The layouts are written out here, so that neither the kernel's nor
 * xfsprogs' headers are needed; the assertions below them are the proof that they agree with the
 * documented sizes and offsets.
 */
#ifndef CLINUXFILESYSTEM_SHIM_H
#define CLINUXFILESYSTEM_SHIM_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

/* ---- XFS_IOC_BULKSTAT ---- */

struct lfs_bulk_request {
	uint64_t ino;
	uint32_t flags, icount, ocount, agno;
	uint64_t reserved[5];
};

struct lfs_bulkstat {
	uint64_t ino, size, blocks, xflags;
	int64_t atime, mtime, ctime, btime;
	uint32_t gen, uid, gid, projectid;
	uint32_t atime_nsec, mtime_nsec, ctime_nsec, btime_nsec;
	uint32_t blksize, rdev, cowextsize_blks, extsize_blks;
	uint32_t nlink, extents, aextents;
	uint16_t version, forkoff, sick, checked, mode, pad2;
	uint64_t extents64, pad[6];
};
_Static_assert(sizeof(struct lfs_bulk_request) == 64, "xfs_bulk_ireq");
_Static_assert(sizeof(struct lfs_bulkstat) == 192, "xfs_bulkstat");
_Static_assert(offsetof(struct lfs_bulkstat, gen) == 64, "bs_gen");
_Static_assert(offsetof(struct lfs_bulkstat, nlink) == 112, "bs_nlink");
_Static_assert(offsetof(struct lfs_bulkstat, mode) == 132, "bs_mode");
_Static_assert(offsetof(struct lfs_bulkstat, extents64) == 136, "bs_extents64");

/* ---- XFS_IOC_INUMBERS; the request is that of bulkstat ---- */

struct lfs_inumbers {
	uint64_t start, allocated;
	uint8_t count, version, padding[6];
};
_Static_assert(sizeof(struct lfs_inumbers) == 24, "xfs_inumbers");

/* ---- XFS_IOC_FSGEOMETRY ---- */

struct lfs_geometry {
	uint32_t blocksize, rtextsize, agblocks, agcount, logblocks, sectsize, inodesize, imaxpct;
	uint64_t datablocks, rtblocks, rtextents, logstart;
	uint8_t uuid[16];
	uint32_t sunit, swidth;
	int32_t version;
	uint32_t flags, logsectsize, rtsectsize, dirblocksize, logsunit, sick, checked;
	uint64_t reserved[17];
};
_Static_assert(sizeof(struct lfs_geometry) == 256, "xfs_fsop_geom");
_Static_assert(offsetof(struct lfs_geometry, flags) == 92, "geometry flags");
_Static_assert(offsetof(struct lfs_geometry, sick) == 112, "geometry sick");

/* ---- FS_IOC_GETFSMAP ---- */

struct lfs_fsmap {
	uint32_t device, flags;
	uint64_t physical, owner, offset, length, reserved[3];
};

struct lfs_fsmap_head {
	uint32_t iflags, oflags, count, entries;
	uint64_t reserved[6];
	struct lfs_fsmap low, high;
};
_Static_assert(sizeof(struct lfs_fsmap) == 64, "fsmap");
_Static_assert(sizeof(struct lfs_fsmap_head) == 192, "fsmap_head");

/* ---- XFS_IOC_GETPARENTS_BY_HANDLE ---- */

struct lfs_handle {
	uint32_t fsid[2];
	uint16_t fid_len, fid_pad;
	uint32_t gen;
	uint64_t ino;
};

struct lfs_getparents {
	struct lfs_handle handle;
	uint32_t cursor[4];
	uint16_t iflags, oflags;
	uint32_t bufsize;
	uint64_t reserved, buffer;
};

struct lfs_parent_record {
	struct lfs_handle parent;
	uint32_t reclen, reserved;
	/* The name and a NUL follow. */
};
_Static_assert(sizeof(struct lfs_handle) == 24, "xfs_handle");
_Static_assert(sizeof(struct lfs_getparents) == 64, "xfs_getparents_by_handle");
_Static_assert(offsetof(struct lfs_getparents, cursor) == 24, "gp_cursor");
_Static_assert(offsetof(struct lfs_getparents, buffer) == 56, "gp_buffer");
_Static_assert(sizeof(struct lfs_parent_record) == 32, "xfs_getparents_rec");

/* ---- XFS_IOC_GETBMAPX; 512-byte units; the first of the array is the request ---- */

struct lfs_bmap {
	int64_t offset, block, length;
	int32_t count, entries, iflags, oflags, unused1, unused2;
};
_Static_assert(sizeof(struct lfs_bmap) == 48, "getbmapx");

/* ---- FS_IOC_FIEMAP ---- */

struct lfs_fiemap_extent {
	uint64_t logical, physical, length, reserved64[2];
	uint32_t flags, reserved[3];
};

struct lfs_fiemap {
	uint64_t start, length;
	uint32_t flags, mapped, count, reserved;
};
_Static_assert(sizeof(struct lfs_fiemap_extent) == 56, "fiemap_extent");
_Static_assert(sizeof(struct lfs_fiemap) == 32, "fiemap");

/* ---- XFS_IOC_FD_TO_HANDLE ---- */

struct lfs_handle_request {
	uint32_t fd;
	const void *path;
	uint32_t oflags;
	void *ihandle;
	uint32_t ihandlen;
	void *ohandle;
	uint32_t *ohandlen;
};
_Static_assert(sizeof(struct lfs_handle_request) == 56, "xfs_fsop_handlereq");

/* ---- XFS_IOC_SCRUB_METADATA ---- */

struct lfs_scrub {
	uint32_t type, flags;
	uint64_t ino;
	uint32_t gen, agno;
	uint64_t reserved[5];
};
_Static_assert(sizeof(struct lfs_scrub) == 64, "xfs_scrub_metadata");
_Static_assert(offsetof(struct lfs_scrub, ino) == 8, "sm_ino");
_Static_assert(offsetof(struct lfs_scrub, gen) == 16, "sm_gen");
_Static_assert(offsetof(struct lfs_scrub, agno) == 20, "sm_agno");

/* ---- Q_XGETQSTATV (include/uapi/linux/dqblk_xfs.h) ---- */

struct lfs_quota_file {
	uint64_t ino, blocks;
	uint32_t extents, pad;
};

struct lfs_quota_state {
	int8_t version;
	uint8_t pad1;
	uint16_t flags;
	uint32_t incore;
	struct lfs_quota_file users, groups, projects;
	int32_t btimelimit, itimelimit, rtbtimelimit;
	uint16_t bwarnlimit, iwarnlimit, rtbwarnlimit, pad3;
	uint32_t pad4;
	uint64_t pad2[7];
};
_Static_assert(sizeof(struct lfs_quota_file) == 24, "fs_qfilestatv");
_Static_assert(sizeof(struct lfs_quota_state) == 160, "fs_quota_statv");
_Static_assert(offsetof(struct lfs_quota_state, users) == 8, "qs_uquota");
_Static_assert(offsetof(struct lfs_quota_state, projects) == 56, "qs_pquota");

/* quotactl_fd(2): the filesystem is that of an open file, whatever device it is on. */
static inline int lfs_quota_state_of(int file, void *state)
{
	return (int)syscall(443 /* quotactl_fd */, file, 0x5808u << 8 /* Q_XGETQSTATV */, 0, state);
}

static const unsigned long LFS_XFS_SCRUB = _IOWR('X', 60, struct lfs_scrub);
static const unsigned long LFS_XFS_GEOMETRY = _IOR('X', 126, struct lfs_geometry);
static const unsigned long LFS_XFS_BULKSTAT = _IOR('X', 127, struct lfs_bulk_request);
static const unsigned long LFS_XFS_INUMBERS = _IOR('X', 128, struct lfs_bulk_request);
static const unsigned long LFS_XFS_GETPARENTS = _IOWR('X', 63, struct lfs_getparents);
static const unsigned long LFS_XFS_GETBMAPX = _IOWR('X', 56, int64_t[4]);
static const unsigned long LFS_XFS_FD_TO_HANDLE = _IOWR('X', 106, struct lfs_handle_request);
static const unsigned long LFS_GETFSMAP = _IOWR('X', 59, struct lfs_fsmap_head);
static const unsigned long LFS_FIEMAP = _IOWR('f', 11, struct lfs_fiemap);

static inline int lfs_ioctl(int file, unsigned long request, void *argument)
{
	return ioctl(file, request, argument);
}

/* The handle of an open file; its first eight bytes are the same for all of a filesystem. */
static inline int lfs_identity(int file, struct lfs_handle *handle, uint32_t *size)
{
	struct lfs_handle_request request = {
		.fd = (uint32_t)file, .ohandle = handle, .ohandlen = size };
	return ioctl(file, LFS_XFS_FD_TO_HANDLE, &request);
}

/* ---- open_by_handle_at(2) ---- */

struct lfs_file_handle {
	uint32_t bytes;
	int32_t type;
	uint8_t id[16];
};
_Static_assert(offsetof(struct lfs_file_handle, id) == 8, "file_handle");

/* 0x81: FILEID_INO32_GEN | XFS_FILEID_TYPE_64FLAG, inode u64, generation u32. */
static inline int lfs_open_xfs(int mount, uint64_t ino, uint32_t gen, int flags)
{
	struct lfs_file_handle handle = { .bytes = 12, .type = 0x81 };
	memcpy(handle.id, &ino, 8);
	memcpy(handle.id + 8, &gen, 4);
	return (int)syscall(SYS_open_by_handle_at, mount, &handle, flags);
}

/* 1: FILEID_INO32_GEN, inode u32, generation u32. */
static inline int lfs_open_ext4(int mount, uint32_t ino, uint32_t gen, int flags)
{
	struct lfs_file_handle handle = { .bytes = 8, .type = 1 };
	memcpy(handle.id, &ino, 4);
	memcpy(handle.id + 4, &gen, 4);
	return (int)syscall(SYS_open_by_handle_at, mount, &handle, flags);
}

static inline ssize_t lfs_getdents(int directory, void *buffer, size_t count)
{
	return syscall(SYS_getdents64, directory, buffer, count);
}

/* ---- A filesystem that is mounted nowhere (fsopen(2), fsmount(2)), for tracefs ---- */

static inline int lfs_detached_mount(const char *type)
{
	int context = (int)syscall(430 /* fsopen */, type, 1u /* FSOPEN_CLOEXEC */);
	if (context < 0)
		return -1;
	int mount = -1;
	if (syscall(431 /* fsconfig */, context, 6u /* FSCONFIG_CMD_CREATE */, NULL, NULL, 0) == 0)
		mount = (int)syscall(432 /* fsmount */, context, 1u /* FSMOUNT_CLOEXEC */, 0u);
	int reason = errno;
	close(context);
	errno = reason;
	return mount;
}

/* ---- The processor of the calling thread ---- */

static inline long lfs_get_affinity(void *mask, size_t size)
{
	return syscall(SYS_sched_getaffinity, 0, size, mask);
}

static inline int lfs_set_affinity(const void *mask, size_t size)
{
	return (int)syscall(SYS_sched_setaffinity, 0, size, mask);
}

/* ---- Capabilities of the calling thread: capget(2), capset(2) ---- */

struct lfs_capabilities {
	uint32_t version;
	int32_t process;
	/* Two sets of 32 bits, one after the other. */
	uint32_t effective, permitted, inheritable, upper[3];
};
_Static_assert(offsetof(struct lfs_capabilities, effective) == 8, "the header's size");

static inline int lfs_get_capabilities(struct lfs_capabilities *all)
{
	all->version = 0x20080522; /* _LINUX_CAPABILITY_VERSION_3 */
	all->process = 0;
	return (int)syscall(SYS_capget, &all->version, &all->effective);
}

static inline int lfs_set_capabilities(struct lfs_capabilities *all)
{
	return (int)syscall(SYS_capset, &all->version, &all->effective);
}

/* ---- Flags that glibc gives only to GNU sources ---- */

static const int LFS_O_PATH = 010000000;
static const int LFS_O_NOATIME = 01000000;

/* makedev(3) and its parts are macros. */
static inline uint32_t lfs_major(uint64_t device) { return gnu_dev_major(device); }
static inline uint32_t lfs_minor(uint64_t device) { return gnu_dev_minor(device); }

#endif
