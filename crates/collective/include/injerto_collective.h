/* The library through which the processes of a training add up their gradients (`injerto train --collective LIBRARY`).
 *
 * A library exports one function, injerto_collective_v1, which joins the processes and returns a table that stays valid until the process
 * ends. All calls come from one thread at a time. `mpi/injerto_mpi.c` is such a library. */
#ifndef INJERTO_COLLECTIVE_H
#define INJERTO_COLLECTIVE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct injerto_collective {
    /* sizeof(injerto_collective). */
    size_t table_size;
    /* Number of this process, from 0, and number of all processes. */
    uint32_t rank;
    uint32_t size;
    /* Replaces each value by its sum over all processes, which call this with as many values. Every process gets the same bits.
     * Returns 0, or another number if a process is lost or has not come after this many seconds; the message is then in `error`, as text
     * that ends with a zero. The values may be kept nowhere after the call. */
    int32_t (*all_reduce_sum)(float *values, size_t count, double seconds, char *error, size_t error_size);
    /* Leaves the other processes. `complete` is 1 if the work was done, and 0 if this process leaves because of an error. */
    void (*leave)(int32_t complete);
} injerto_collective;

/* Returns NULL if the processes cannot be joined; the message is then in `error`. */
const injerto_collective *injerto_collective_v1(char *error, size_t error_size);

#ifdef __cplusplus
}
#endif
#endif
