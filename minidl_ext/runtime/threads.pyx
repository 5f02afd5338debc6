"""How many threads a kernel runs on, and how much it does before it looks for an interrupt.

Kernels take `threads`; 0 stands for as many as `set_num_threads` allows and other processes leave
(thread_budget.h). Work that is too small to repay a parallel region stays on one thread. No result
depends on the number. This module is compiled once, for any CPU of the architecture.
"""

cdef extern from *:
    """
    #ifdef _OPENMP
    #include <omp.h>
    static void mdl_exact_threads(void) { omp_set_dynamic(0); }
    static size_t mdl_openmp_address(void) { return (size_t)omp_get_max_threads; }
    #else
    static void mdl_exact_threads(void) {}
    static size_t mdl_openmp_address(void) { return 0; }
    #endif
    """
    void mdl_exact_threads() nogil
    size_t mdl_openmp_address() nogil

cdef extern from "runtime/thread_budget.h":
    int mdl_thread_count(int most) nogil
    enum:
        MDL_MAX_THREADS

mdl_exact_threads()

cdef enum:
    SMALL_WORK = 32768      # element operations, below which a parallel region costs more

cdef double UNINTERRUPTED = 2.0**34     # multiply-adds, which take a second or a few
cdef int _threads = 1
cdef bint _forked = False


def set_num_threads(Py_ssize_t n):
    """Use up to `n` threads in kernels (1 to 1024), however many CPUs there are."""
    global _threads
    if n < 1 or n > MDL_MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be between 1 and {MDL_MAX_THREADS}, got {n}")
    _threads = <int>n


def get_num_threads():
    """The number of threads that kernels use at most (1 in a forked child)."""
    return 1 if _forked else _threads


def thread_count():
    """How many threads the next large kernel that is called from this thread runs on."""
    return 1 if _forked else mdl_thread_count(_threads)


def openmp_address():
    """An address inside the OpenMP runtime that the kernels call; 0 without OpenMP.

    A process may hold several runtimes, since other packages bring theirs. The kernels call the one
    that the loader found when this module was loaded.
    """
    return mdl_openmp_address()


def after_fork_in_child():
    """Use one thread from now on: OpenMP's threads do not survive a fork, and a kernel that waited
    for them would hang."""
    global _forked
    _forked = True


def forked():
    """Whether this process is a forked child, whose kernels use one thread."""
    return bool(_forked)


cdef int threads_for(int threads, double work) noexcept nogil:
    """How many threads a kernel runs on that does `work` element operations.

    `threads` is what its caller asked for; 0 stands for as many as the budget allows.
    """
    if _forked or work < SMALL_WORK:
        return 1
    if threads <= 0:
        return mdl_thread_count(_threads)
    return threads if threads < MDL_MAX_THREADS else MDL_MAX_THREADS


cdef Py_ssize_t pieces_at_once(Py_ssize_t pieces, double work, int threads) noexcept:
    """How many of `pieces` equal pieces of work a kernel does before it looks for an interrupt.

    That is all of them, unless they take seconds. `work` are the multiply-adds of all pieces.
    """
    cdef Py_ssize_t count
    if work <= UNINTERRUPTED:
        return pieces
    count = <Py_ssize_t>(pieces * (UNINTERRUPTED / work))
    return max(1, (count + threads - 1) // threads) * threads
