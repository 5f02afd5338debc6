# Sums over chunks of images or tiles. Each chunk has a partial sum of its own, whichever thread
# makes it; the partial sums are added in the order of the chunks, so that no bit of the result
# depends on the number of threads.
from cython cimport floating


cdef inline void add_chunks(floating* total, const floating* partial, Py_ssize_t chunks,
                            Py_ssize_t step, Py_ssize_t n) noexcept nogil:
    """total += the partial sums of n values each that are `step` values apart, in their order."""
    cdef Py_ssize_t q, j
    for q in range(chunks):
        for j in range(n):
            total[j] += partial[q * step + j]
