# The micro-kernel of micro.h, for either float type, and what calls it for many rows.
from cython cimport floating

cdef extern from "gemm/micro.h" nogil:
    enum:
        VECTOR_BYTES
        MR
    void micro[Real](int rows, const Real* const* a, const Real* b, int segments,
                     const Py_ssize_t* a_off, const Py_ssize_t* b_off, Py_ssize_t n,
                     Py_ssize_t a_step, Py_ssize_t b_step, Real** out, Py_ssize_t out_off,
                     Py_ssize_t columns, int accumulate, const char* prefetch,
                     Py_ssize_t prefetch_step)
    void prefetch_part(const char* p, Py_ssize_t bytes, Py_ssize_t i, Py_ssize_t parts)


cdef inline Py_ssize_t block_columns(Py_ssize_t itemsize) noexcept nogil:
    """Columns of a full block: two vectors."""
    return 2 * VECTOR_BYTES // itemsize


cdef inline void pack_columns(const floating* w, floating* packed, Py_ssize_t k, Py_ssize_t row,
                       Py_ssize_t step, Py_ssize_t columns, Py_ssize_t width) noexcept nogil:
    """k rows of `columns` values, w[k * row + column * step], as [panel][k][width]."""
    cdef Py_ssize_t p, i, j, first, count
    for p in range((columns + width - 1) // width):
        first = p * width
        count = columns - first if columns - first < width else width
        for i in range(k):
            for j in range(count):
                packed[i * width + j] = w[i * row + (first + j) * step]
            for j in range(count, width):
                packed[i * width + j] = 0
        packed += k * width


# Memory that is needed next: up to three regions, asked for in one order while the micro-kernel
# runs for `times` terms.
cdef struct Prefetch:
    const char* start[3]
    Py_ssize_t nbytes[3]
    Py_ssize_t step, done


cdef inline void plan_prefetch(Prefetch* ahead, Py_ssize_t times) noexcept nogil:
    cdef Py_ssize_t total = ahead.nbytes[0] + ahead.nbytes[1] + ahead.nbytes[2]
    ahead.step = (total + times - 1) // times if times > 0 else 0
    ahead.done = 0


cdef inline const char* next_prefetch(Prefetch* ahead, Py_ssize_t times) noexcept nogil:
    """Where to go on for the next `times` terms."""
    cdef Py_ssize_t at = ahead.done
    cdef int i
    ahead.done += times * ahead.step
    for i in range(2):
        if at < ahead.nbytes[i]:
            return ahead.start[i] + at
        at -= ahead.nbytes[i]
    return ahead.start[2] + at


cdef inline void sweep(const floating** pixels, floating** outs, Py_ssize_t count,
                       const floating* packed, int segments, const Py_ssize_t* a_off,
                       const Py_ssize_t* b_off, Py_ssize_t length, Py_ssize_t taps,
                       Py_ssize_t out_off, Py_ssize_t columns, Py_ssize_t width, Prefetch* ahead
                       ) noexcept nogil:
    """All pixels times all panels: the micro-kernel in even blocks of at most MR pixels."""
    cdef Py_ssize_t blocks = row_blocks(count), p, i, first, after
    for p in range((columns + width - 1) // width):
        first = 0
        for i in range(blocks):
            after = count * (i + 1) // blocks
            micro(<int>(after - first), pixels + first, packed + p * taps * width, segments,
                  a_off, b_off, length, 1, width, outs + first, out_off + p * width,
                  columns - p * width, 0, next_prefetch(ahead, taps), ahead.step)
            first = after


cdef inline Py_ssize_t row_blocks(Py_ssize_t rows) noexcept nogil:
    """How many calls of the micro-kernel so many rows take."""
    return (rows + MR - 1) // MR
