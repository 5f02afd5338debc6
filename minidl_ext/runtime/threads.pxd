# How many threads a kernel runs on, and how much it does before it looks for an interrupt.

cdef int threads_for(int threads, double work) noexcept nogil
cdef Py_ssize_t pieces_at_once(Py_ssize_t pieces, double work, int threads) noexcept
