# The micro-kernel of micro.h, for either float type.
from cython cimport floating

cdef extern from "micro.h" nogil:
    enum:
        VECTOR_BYTES
        MR
    void micro_f32(int rows, const float* const* a, const float* b, int segments,
                   const Py_ssize_t* a_off, const Py_ssize_t* b_off, Py_ssize_t n,
                   Py_ssize_t a_step, Py_ssize_t b_step, float* const* out, Py_ssize_t out_off,
                   Py_ssize_t columns, int accumulate)
    void micro_f64(int rows, const double* const* a, const double* b, int segments,
                   const Py_ssize_t* a_off, const Py_ssize_t* b_off, Py_ssize_t n,
                   Py_ssize_t a_step, Py_ssize_t b_step, double* const* out, Py_ssize_t out_off,
                   Py_ssize_t columns, int accumulate)
    void prefetch_part(const char* p, Py_ssize_t bytes, Py_ssize_t i, Py_ssize_t parts)
    void prefetch_part_for_writing(char* p, Py_ssize_t bytes, Py_ssize_t i, Py_ssize_t parts)


cdef inline void micro(int rows, const floating* const* a, const floating* b, int segments,
                       const Py_ssize_t* a_off, const Py_ssize_t* b_off, Py_ssize_t n,
                       Py_ssize_t a_step, Py_ssize_t b_step, floating** out, Py_ssize_t out_off,
                       Py_ssize_t columns, int accumulate) noexcept nogil:
    """rows (1..MR) x columns (1..2 vectors) of outputs; see micro.h."""
    if floating is float:
        micro_f32(rows, a, b, segments, a_off, b_off, n, a_step, b_step, out, out_off, columns,
                  accumulate)
    else:
        micro_f64(rows, a, b, segments, a_off, b_off, n, a_step, b_step, out, out_off, columns,
                  accumulate)


cdef inline Py_ssize_t block_columns(Py_ssize_t itemsize) noexcept nogil:
    """Columns of a full block: two vectors."""
    return 2 * VECTOR_BYTES // itemsize
