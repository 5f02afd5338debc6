# How many threads a kernel runs on, and how much it does before it looks for an interrupt.
#
# For threads_for, `work` counts element operations, each about what a value of a sum of two arrays
# takes: a multiply-add of the micro-kernel is an eighth of one, an exp some eight or sixteen. For
# pieces_at_once it counts multiply-adds.

cdef int threads_for(int threads, double work) noexcept nogil
cdef Py_ssize_t pieces_at_once(Py_ssize_t pieces, double work, int threads) noexcept
