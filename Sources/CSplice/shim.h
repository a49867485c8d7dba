/* Pipes and splice(2), which glibc declares only for GNU sources. */

#include <fcntl.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static inline int splice_shim_pipe(int ends[2])
{
	return (int)syscall(SYS_pipe2, ends, O_CLOEXEC | O_NONBLOCK);
}

/* The size that the pipe has got, or -1. */
static inline int splice_shim_resize(int end, int size)
{
	return fcntl(end, 1031 /* F_SETPIPE_SZ */, size);
}

/* From a place in a file into a pipe, without waiting for the pipe. */
static inline ssize_t splice_shim_fill(int file, long long place, int inlet, size_t count)
{
	return syscall(SYS_splice, file, &place, inlet, NULL, count, 2u /* SPLICE_F_NONBLOCK */);
}

/* From a pipe into a file that has no places. */
static inline ssize_t splice_shim_drain(int outlet, int file, size_t count)
{
	return syscall(SYS_splice, outlet, NULL, file, NULL, count, 0u);
}
