# Memory of every kernel: products of sizes, and the pool of buffers.
cimport numpy as cnp

cdef enum:
    MAX_AXES = 64       # NumPy's own limit

cdef int set_dims(object shape, str where, cnp.npy_intp* dims) except -1
cdef size_t product(size_t a, size_t b, size_t c=*, size_t d=*) except? 0
cdef cnp.ndarray new_array(int ndim, const cnp.npy_intp* dims, int typenum)
cdef cnp.ndarray new_like(cnp.ndarray a)
cdef cnp.ndarray workspace(size_t nbytes)


cdef inline Py_ssize_t ceil_div(Py_ssize_t a, Py_ssize_t b) noexcept nogil:
    """a / b rounded up, for a >= 0 and b > 0: how many pieces of b things hold a of them."""
    return (a + b - 1) // b


cdef inline Py_ssize_t aligned(Py_ssize_t nbytes) noexcept nogil:
    """nbytes rounded up to cache lines, so that what lies after them begins at one."""
    return ceil_div(nbytes, 64) * 64
