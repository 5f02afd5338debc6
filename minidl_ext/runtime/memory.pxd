# Memory of every kernel: products of sizes, and the pool of buffers.
cimport numpy as cnp

cdef enum:
    MAX_AXES = 64       # NumPy's own limit

cdef int set_dims(object shape, str where, cnp.npy_intp* dims) except -1
cdef size_t product(size_t a, size_t b, size_t c=*, size_t d=*) except? 0
cdef cnp.ndarray new_array(int ndim, const cnp.npy_intp* dims, int typenum)
cdef cnp.ndarray new_like(cnp.ndarray a)
cdef cnp.ndarray workspace(size_t nbytes)
