/* How many threads the next kernel gets: the setting, or fewer where other processes have the CPUs.
 *
 * The members of an OpenMP team wait for each other at the end of every region. Where one of them
 * is ready to run but has no CPU, the others wait for as long as the scheduler keeps it waiting,
 * which is a hundred times as long as a region takes. Linux adds up for each thread how long it
 * was ready and did not run (the run delay, second number of /proc/self/task/<id>/schedstat). The
 * delays of all members together, divided by the time that has passed, are how many members lacked
 * a CPU on average. A team that loses too much time so is made smaller by that number, and after a
 * pause the full team is tried again; the pauses grow while the trials fail.
 *
 * No result depends on the number of threads, so it may change from one kernel to the next. Each
 * thread that calls kernels has OpenMP threads of its own, hence a record of its own here. Where
 * the delays cannot be read (no Linux, no schedstat) every team is full.
 *
 * When one thread is left, the others are ended (`omp_pause_resource_all`): if they wait in a loop,
 * as OMP_WAIT_POLICY=active or another library's setting may want it, they would take a CPU that
 * is needed. A library that shares the runtime (PyTorch) gets new ones at its next region. */
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

/* The share of the time that a team may lose: a thread less would cost more, since two threads take
 * 0.5 to 0.7 of the time of one. */
#define MDL_LOSS 0.3

/* Times in nanoseconds. */
#define MDL_BURST 6000000           /* may be lost beyond that at once: a time slice or two, rarely */
#define MDL_INTERVAL 2000000        /* between two looks at the delays, for each member */
#define MDL_FIRST_PAUSE 50000000    /* of a team that is not full */
#define MDL_LAST_PAUSE 1000000000

typedef struct {
    int most;           /* the setting that this record is for; 0 before the first kernel */
    int size;           /* threads of the next kernel */
    int watched;        /* members whose delays are read, the first ones of ids */
    pid_t ids[MDL_MAX_THREADS];
    int64_t next;       /* when to look again */
    int64_t begun;      /* when the team got this size */
    int64_t pause;      /* how long it keeps it, if it is not full */
    int64_t looked;     /* when the delays were last read */
    int64_t delays;     /* their sum then */
    int64_t since;      /* when nothing was lost */
    double waited;      /* delays from then on */
    double lost;        /* the part of them beyond MDL_LOSS */
} MdlTeam;

static thread_local MdlTeam mdl_team;

#pragma weak omp_pause_resource_all     /* OpenMP 5.0; an older runtime does without */

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
static int64_t mdl_delays(const MdlTeam *thread_count) {
    int64_t sum = 0;
    int i;
    for (i = 0; i < thread_count->watched; i++) {
        const int64_t delay = mdl_run_delay(thread_count->ids[i]);
        if (delay < 0) return -1;
        sum += delay;
    }
    return sum;
}

/* Begin with a team of `size`: find its members, and what their delays are now. */
static void mdl_begin(MdlTeam *thread_count, int size, int64_t now) {
    thread_count->size = size;
    thread_count->begun = thread_count->looked = thread_count->since = now;
    thread_count->lost = thread_count->waited = 0;
    thread_count->watched = 0;
    if (size == 1) return;
    memset(thread_count->ids, 0, (size_t)size * sizeof(pid_t));
    #pragma omp parallel num_threads(size)
    thread_count->ids[omp_get_thread_num()] = (pid_t)syscall(SYS_gettid);
    while (thread_count->watched < size && thread_count->ids[thread_count->watched]) thread_count->watched++;
    thread_count->delays = mdl_delays(thread_count);
    if (thread_count->delays < 0) thread_count->watched = 0;
}

/* The team has lost too much: go on with as many members fewer as lacked a CPU on average. */
static void mdl_shrink(MdlTeam *thread_count, int64_t now) {
    const int excess = 1 + (int)(thread_count->waited / (double)(now - thread_count->since));
    if (thread_count->size == thread_count->most) {
        const int64_t longer = 2 * thread_count->pause;
        thread_count->pause = now - thread_count->begun > MDL_LAST_PAUSE || !longer ? MDL_FIRST_PAUSE
                      : longer > MDL_LAST_PAUSE ? MDL_LAST_PAUSE : longer;
    }
    mdl_begin(thread_count, thread_count->size > excess ? thread_count->size - excess : 1, now);
    if (thread_count->size == 1 && omp_pause_resource_all) omp_pause_resource_all(omp_pause_soft);
}

/* Add up what the team has lost since the last look. */
static void mdl_look(MdlTeam *thread_count, int64_t now) {
    const int64_t delays = mdl_delays(thread_count);
    double waited;
    if (delays < 0) {       /* another library has ended a member, and a new one took its place */
        mdl_begin(thread_count, thread_count->size, now);
        return;
    }
    waited = (double)(delays - thread_count->delays);
    thread_count->waited += waited;
    thread_count->lost += waited - MDL_LOSS * (double)(now - thread_count->looked);
    thread_count->delays = delays;
    thread_count->looked = now;
    if (thread_count->lost > MDL_BURST) {
        mdl_shrink(thread_count, now);
    } else if (thread_count->lost <= 0) {
        thread_count->lost = thread_count->waited = 0;
        thread_count->since = now;
    }
}

/* The threads of the next kernel that this thread calls, where the setting is `most`. */
static int mdl_thread_count(int most) {
    MdlTeam *thread_count = &mdl_team;
    int64_t now;
    if (most == 1) return 1;
    if (most == thread_count->most && mdl_clock(CLOCK_MONOTONIC_COARSE) < thread_count->next) return thread_count->size;
    now = mdl_clock(CLOCK_MONOTONIC);
    if (most != thread_count->most) {
        thread_count->most = most;
        thread_count->pause = 0;
        mdl_begin(thread_count, most, now);
    } else if (thread_count->size < most && now - thread_count->begun >= thread_count->pause) {
        mdl_begin(thread_count, most, now);
    } else if (thread_count->watched) {
        mdl_look(thread_count, now);
    }
    thread_count->next = now + MDL_INTERVAL * (thread_count->watched > 1 ? thread_count->watched : 1);
    return thread_count->size;
}

#else
static int mdl_thread_count(int most) { return most; }
#endif

#endif
