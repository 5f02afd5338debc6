/* A parallel region of one thread becomes a plain function call.
 *
 * GNU OpenMP sets up a parallel region even for one thread, and that takes longer than the work on
 * a small array: without this file, adding two arrays of 256 numbers takes 1.1 us instead of 0.3,
 * and multiplying two 16x16 matrices 1.8 us instead of 0.5. The compiler calls GOMP_parallel for
 * each region, and the linker (--wrap) leads those calls here. Inside a parallel region of the
 * calling program the region is set up all the same, since there omp_get_thread_num() must be 0
 * again.
 */
#ifndef MINIDL_SINGLE_THREAD_H
#define MINIDL_SINGLE_THREAD_H

extern "C" {

int omp_get_level(void);
void __real_GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags);

/* The function is weak: every object of a library has a copy, and the linker keeps one of them. */
__attribute__((weak, visibility("hidden"))) void
__wrap_GOMP_parallel(void (*body)(void *), void *data, unsigned threads, unsigned flags) {
    if (threads == 1 && omp_get_level() == 0) body(data);
    else __real_GOMP_parallel(body, data, threads, flags);
}
}

#endif
