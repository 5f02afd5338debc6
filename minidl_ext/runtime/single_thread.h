/* A parallel region of one thread is a function call.
 *
 * GNU OpenMP opens a team also for one thread, which takes longer than a small array takes: a sum of
 * two arrays of 256 numbers 1.1 us instead of 0.3, a product of two 16x16 matrices 1.8 instead of
 * 0.5. The compiler calls GOMP_parallel for each region; the linker (--wrap) leads those calls here.
 * Inside another program's parallel region the team is opened, so that threads are numbered from 0.
 */
#ifndef MINIDL_SINGLE_THREAD_H
#define MINIDL_SINGLE_THREAD_H

extern "C" {

int omp_get_level(void);
void __real_GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);

/* Weak: every object of a library has one, and the linker keeps one. */
__attribute__((weak, visibility("hidden")))
void __wrap_GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags)
{
    if (threads == 1 && omp_get_level() == 0)
        body(data);
    else
        __real_GOMP_parallel(body, data, threads, flags);
}

}

#endif
