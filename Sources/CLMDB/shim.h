#include <lmdb.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The kernel's number of this thread; glibc declares gettid(2) only for GNU sources. */
static inline int lmdb_shim_thread(void) { return (int)syscall(SYS_gettid); }
