/* Training across processes through MPI.
 *
 *     mpicc -O2 -shared -fPIC -I include -o libinjerto_mpi.so mpi/injerto_mpi.c
 *     mpirun -n 2 injerto train experiment.toml --collective ./libinjerto_mpi.so
 */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "injerto_collective.h"

/* MPI counts in int, and a message of this many values needs no more memory than it pays. */
#define MOST_VALUES (1 << 26)

static injerto_collective table;
/* MPI may write into a buffer until its request is complete, so the buffer belongs to this library and is never freed. */
static float *buffer;
static size_t room;
static int broken;

static int32_t fail(const char *what, int code, char *error, size_t error_size) {
    char reason[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code != MPI_SUCCESS) MPI_Error_string(code, reason, &length);
    snprintf(error, error_size, "%s%s%s", what, length > 0 ? ": " : "", reason);
    broken = 1;
    return 1;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int32_t sum_part(float *values, size_t count, double deadline, char *error, size_t error_size) {
    MPI_Request request;
    int code, done = 0;
    memcpy(buffer, values, count * sizeof(float));
    code = MPI_Iallreduce(MPI_IN_PLACE, buffer, (int)count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD, &request);
    for (long turn = 0; code == MPI_SUCCESS; turn++) {
        code = MPI_Test(&request, &done, MPI_STATUS_IGNORE);
        if (code != MPI_SUCCESS || done) break;
        if (now() > deadline) return fail("a process has not come within the time limit", MPI_SUCCESS, error, error_size);
        /* Whoever waits long gives its core to the others, and after more than 20 ms looks less often. */
        if (turn > 200) {
            struct timespec pause = {0, turn > 400 ? 200000 : 50000};
            nanosleep(&pause, NULL);
        }
    }
    if (code != MPI_SUCCESS) return fail("MPI", code, error, error_size);
    memcpy(values, buffer, count * sizeof(float));
    return 0;
}

static int32_t all_reduce_sum(float *values, size_t count, double seconds, char *error, size_t error_size) {
    const double deadline = now() + seconds;
    if (broken) return fail("another process was lost before", MPI_SUCCESS, error, error_size);
    if (room < count && room < MOST_VALUES) {
        const size_t wanted = count < MOST_VALUES ? count : MOST_VALUES;
        float *larger = realloc(buffer, wanted * sizeof(float));
        if (larger == NULL) return fail("not enough memory for the gradients", MPI_SUCCESS, error, error_size);
        buffer = larger;
        room = wanted;
    }
    for (size_t first = 0; first < count; first += MOST_VALUES) {
        const size_t rest = count - first;
        const int32_t failed =
            sum_part(values + first, rest < MOST_VALUES ? rest : MOST_VALUES, deadline, error, error_size);
        if (failed) return failed;
    }
    return 0;
}

static void leave(int32_t complete) {
    MPI_Request request;
    int done = 0;
    /* MPI_Finalize waits for the others, and would wait for a lost one for ever. */
    if (!complete || broken) return;
    /* Process 0 may have much to do after the training. The others wait for it without a core of their own. */
    if (MPI_Ibarrier(MPI_COMM_WORLD, &request) != MPI_SUCCESS) return;
    while (MPI_Test(&request, &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && !done) {
        struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
    }
    if (done) MPI_Finalize();
}

const injerto_collective *injerto_collective_v1(char *error, size_t error_size) {
    int rank, size, provided;
    int code = MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &provided);
    if (code == MPI_SUCCESS && provided < MPI_THREAD_SERIALIZED) {
        fail("this MPI cannot be called from several threads in turn", MPI_SUCCESS, error, error_size);
        return NULL;
    }
    if (code == MPI_SUCCESS) code = MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (code == MPI_SUCCESS) code = MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    if (code == MPI_SUCCESS) code = MPI_Comm_size(MPI_COMM_WORLD, &size);
    if (code != MPI_SUCCESS) {
        fail("MPI", code, error, error_size);
        return NULL;
    }
    table.table_size = sizeof(table);
    table.rank = (uint32_t)rank;
    table.size = (uint32_t)size;
    table.all_reduce_sum = all_reduce_sum;
    table.leave = leave;
    return &table;
}
