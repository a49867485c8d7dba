/*
 * The limit of a FUSE server for names: answers from a table in memory, and keeps nothing. It has the
 * shape of ours, so that the kernel sends it the same requests: libfuse3's low-level interface,
 * several threads, no open and no create, names and attributes cached for as long as the kernel
 * likes. Files have no contents; directories can't be read. With the word `handles` it opens,
 * creates, flushes and releases files as most FUSE filesystems do.
 *
 *     empty MOUNTPOINT [handles]
 */
#define FUSE_USE_VERSION 314
#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 1 << 20 };
static const double FOREVER = 86400;

struct name {
	struct name *next;
	fuse_ino_t parent, inode;
	mode_t mode;
	char text[];
};

static struct name *buckets[BUCKETS];
static mode_t *modes;
static size_t room;
static fuse_ino_t last = FUSE_ROOT_ID;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static struct name **find(fuse_ino_t parent, const char *text)
{
	size_t hash = parent * 0x9E3779B97F4A7C15u;
	struct name **place;
	const char *byte;

	for (byte = text; *byte; byte++) hash = (hash ^ (unsigned char)*byte) * 0x100000001B3u;
	place = &buckets[(hash ^ hash >> 32) % BUCKETS];
	while (*place && ((*place)->parent != parent || strcmp((*place)->text, text)))
		place = &(*place)->next;
	return place;
}

static struct name *add(struct name **place, fuse_ino_t parent, const char *text)
{
	struct name *name = calloc(1, sizeof *name + strlen(text) + 1);

	if (!name) abort();
	name->parent = parent;
	strcpy(name->text, text);
	*place = name;
	return name;
}

static struct stat attributes(fuse_ino_t inode, mode_t mode)
{
	struct stat status = { .st_ino = inode, .st_mode = mode, .st_nlink = 1, .st_blksize = 4096 };

	return status;
}

static void entry(fuse_req_t request, fuse_ino_t inode, mode_t mode)
{
	struct fuse_entry_param answer = {
		.ino = inode, .attr = attributes(inode, mode),
		.attr_timeout = FOREVER, .entry_timeout = FOREVER };

	fuse_reply_entry(request, &answer);
}

static void empty_init(void *data, struct fuse_conn_info *connection)
{
	(void)data;
	connection->want = connection->capable
		& (FUSE_CAP_ASYNC_READ | FUSE_CAP_ASYNC_DIO | FUSE_CAP_WRITEBACK_CACHE
			| FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_NO_OPEN_SUPPORT);
}

static void empty_lookup(fuse_req_t request, fuse_ino_t parent, const char *text)
{
	struct name *found;
	fuse_ino_t inode = 0;
	mode_t mode = 0;

	pthread_mutex_lock(&lock);
	found = *find(parent, text);
	if (found) inode = found->inode, mode = found->mode;
	pthread_mutex_unlock(&lock);
	/* Number 0: there is none, and the kernel may remember that. */
	entry(request, inode, mode);
}

static void empty_getattr(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	struct stat answer;

	(void)info;
	pthread_mutex_lock(&lock);
	answer = attributes(inode, inode == FUSE_ROOT_ID ? S_IFDIR | 0755 : modes[inode]);
	pthread_mutex_unlock(&lock);
	fuse_reply_attr(request, &answer, FOREVER);
}

static void empty_setattr(fuse_req_t request, fuse_ino_t inode, struct stat *wanted, int which,
	struct fuse_file_info *info)
{
	(void)wanted, (void)which;
	empty_getattr(request, inode, info);
}

/* The new inode's number. */
static fuse_ino_t make(fuse_ino_t parent, const char *text, mode_t mode)
{
	struct name *made;
	fuse_ino_t inode;

	pthread_mutex_lock(&lock);
	made = add(find(parent, text), parent, text);
	inode = made->inode = ++last;
	made->mode = mode;
	if (inode >= room) {
		room = room ? 2 * room : 1 << 16;
		modes = realloc(modes, room * sizeof *modes);
		if (!modes) abort();
	}
	modes[inode] = mode;
	pthread_mutex_unlock(&lock);
	return inode;
}

static void empty_mknod(
	fuse_req_t request, fuse_ino_t parent, const char *text, mode_t mode, dev_t device)
{
	(void)device;
	entry(request, make(parent, text, mode), mode);
}

static void empty_mkdir(fuse_req_t request, fuse_ino_t parent, const char *text, mode_t mode)
{
	empty_mknod(request, parent, text, S_IFDIR | mode, 0);
}

static void take(struct name **place)
{
	struct name *gone = *place;

	if (!gone) return;
	*place = gone->next;
	free(gone);
}

static void empty_unlink(fuse_req_t request, fuse_ino_t parent, const char *text)
{
	pthread_mutex_lock(&lock);
	take(find(parent, text));
	pthread_mutex_unlock(&lock);
	fuse_reply_err(request, 0);
}

static void empty_rename(fuse_req_t request, fuse_ino_t parent, const char *text,
	fuse_ino_t other_parent, const char *other_text, unsigned flags)
{
	struct name *found, *made, **other;

	(void)flags;
	pthread_mutex_lock(&lock);
	found = *find(parent, text);
	if (found) {
		other = find(other_parent, other_text);
		take(other);
		made = add(find(other_parent, other_text), other_parent, other_text);
		made->inode = found->inode;
		made->mode = found->mode;
		take(find(parent, text));
	}
	pthread_mutex_unlock(&lock);
	fuse_reply_err(request, found ? 0 : ENOENT);
}

static void empty_create(fuse_req_t request, fuse_ino_t parent, const char *text, mode_t mode,
	struct fuse_file_info *info)
{
	struct fuse_entry_param answer = { .attr_timeout = FOREVER, .entry_timeout = FOREVER };

	answer.ino = make(parent, text, S_IFREG | mode);
	answer.attr = attributes(answer.ino, S_IFREG | mode);
	fuse_reply_create(request, &answer, info);
}

static void empty_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	(void)inode;
	fuse_reply_open(request, info);
}

static void empty_close(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	(void)inode, (void)info;
	fuse_reply_err(request, 0);
}

/* The kernel then opens files by itself. */
static void empty_no_open(fuse_req_t request, fuse_ino_t inode, struct fuse_file_info *info)
{
	(void)inode, (void)info;
	fuse_reply_err(request, ENOSYS);
}

static struct fuse_lowlevel_ops operations = {
	.open = empty_no_open,
	.init = empty_init,
	.lookup = empty_lookup,
	.getattr = empty_getattr,
	.setattr = empty_setattr,
	.mknod = empty_mknod,
	.mkdir = empty_mkdir,
	.unlink = empty_unlink,
	.rmdir = empty_unlink,
	.rename = empty_rename,
};

int main(int count, char **words)
{
	char *options[] = { words[0], "-o", "default_permissions,allow_other,fsname=empty" };
	struct fuse_args arguments = FUSE_ARGS_INIT(3, options);
	struct fuse_loop_config *loop = fuse_loop_cfg_create();
	struct fuse_session *session;

	if (count < 2 || !loop) return 8;
	if (count > 2) {
		operations.create = empty_create;
		operations.open = empty_open;
		operations.flush = empty_close;
		operations.release = empty_close;
	}
	session = fuse_session_new(&arguments, &operations, sizeof operations, NULL);
	if (!session || fuse_set_signal_handlers(session) || fuse_session_mount(session, words[1]))
		return 1;
	if (fuse_daemonize(1)) return 1;
	fuse_loop_cfg_set_max_threads(loop, 8);
	fuse_session_loop_mt(session, loop);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	return 0;
}
