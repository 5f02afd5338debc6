# What the input gradient takes from winograd_forward.pyx: it is a convolution, too.
from minidl_ext.conv.epilogue cimport Epilogue
from minidl_ext.conv.winograd_tiles cimport Tiling

cdef Py_ssize_t transformed_floats(const Tiling* t) noexcept nogil
cdef void transform_weights(const float* w, float* u, const Tiling* t, bint turned, int threads
                            ) noexcept nogil
cdef int convolve_tiles(const float* x, const float* u, float* y, Tiling* t,
                        const Epilogue* epilogue, int threads) except -1
