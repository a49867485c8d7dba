#include <lmdb.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* The kernel's number of this thread; glibc declares gettid(2) only for GNU sources. */
static inline int lmdb_shim_thread(void) { return (int)syscall(SYS_gettid); }

/* Takes the blocks of the first `size` bytes, and leaves the file's size; fallocate(2). */
static inline int lmdb_shim_allocate(int file, long long size) {
    return (int)syscall(SYS_fallocate, file, 1 /* FALLOC_FL_KEEP_SIZE */, (long)0, (long)size);
}

/* The address of the instruction that a signal handler's context stands at; 0: not known. */
static inline unsigned long lmdb_shim_instruction(const void *context) {
#if defined(__x86_64__)
    return (unsigned long)((const ucontext_t *)context)->uc_mcontext.gregs[16]; /* REG_RIP */
#elif defined(__aarch64__)
    return (unsigned long)((const ucontext_t *)context)->uc_mcontext.pc;
#else
    return 0;
#endif
}

/* Whether a line of proc_pid_maps(5) is of a mapping that holds `address`. */
static inline int lmdb_shim_holds(const char *line, unsigned long address) {
    unsigned long ends[2] = {0, 0};
    for (int end = 0; end < 2; end++) {
        for (; *line && *line != '-' && *line != ' '; line++) {
            int digit = *line <= '9' ? *line - '0' : *line - 'a' + 10;
            ends[end] = ends[end] << 4 | (unsigned long)digit;
        }
        line++;
    }
    return ends[0] <= address && address < ends[1];
}

/*
 * Whether a fault (SIGSEGV, SIGBUS) is one of metadata: at a page of a file `*.mdb` that is
 * mapped, or by an instruction of liblmdb. Called by a handler: it takes no lock and no memory.
 */
static inline int lmdb_shim_is_metadata_fault(const siginfo_t *fault, const void *context) {
    static char buffer[8192];
    char line[512];
    unsigned long at = (unsigned long)fault->si_addr, by = lmdb_shim_instruction(context);
    size_t length = 0;
    ssize_t count;
    int found = 0, file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    if (file < 0) return 1;
    while (!found && (count = read(file, buffer, sizeof buffer)) > 0) {
        for (ssize_t place = 0; place < count && !found; place++) {
            if (buffer[place] != '\n') {
                /* What is too long ends in a name that nobody looks for. */
                if (length < sizeof line - 1) line[length++] = buffer[place];
                continue;
            }
            line[length] = 0;
            if (lmdb_shim_holds(line, at))
                found = length > 4 && memcmp(line + length - 4, ".mdb", 4) == 0;
            if (!found && lmdb_shim_holds(line, by)) found = strstr(line, "/liblmdb") != 0;
            length = 0;
        }
    }
    close(file);
    return found;
}
