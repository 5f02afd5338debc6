/* The thread budget: how many threads the next kernel gets. That is the setting (set_num_threads),
 * or fewer where other processes have the CPUs.
 *
 * OpenMP's threads wait for one another at the end of every parallel region. If one of them is
 * ready to run but has no CPU, the others wait until the scheduler gives it one, which takes a
 * hundred times as long as a region does. Linux adds up, for each thread, how long it was ready and
 * did not run (its run delay, the second number of /proc/self/task/<id>/schedstat). The delays of
 * all members of the budget, divided by the time that has passed, are how many members lacked a CPU
 * on average. Where too much time is lost, the budget shrinks by that number. After a pause the
 * full budget is tried again; the pause grows as long as the trials fail.
 *
 * No result depends on the number of threads, so the number may change between any two kernels.
 * OpenMP gives each thread that calls kernels threads of its own, so each has a budget of its own.
 * Where the delays cannot be read (no Linux, or no schedstat), every budget is the setting.
 *
 * When one thread is left, the others are ended (`omp_pause_resource_all`). They might wait in a
 * loop, as OMP_WAIT_POLICY=active or the setting of another library wants it, and would take a CPU
 * that others need. A library that shares the runtime (PyTorch) gets new threads at its next
 * region. LLVM's runtime keeps its threads all the same. */
#ifndef MINIDL_THREAD_BUDGET_H
#define MINIDL_THREAD_BUDGET_H

enum { MDL_MAX_THREADS = 1024 };

#if defined(_OPENMP) && defined(__linux__)

#include <fcntl.h>
#include <omp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The share of the time that may be lost. One thread fewer would cost more, since two threads take
 * 0.5 to 0.7 of the time of one. */
#define MDL_LOSS 0.3

/* Times in nanoseconds. */
#define MDL_BURST 6000000 /* may be lost beyond that: now and then, a time slice or two */
#define MDL_INTERVAL 2000000 /* between two readings of the delays, for each member */
#define MDL_FIRST_PAUSE 50000000 /* the shortest pause before the full budget is tried again */
#define MDL_LAST_PAUSE 1000000000 /* the longest */

/* The budget of a thread that calls kernels. Its members are that thread and its OpenMP threads. */
typedef struct {
    int setting; /* the setting that it is for; 0 before the first kernel */
    int size; /* members: threads of the next kernel */
    int watched; /* members whose delays are read, the first ones of ids */
    pid_t ids[MDL_MAX_THREADS];
    int64_t next_reading; /* when to read the delays again */
    int64_t begun; /* when the budget got this size */
    int64_t pause; /* how long it keeps a size that is not the setting */
    int64_t last_reading; /* when the delays were read last */
    int64_t delays; /* their sum then */
    int64_t free_since; /* the last time at which no loss was on the account */
    double waited; /* the delays since then */
    double lost; /* the part of them beyond MDL_LOSS */
} MdlBudget;

static thread_local MdlBudget mdl_budget;

#pragma weak omp_pause_resource_all /* of OpenMP 5.0: older runtimes lack it */

static int64_t mdl_clock(clockid_t which) {
    struct timespec t;
    clock_gettime(which, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The run delay of a thread of this process, or -1 if there is no such thread, or no schedstat. */
static int64_t mdl_run_delay(pid_t id) {
    char path[64], text[96] = "";
    unsigned long long ran, delayed;
    int file;
    ssize_t n;
    snprintf(path, sizeof path, "/proc/self/task/%d/schedstat", (int)id);
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return -1;
    n = read(file, text, sizeof text - 1);
    close(file);
    return n > 0 && sscanf(text, "%llu %llu", &ran, &delayed) == 2 ? (int64_t)delayed : -1;
}

/* The sum of the members' delays, or -1 if one of them has ended. */
static int64_t mdl_delays(const MdlBudget *b) {
    int64_t sum = 0;
    int i;
    for (i = 0; i < b->watched; i++) {
        const int64_t delay = mdl_run_delay(b->ids[i]);
        if (delay < 0) return -1;
        sum += delay;
    }
    return sum;
}

/* Begin with a budget of `size`: find its members, and read their delays for the first time. */
static void mdl_begin(MdlBudget *b, int size, int64_t now) {
    b->size = size;
    b->begun = b->last_reading = b->free_since = now;
    b->lost = b->waited = 0;
    b->watched = 0;
    if (size == 1) return;
    memset(b->ids, 0, (size_t)size * sizeof(pid_t));
#pragma omp parallel num_threads(size)
    b->ids[omp_get_thread_num()] = (pid_t)syscall(SYS_gettid);
    while (b->watched < size && b->ids[b->watched]) b->watched++;
    b->delays = mdl_delays(b);
    if (b->delays < 0) b->watched = 0;
}

/* Too much was lost: go on with as many members fewer as lacked a CPU on average. */
static void mdl_shrink(MdlBudget *b, int64_t now) {
    const int excess = 1 + (int)(b->waited / (double)(now - b->free_since));
    if (b->size == b->setting) {
        const int64_t longer = 2 * b->pause;
        b->pause = now - b->begun > MDL_LAST_PAUSE || !longer ? MDL_FIRST_PAUSE
                   : longer > MDL_LAST_PAUSE                  ? MDL_LAST_PAUSE
                                                              : longer;
    }
    mdl_begin(b, b->size > excess ? b->size - excess : 1, now);
    if (b->size == 1 && omp_pause_resource_all) omp_pause_resource_all(omp_pause_soft);
}

/* Read the delays, and add up what was lost since the last reading. */
static void mdl_read(MdlBudget *b, int64_t now) {
    const int64_t delays = mdl_delays(b);
    double waited;
    if (delays < 0) { /* another library has ended a member: find the new ones */
        mdl_begin(b, b->size, now);
        return;
    }
    waited = (double)(delays - b->delays);
    b->waited += waited;
    b->lost += waited - MDL_LOSS * (double)(now - b->last_reading);
    b->delays = delays;
    b->last_reading = now;
    if (b->lost > MDL_BURST) {
        mdl_shrink(b, now);
    } else if (b->lost <= 0) {
        b->lost = b->waited = 0;
        b->free_since = now;
    }
}

/* How many threads the next kernel gets that this thread calls. */
static int mdl_thread_count(int setting) {
    MdlBudget *b = &mdl_budget;
    int64_t now;
    if (setting == 1) return 1;
    if (setting == b->setting && mdl_clock(CLOCK_MONOTONIC_COARSE) < b->next_reading)
        return b->size;
    now = mdl_clock(CLOCK_MONOTONIC);
    if (setting != b->setting) {
        b->setting = setting;
        b->pause = 0;
        mdl_begin(b, setting, now);
    } else if (b->size < setting && now - b->begun >= b->pause) {
        mdl_begin(b, setting, now);
    } else if (b->watched) {
        mdl_read(b, now);
    }
    b->next_reading = now + MDL_INTERVAL * (b->watched > 1 ? b->watched : 1);
    return b->size;
}

#else
static int mdl_thread_count(int setting) { return setting; }
#endif

#endif
