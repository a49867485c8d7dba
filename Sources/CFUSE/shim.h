/* libfuse3's low-level interface, and what Swift can't import of it. */

#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A macro in some versions of libfuse. */
static inline struct fuse_session *fuse_shim_session(
	struct fuse_args *args, const struct fuse_lowlevel_ops *operations, void *data)
{
	return fuse_session_new(args, operations, sizeof *operations, data);
}

/* Bit fields. */
static inline int fuse_shim_is_writeback(const struct fuse_file_info *info)
{
	return info != NULL && info->writepage;
}

/* glibc declares syncfs(2) only for GNU sources. */
static inline int fuse_shim_syncfs(int file) { return (int)syscall(SYS_syncfs, file); }

/* Macros. */
#include <sys/sysmacros.h>
static inline dev_t fuse_shim_device(unsigned major_number, unsigned minor_number)
{
	return makedev(major_number, minor_number);
}
static inline unsigned fuse_shim_major(dev_t device) { return major(device); }
static inline unsigned fuse_shim_minor(dev_t device) { return minor(device); }
