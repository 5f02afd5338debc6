# The micro-kernel of micro.h for either float type; what packs its second factor in panels, what
# calls it for more rows and columns than one call takes, and what plans its prefetches.
from cython cimport floating
from libc.string cimport memset

from minidl_ext.runtime.memory cimport ceil_div

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

cdef extern from "gemm/transpose.h" nogil:
    void transpose[Real](const Real* b, Py_ssize_t step, Py_ssize_t columns, Py_ssize_t terms,
                         Real* panel, Py_ssize_t width)


cdef inline Py_ssize_t panel_width(Py_ssize_t itemsize) noexcept nogil:
    """The columns of a panel: two vectors."""
    return 2 * VECTOR_BYTES // itemsize


cdef inline Py_ssize_t row_blocks(Py_ssize_t rows) noexcept nogil:
    """How many calls of the micro-kernel so many rows take."""
    return ceil_div(rows, MR)


# ------------------------------------------------------------------------------------- panels

cdef inline void pack_panel(const floating* b, floating* panel, Py_ssize_t terms,
                            Py_ssize_t term_step, Py_ssize_t column_step, Py_ssize_t columns
                            ) noexcept nogil:
    """One panel, [term][column], of the first columns of b[term * term_step + column *
    column_step]; where there are fewer `columns` than it holds, zeros follow."""
    cdef Py_ssize_t width = panel_width(sizeof(floating)), k, j
    cdef const floating* values
    if columns > width:
        columns = width
    if columns < width:
        memset(panel, 0, terms * width * sizeof(floating))
    if column_step == 1:
        for k in range(terms):
            values = b + k * term_step
            for j in range(columns):
                panel[k * width + j] = values[j]
    elif term_step == 1:
        transpose(b, column_step, columns, terms, panel, width)
    else:
        for j in range(columns):
            values = b + j * column_step
            for k in range(terms):
                panel[k * width + j] = values[k * term_step]


cdef inline void pack_panels(const floating* b, floating* panels, Py_ssize_t terms,
                             Py_ssize_t term_step, Py_ssize_t column_step, Py_ssize_t columns
                             ) noexcept nogil:
    """All `columns` of b, as [panel][term][column]."""
    cdef Py_ssize_t width = panel_width(sizeof(floating)), p
    for p in range(ceil_div(columns, width)):
        pack_panel(b + p * width * column_step, panels + p * terms * width, terms, term_step,
                   column_step, columns - p * width)


# ----------------------------------------------------------------------------------- prefetch

# Memory that is needed next: up to three regions, which the micro-kernel prefetches one after the
# other, `step` bytes at each term; `done` bytes are prefetched already.
cdef struct Prefetch:
    const char* start[3]
    Py_ssize_t nbytes[3]
    Py_ssize_t step, done


cdef inline void plan_prefetch(Prefetch* prefetch, Py_ssize_t terms, const void* a,
                               Py_ssize_t a_bytes, const void* b, Py_ssize_t b_bytes,
                               const void* c, Py_ssize_t c_bytes) noexcept nogil:
    """Spread the prefetch of some bytes at a, b and c evenly over `terms` terms. c may be NULL;
    past the end the prefetch goes on at c, or else at b."""
    cdef Py_ssize_t total = a_bytes + b_bytes + c_bytes
    prefetch.start[0], prefetch.nbytes[0] = <const char*>a, a_bytes
    prefetch.start[1], prefetch.nbytes[1] = <const char*>b, b_bytes
    prefetch.start[2], prefetch.nbytes[2] = <const char*>(c if c != NULL else b), c_bytes
    prefetch.step = ceil_div(total, terms) if terms > 0 else 0
    prefetch.done = 0


cdef inline const char* next_prefetch(Prefetch* prefetch, Py_ssize_t terms) noexcept nogil:
    """Where the prefetch goes on during the next `terms` terms."""
    cdef Py_ssize_t at = prefetch.done
    cdef int i
    prefetch.done += terms * prefetch.step
    for i in range(2):
        if at < prefetch.nbytes[i]:
            return prefetch.start[i] + at
        at -= prefetch.nbytes[i]
    return prefetch.start[2] + at


# --------------------------------------------------------------------------- rows times panels

cdef inline void multiply_panels(const floating** a, Py_ssize_t rows, const floating* b,
                                 Py_ssize_t panel_step, int segments, const Py_ssize_t* a_off,
                                 const Py_ssize_t* b_off, Py_ssize_t n, Py_ssize_t a_step,
                                 Py_ssize_t b_step, floating** out, Py_ssize_t out_off,
                                 Py_ssize_t columns, bint accumulate, Prefetch* prefetch
                                 ) noexcept nogil:
    """All rows times all panels of b, which are `panel_step` values apart: the micro-kernel for
    each panel and each of some even blocks of at most MR rows. Other arguments are the kernel's."""
    cdef Py_ssize_t width = panel_width(sizeof(floating)), blocks = row_blocks(rows)
    cdef Py_ssize_t terms = segments * n, p, i, first, stop
    for p in range(ceil_div(columns, width)):
        first = 0
        for i in range(blocks):
            stop = rows * (i + 1) // blocks
            micro(<int>(stop - first), a + first, b + p * panel_step, segments, a_off, b_off, n,
                  a_step, b_step, out + first, out_off + p * width, columns - p * width,
                  accumulate, next_prefetch(prefetch, terms), prefetch.step)
            first = stop
