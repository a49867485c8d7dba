#include <lmdb.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's number of this thread; glibc declares gettid(2) only for GNU sources. */
static inline int lmdb_shim_thread(void) { return (int)syscall(SYS_gettid); }

/* Takes the blocks of the first `size` bytes, and leaves the file's size; fallocate(2). */
static inline int lmdb_shim_allocate(int file, long long size) {
    return (int)syscall(SYS_fallocate, file, 1 /* FALLOC_FL_KEEP_SIZE */, (long)0, (long)size);
}
