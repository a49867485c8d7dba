/* What the benchmarks do in C: the yardstick that a rebuild is measured against, and calls
 * whose macros Swift can't import. */
#ifndef BASELINE_H
#define BASELINE_H

#include <stddef.h>
#include <stdint.h>

/* The entries of one table in memory, in key order: key length u16, value length u16, key,
 * value, one behind the other. */
struct baseline_records {
    unsigned char *bytes;
    size_t size;
    size_t count;
};

/* Reads the table `table` of the environment in the file `path`. 0, or liblmdb's code. */
int baseline_load(const char *path, const char *table, struct baseline_records *records);
void baseline_free(struct baseline_records *records);

/* Appends the records to a new environment in the file `path` (which is deleted before and
 * after), `batch` to a transaction, with MDB_APPEND and MDB_NOSYNC. `seconds` is the time
 * from the first begin to the return of the last commit. 0, or liblmdb's code. */
int baseline_append(const char *path, const struct baseline_records *records, size_t batch,
                    double *seconds);

const char *baseline_error(int code);

/* Keeps the calling thread, and those it starts later, on one CPU. 0, or errno. */
int baseline_pin(int cpu);

/* CPU seconds of the process. */
double baseline_cpu(void);

/* Seconds that it takes to load a flag from memory and to test it, `tests` times. */
double baseline_branches(size_t tests);

#endif
