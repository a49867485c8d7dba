/*
 * A load on a mounted filesystem, in the manner of fsstress: everything that moves names, blocks,
 * attributes and inode numbers, in a directory, until it is ended (SIGTERM). Then it prints how
 * often each operation was done and how often it was refused.
 *
 *   cc -O2 -o load load.c
 *   load DIRECTORY SEED [SECONDS]
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { DIRECTORIES = 8, NAMES = 80, HELD = 24, BLOCK = 4096 };

struct exchange_range {
	int32_t fd;
	uint32_t pad;
	uint64_t offset1, offset2, length, flags;
};
#define EXCHANGE_RANGE _IOW('X', 129, struct exchange_range)

static uint64_t state;
static char place[512], seed_text[32];
static char data[1 << 18];
static int held[HELD];
static volatile sig_atomic_t is_ended;

static uint64_t next(void)
{
	uint64_t x = state += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}
static unsigned below(unsigned bound) { return next() % bound; }
static off_t blocks(unsigned bound) { return (off_t)below(bound) * BLOCK; }
static void end(int signal) { (void)signal; is_ended = 1; }

static const char *directory(char *path)
{
	sprintf(path, "%s/d%s-%u", place, seed_text, below(DIRECTORIES));
	return path;
}
static const char *name(char *path)
{
	directory(path);
	sprintf(path + strlen(path), "/name-%u", below(NAMES));
	return path;
}
static const char *subdirectory(char *path)
{
	directory(path);
	sprintf(path + strlen(path), "/sub-%u", below(6));
	return path;
}

static int with_file(int flags, int (*body)(int))
{
	char a[1024];
	/* A pipe must not block, a symbolic link lead out. */
	int fd = open(name(a), flags | O_NONBLOCK | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	int result = body(fd);
	close(fd);
	return result;
}

static int fill(int fd)
{
	static const unsigned sizes[] = { 0, 10, 5000, 70000, 200000 };
	unsigned size = sizes[below(5)];
	return size == 0 || write(fd, data, size) >= 0 ? 0 : -1;
}
static int create(void) { return with_file(O_RDWR | O_CREAT, fill); }
static int rewrite_file(void) { return with_file(O_RDWR | O_CREAT | O_TRUNC, fill); }
static int scatter_file(int fd)
{
	off_t first = blocks(64);
	for (int n = 0; n < 20; n++)
		if (pwrite(fd, data, BLOCK, first + 2 * n * BLOCK) < 0)
			return -1;
	return below(2) ? fdatasync(fd) : 0;
}
static int scatter(void) { return with_file(O_RDWR, scatter_file); }
static int overwrite_file(int fd) { return pwrite(fd, data, 1 + below(40000), blocks(40)); }
static int overwrite(void) { return with_file(O_RDWR, overwrite_file); }
static int append_file(int fd) { return write(fd, data, 1 + below(30000)); }
static int append(void) { return with_file(O_WRONLY | O_APPEND, append_file); }
static int sync_file(int fd) { return fsync(fd); }
static int sync_some(void) { return with_file(O_RDONLY, sync_file); }
static int truncate_file(int fd) { return ftruncate(fd, below(3) ? below(200000) : below(2000)); }
static int truncate_some(void) { return with_file(O_RDWR, truncate_file); }

static int allocate(int fd, int mode)
{
	return fallocate(fd, mode, blocks(40), (off_t)(1 + below(24)) * BLOCK);
}
static int punch_file(int fd) { return allocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE); }
static int punch(void) { return with_file(O_RDWR, punch_file); }
static int zero_file(int fd) { return allocate(fd, FALLOC_FL_ZERO_RANGE); }
static int zero(void) { return with_file(O_RDWR, zero_file); }
static int collapse_file(int fd) { return allocate(fd, FALLOC_FL_COLLAPSE_RANGE); }
static int collapse(void) { return with_file(O_RDWR, collapse_file); }
static int insert_file(int fd) { return allocate(fd, FALLOC_FL_INSERT_RANGE); }
static int insert(void) { return with_file(O_RDWR, insert_file); }
static int reserve_file(int fd) { return allocate(fd, FALLOC_FL_KEEP_SIZE); }
static int reserve(void) { return with_file(O_RDWR, reserve_file); }
static int unshare_file(int fd) { return allocate(fd, FALLOC_FL_UNSHARE_RANGE); }
static int unshare_some(void) { return with_file(O_RDWR, unshare_file); }

static int with_two(int (*body)(int, int))
{
	char a[1024], b[1024];
	int from = open(name(a), O_RDWR | O_NONBLOCK | O_NOFOLLOW), to, result;
	if (from < 0)
		return -1;
	to = open(name(b), O_RDWR | O_CREAT | O_NONBLOCK | O_NOFOLLOW, 0600);
	result = to < 0 ? -1 : body(from, to);
	if (to >= 0)
		close(to);
	close(from);
	return result;
}
static int clone_files(int from, int to) { return ioctl(to, FICLONE, from); }
static int clone_some(void) { return with_two(clone_files); }
static int clone_part(int from, int to)
{
	struct file_clone_range range = { .src_fd = from, .src_offset = blocks(20),
		.src_length = (1 + below(8)) * BLOCK, .dest_offset = blocks(40) };
	return ioctl(to, FICLONERANGE, &range);
}
static int clone_range(void) { return with_two(clone_part); }
static int exchange_part(int from, int to)
{
	off_t offset = blocks(10);
	struct exchange_range range = { .fd = from, .offset1 = offset, .offset2 = offset,
		.length = (1 + below(10)) * BLOCK };
	return ioctl(to, EXCHANGE_RANGE, &range);
}
static int exchange_ranges(void) { return with_two(exchange_part); }

static int rename_with(unsigned flags)
{
	char a[1024], b[1024];
	return syscall(SYS_renameat2, AT_FDCWD, name(a), AT_FDCWD, name(b), flags);
}
static int rename_over(void) { return rename_with(0); }
static int rename_new(void) { return rename_with(1); }
static int exchange(void) { return rename_with(2); }
static int whiteout(void) { return rename_with(4); }
static int link_some(void)
{
	char a[1024], b[1024];
	return link(name(a), name(b));
}
static int unlink_some(void)
{
	char a[1024];
	return unlink(name(a));
}
static int symlink_some(void)
{
	char a[1024];
	data[900] = 0;
	int result = symlink(below(2) ? "short" : data, name(a));
	data[900] = 'x';
	return result;
}
static int pipe_some(void)
{
	char a[1024];
	return mkfifo(name(a), 0600);
}

static int set_attribute(void)
{
	char a[1024], key[32];
	static const unsigned sizes[] = { 20, 200, 3000, 20000, 60000 };
	sprintf(key, "user.a%u", below(8));
	return lsetxattr(name(a), key, data, sizes[below(5)], 0);
}
static int remove_attribute(void)
{
	char a[1024], key[32];
	sprintf(key, "user.a%u", below(8));
	return lremovexattr(name(a), key);
}

/* Keeps a descriptor for a while. */
static int hold(int fd)
{
	unsigned slot = below(HELD);
	if (held[slot] >= 0)
		close(held[slot]);
	held[slot] = fd;
	return 0;
}
static int nameless(void)
{
	char a[1024], b[1024], link_path[64];
	int fd = open(directory(a), O_TMPFILE | O_RDWR, 0600);
	if (fd < 0)
		return -1;
	fill(fd);
	if (below(3) == 0)
		fsync(fd);
	if (below(2)) {
		sprintf(link_path, "/proc/self/fd/%d", fd);
		linkat(AT_FDCWD, link_path, AT_FDCWD, name(b), AT_SYMLINK_FOLLOW);
	}
	return hold(fd);
}
static int unlink_open(void)
{
	char a[1024];
	int fd = open(name(a), O_RDWR | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return -1;
	if (unlink(a) == 0 && below(2))
		fill(fd);
	return hold(fd);
}

static int make_directory(void)
{
	char a[1024];
	return mkdir(subdirectory(a), 0700);
}
static int remove_directory(void)
{
	char a[1024], b[1100];
	subdirectory(a);
	for (int n = 0; n < 120; n++) {
		sprintf(b, "%s/entry-of-a-directory-that-grows-%d", a, n);
		unlink(b);
	}
	return rmdir(a);
}
static int fill_directory(void)
{
	char a[1024], b[1100], c[1100];
	unsigned count = below(2) ? 8 : 120;
	subdirectory(a);
	for (unsigned n = 0; n < count; n++) {
		sprintf(b, "%s/entry-of-a-directory-that-grows-%u", a, n);
		if (n % 4 == 3) {
			sprintf(c, "%s/entry-of-a-directory-that-grows-%u", a, n - 1);
			link(c, b);
		} else {
			int fd = open(b, O_RDWR | O_CREAT, 0600);
			if (fd < 0)
				return -1;
			close(fd);
		}
	}
	return 0;
}
static int move_directory(void)
{
	char a[1024], b[1024];
	return syscall(SYS_renameat2, AT_FDCWD, subdirectory(a), AT_FDCWD, subdirectory(b),
		below(2) ? 2 : 0);
}

static struct {
	const char *name;
	unsigned weight;
	int (*body)(void);
	unsigned long done, refused;
} operations[] = {
	{ "create", 10, create }, { "rewrite", 6, rewrite_file }, { "scatter", 3, scatter },
	{ "overwrite", 6, overwrite }, { "append", 4, append }, { "fsync", 1, sync_some },
	{ "truncate", 5, truncate_some }, { "punch", 4, punch }, { "zero", 2, zero },
	{ "collapse", 2, collapse }, { "insert", 2, insert }, { "reserve", 3, reserve },
	{ "unshare", 1, unshare_some }, { "reflink", 4, clone_some },
	{ "reflink range", 3, clone_range }, { "exchange range", 2, exchange_ranges },
	{ "rename", 10, rename_over }, { "rename to a new name", 3, rename_new },
	{ "exchange", 6, exchange }, { "whiteout", 4, whiteout }, { "link", 8, link_some },
	{ "unlink", 12, unlink_some }, { "symlink", 2, symlink_some }, { "pipe", 1, pipe_some },
	{ "setxattr", 6, set_attribute }, { "removexattr", 3, remove_attribute },
	{ "tmpfile", 5, nameless }, { "unlink while open", 4, unlink_open },
	{ "mkdir", 4, make_directory }, { "rmdir", 3, remove_directory },
	{ "fill a directory", 1, fill_directory }, { "rename a directory", 3, move_directory },
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

int main(int count, char **words)
{
	if (count < 3)
		return 8;
	snprintf(place, sizeof place, "%s", words[1]);
	snprintf(seed_text, sizeof seed_text, "%s", words[2]);
	state = strtoull(words[2], NULL, 10) * 7919 + 1;
	time_t last = count > 3 ? time(NULL) + atoi(words[3]) : 0;
	memset(data, 'x', sizeof data);
	for (int n = 0; n < HELD; n++)
		held[n] = -1;
	signal(SIGTERM, end);
	signal(SIGINT, end);
	for (unsigned n = 0; n < DIRECTORIES; n++) {
		char path[1024];
		sprintf(path, "%s/d%s-%u", place, seed_text, n);
		mkdir(path, 0700);
	}
	unsigned total = 0;
	for (int n = 0; n < OPERATIONS; n++)
		total += operations[n].weight;
	puts("ready");
	fflush(stdout);
	struct timespec begun, ended;
	clock_gettime(CLOCK_MONOTONIC, &begun);
	unsigned long all = 0;
	while (!is_ended && (last == 0 || time(NULL) < last)) {
		unsigned chosen = below(total);
		int n = 0;
		while (chosen >= operations[n].weight)
			chosen -= operations[n++].weight;
		if (operations[n].body() >= 0)
			operations[n].done++;
		else
			operations[n].refused++;
		/* Shut down, or unmounted: nothing more comes of it. */
		if (errno == EIO)
			break;
		errno = 0;
		all++;
	}
	clock_gettime(CLOCK_MONOTONIC, &ended);
	double seconds = (ended.tv_sec - begun.tv_sec) + (ended.tv_nsec - begun.tv_nsec) / 1e9;
	printf("seed %s: %lu operations in %.1f s, %.0f a second\n", seed_text, all, seconds,
		all / seconds);
	for (int n = 0; n < OPERATIONS; n++)
		printf("  %-22s %9lu done %9lu refused\n", operations[n].name, operations[n].done,
			operations[n].refused);
	return 0;
}
