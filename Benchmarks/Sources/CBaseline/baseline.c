#define _GNU_SOURCE
#include "baseline.h"

#include <errno.h>
#include <lmdb.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static int copy_table(MDB_txn *txn, MDB_dbi dbi, struct baseline_records *records)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    size_t capacity = 0;
    int rc = mdb_cursor_open(txn, dbi, &cursor);
    if (rc)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        uint16_t lengths[2] = {(uint16_t)key.mv_size, (uint16_t)value.mv_size};
        size_t size = sizeof lengths + key.mv_size + value.mv_size;
        if (records->size + size > capacity) {
            capacity = (records->size + size) * 2 + 4096;
            unsigned char *larger = realloc(records->bytes, capacity);
            if (!larger) {
                rc = ENOMEM;
                break;
            }
            records->bytes = larger;
        }
        unsigned char *at = records->bytes + records->size;
        memcpy(at, lengths, sizeof lengths);
        memcpy(at + sizeof lengths, key.mv_data, key.mv_size);
        memcpy(at + sizeof lengths + key.mv_size, value.mv_data, value.mv_size);
        records->size += size;
        records->count++;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

int baseline_load(const char *path, const char *table, struct baseline_records *records)
{
    MDB_env *env;
    MDB_txn *txn;
    MDB_dbi dbi;
    memset(records, 0, sizeof *records);
    int rc = mdb_env_create(&env);
    if (rc)
        return rc;
    mdb_env_set_maxdbs(env, 64);
    mdb_env_set_mapsize(env, (size_t)1 << 40);
    rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOTLS, 0600);
    if (rc == 0 && (rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)) == 0) {
        rc = mdb_dbi_open(txn, table, 0, &dbi);
        if (rc == 0)
            rc = copy_table(txn, dbi, records);
        mdb_txn_abort(txn);
    }
    mdb_env_close(env);
    return rc;
}

void baseline_free(struct baseline_records *records)
{
    free(records->bytes);
    memset(records, 0, sizeof *records);
}

/* One transaction: up to `batch` records from `*at`. */
static int append_batch(MDB_env *env, const struct baseline_records *records, size_t batch,
                        size_t *at)
{
    MDB_txn *txn;
    MDB_dbi dbi;
    MDB_cursor *cursor;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);
    if (rc)
        return rc;
    rc = mdb_dbi_open(txn, "append", MDB_CREATE, &dbi);
    if (rc == 0)
        rc = mdb_cursor_open(txn, dbi, &cursor);
    for (size_t done = 0; rc == 0 && done < batch && *at < records->size; done++) {
        uint16_t lengths[2];
        unsigned char *bytes = records->bytes + *at;
        memcpy(lengths, bytes, sizeof lengths);
        MDB_val key = {lengths[0], bytes + sizeof lengths};
        MDB_val value = {lengths[1], bytes + sizeof lengths + lengths[0]};
        rc = mdb_cursor_put(cursor, &key, &value, MDB_APPEND);
        *at += sizeof lengths + lengths[0] + lengths[1];
    }
    if (rc) {
        mdb_txn_abort(txn);
        return rc;
    }
    return mdb_txn_commit(txn);
}

static void delete_environment(const char *path)
{
    char lock[4096];
    unlink(path);
    snprintf(lock, sizeof lock, "%s-lock", path);
    unlink(lock);
}

int baseline_append(const char *path, const struct baseline_records *records, size_t batch,
                    double *seconds)
{
    MDB_env *env;
    delete_environment(path);
    int rc = mdb_env_create(&env);
    if (rc)
        return rc;
    mdb_env_set_maxdbs(env, 4);
    mdb_env_set_mapsize(env, (size_t)1 << 40);
    rc = mdb_env_open(env, path, MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | MDB_NOSYNC, 0600);
    if (rc == 0) {
        size_t at = 0;
        double start = now(CLOCK_MONOTONIC);
        while (rc == 0 && at < records->size)
            rc = append_batch(env, records, batch, &at);
        *seconds = now(CLOCK_MONOTONIC) - start;
    }
    mdb_env_close(env);
    delete_environment(path);
    return rc;
}

const char *baseline_error(int code) { return mdb_strerror(code); }

int baseline_pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof set, &set) ? errno : 0;
}

double baseline_cpu(void) { return now(CLOCK_PROCESS_CPUTIME_ID); }

double baseline_branches(size_t tests)
{
    static volatile int flag;
    size_t hits = 0;
    double start = now(CLOCK_MONOTONIC);
    for (size_t i = 0; i < tests; i++)
        if (flag)
            hits++;
    return now(CLOCK_MONOTONIC) - start + (double)hits;
}
