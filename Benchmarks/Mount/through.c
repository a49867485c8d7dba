/*
 * The limit of a FUSE server for contents: passes the files of one directory through, and nothing
 * else: no directories in it, no names but those that are opened. Like libfuse's own example
 * passthrough_ll it keeps a descriptor for each file, splices reads and writes where the kernel and
 * libfuse can, and has the kernel cache writes and read-ahead as for ours.
 *
 *     through DIRECTORY MOUNTPOINT [copy|asked]
 *
 * With `copy` requests are read and answered by way of memory; with `asked` too, and it has
 * extended attributes, none of which exists.
 */
#define FUSE_USE_VERSION 314
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST = 1024, LARGEST = 1 << 20 };
static const double FOREVER = 86400;

/* Inode number n is files[n]; the descriptor of the directory is that of the root. */
static struct { int descriptor; char name[256]; } files[MOST];
static int known = FUSE_ROOT_ID;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int splices = 1;

static void through_init(void *data, struct fuse_conn_info *connection)
{
	unsigned wanted = FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_WRITEBACK_CACHE
		| FUSE_CAP_NO_OPEN_SUPPORT;

	(void)data;
	if (splices) wanted |= FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE;
	connection->want = connection->capable & wanted;
	connection->max_write = LARGEST;
	connection->max_background = 64;
	connection->congestion_threshold = 48;
}

/* The number of the file, opened; 0 where there is none. */
static int find(const char *name, int flags, mode_t mode)
{
	int number;

	if (strlen(name) >= sizeof files[0].name) return 0;
	for (number = FUSE_ROOT_ID + 1; number <= known; number++)
		if (!strcmp(files[number].name, name)) return number;
	if (known + 1 == MOST) return 0;
	files[known + 1].descriptor =
		openat(files[FUSE_ROOT_ID].descriptor, name, O_RDWR | O_CLOEXEC | flags, mode);
	if (files[known + 1].descriptor < 0) return 0;
	strcpy(files[++known].name, name);
	return known;
}

static void reply_entry(fuse_req_t request, const char *name, int flags, mode_t mode)
{
	struct fuse_entry_param answer = { .attr_timeout = FOREVER, .entry_timeout = FOREVER };

	pthread_mutex_lock(&lock);
	answer.ino = find(name, flags, mode);
	pthread_mutex_unlock(&lock);
	if (answer.ino) fstat(files[answer.ino].descriptor, &answer.attr);
	if (!answer.ino && flags) fuse_reply_err(request, EIO);
	else fuse_reply_entry(request, &answer);
}

static void through_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	(void)parent;
	reply_entry(request, name, 0, 0);
}

static void through_mknod(
	fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode, dev_t device)
{
	(void)parent, (void)device;
	reply_entry(request, name, O_CREAT, mode & 07777);
}

static void through_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	int number;

	(void)parent;
	pthread_mutex_lock(&lock);
	number = find(name, 0, 0);
	if (number) files[number].name[0] = 0;
	pthread_mutex_unlock(&lock);
	fuse_reply_err(request, unlinkat(files[FUSE_ROOT_ID].descriptor, name, 0) ? errno : 0);
}

static void through_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	struct stat status;

	(void)info;
	if (fstat(files[inode].descriptor, &status)) fuse_reply_err(request, errno);
	else fuse_reply_attr(request, &status, FOREVER);
}

static void through_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *wanted, int which,
	struct fuse_file_info *info)
{
	if (which & FUSE_SET_ATTR_SIZE && ftruncate(files[inode].descriptor, wanted->st_size))
		fuse_reply_err(request, errno);
	else through_getattr(request, inode, info);
}

static void through_read(
	fuse_req_t request, fuse_ino_t inode, size_t size, off_t offset, struct fuse_file_info *info)
{
	struct fuse_bufvec from = FUSE_BUFVEC_INIT(size);

	(void)info;
	from.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	from.buf[0].fd = files[inode].descriptor;
	from.buf[0].pos = offset;
	fuse_reply_data(request, &from, FUSE_BUF_SPLICE_MOVE);
}

static void through_write(fuse_req_t request, fuse_ino_t inode, struct fuse_bufvec *from,
	off_t offset, struct fuse_file_info *info)
{
	struct fuse_bufvec to = FUSE_BUFVEC_INIT(fuse_buf_size(from));
	ssize_t count;

	(void)info;
	to.buf[0].flags = FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK;
	to.buf[0].fd = files[inode].descriptor;
	to.buf[0].pos = offset;
	count = fuse_buf_copy(&to, from, 0);
	if (count < 0) fuse_reply_err(request, -count);
	else fuse_reply_write(request, count);
}

static void through_fsync(
	fuse_req_t request, fuse_ino_t inode, int data, struct fuse_file_info *info)
{
	(void)data, (void)info;
	fuse_reply_err(request, fdatasync(files[inode].descriptor) ? errno : 0);
}

static void through_fallocate(fuse_req_t request, fuse_ino_t inode, int mode, off_t offset,
	off_t length, struct fuse_file_info *info)
{
	(void)info;
	fuse_reply_err(
		request, fallocate(files[inode].descriptor, mode, offset, length) ? errno : 0);
}

static void through_getxattr(
	fuse_req_t request, fuse_ino_t inode, const char *name, size_t size)
{
	(void)inode, (void)name, (void)size;
	fuse_reply_err(request, ENODATA);
}

/* The kernel then opens files by itself. */
static void through_no_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	(void)inode, (void)info;
	fuse_reply_err(request, ENOSYS);
}

static struct fuse_lowlevel_ops operations = {
	.open = through_no_open,
	.init = through_init,
	.lookup = through_lookup,
	.mknod = through_mknod,
	.unlink = through_unlink,
	.getattr = through_getattr,
	.setattr = through_setattr,
	.read = through_read,
	.write_buf = through_write,
	.fsync = through_fsync,
	.fallocate = through_fallocate,
};

int main(int count, char **words)
{
	char *options[] = { words[0], "-o", "default_permissions,allow_other,fsname=through" };
	struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
	struct fuse_loop_config *loop = fuse_loop_cfg_create();
	struct fuse_session *session;

	if (count < 3 || !loop) return 8;
	splices = count == 3;
	if (count > 3 && !strcmp(words[3], "asked")) operations.getxattr = through_getxattr;
	files[FUSE_ROOT_ID].descriptor = open(words[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (files[FUSE_ROOT_ID].descriptor < 0) return 1;
	session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
	if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, words[2]))
		return 1;
	if (fuse_daemonize(1)) return 1;
	fuse_loop_cfg_set_max_threads(loop, 8);
	fuse_loop_cfg_set_clone_fd(loop, 0);
	fuse_session_loop_mt(session, loop);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}
