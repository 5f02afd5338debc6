"""Checks of the arrays that kernels are given; every error names the kernel and the argument.

Checks run while the kernel holds the GIL, before it uses a pointer. This module is compiled once,
for any CPU of the architecture.
"""
cimport numpy as cnp

from minidl_ext.runtime.memory cimport new_array

import numpy as np

cnp.import_array()

cdef extern from "<assert.h>" nogil:
    void in_debug_builds "assert"(bint condition) noexcept


cdef cnp.ndarray real_array(object a, str where, str name, int ndim):
    """A C-contiguous, aligned float32 or float64 array of `ndim` axes (-1: any number)."""
    cdef int t
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{where}: {name} must be a NumPy array, got {type(a).__name__}")
    t = cnp.PyArray_TYPE(<cnp.ndarray>a)
    if t != cnp.NPY_FLOAT32 and t != cnp.NPY_FLOAT64:
        raise TypeError(f"{where}: {name} must be float32 or float64, got {a.dtype}")
    return typed_array(a, where, name, ndim, t)


cdef cnp.ndarray typed_array(object a, str where, str name, int ndim, int typenum):
    """A C-contiguous, aligned array of one dtype and `ndim` axes (-1: any number)."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{where}: {name} must be a NumPy array, got {type(a).__name__}")
    # Two types of C may be of one width: of int64, NumPy has long and long long.
    if not cnp.PyArray_EquivTypenums(cnp.PyArray_TYPE(<cnp.ndarray>a), typenum):
        expected = cnp.PyArray_DescrFromType(typenum)
        raise TypeError(f"{where}: {name} must be {expected}, got {a.dtype}")
    if ndim >= 0 and cnp.PyArray_NDIM(<cnp.ndarray>a) != ndim:
        raise ValueError(f"{where}: {name} must have {ndim} axes, got shape {a.shape}")
    if not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>a):
        raise ValueError(f"{where}: {name} must be C-contiguous, aligned and in native byte order")
    return <cnp.ndarray>a


cdef char* row_or_null(object value, cnp.ndarray x, str where, str x_name, str name
                       ) except? NULL:
    """The memory of a vector that fits the last axis of x, or NULL for None."""
    cdef cnp.ndarray a
    if value is None:
        return NULL
    a = real_array(value, where, name, 1)
    same_dtype(x, a, where, x_name, name)
    has_length(a, cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1), where, name)
    return a.data


cdef cnp.ndarray channel_blocks(object a, str where, str name, int multiple):
    """A float32 array of four axes, the last of them a positive multiple of `multiple`."""
    cdef cnp.ndarray array = typed_array(a, where, name, 4, cnp.NPY_FLOAT32)
    if cnp.PyArray_DIM(array, 3) % multiple or cnp.PyArray_DIM(array, 3) == 0:
        raise ValueError(f"{where}: {name} {np.shape(a)} must have channels in multiples of "
                         f"{multiple}")
    return array


cdef int has_shape(cnp.ndarray a, cnp.npy_intp n, cnp.npy_intp h, cnp.npy_intp w, cnp.npy_intp c,
                   str where, str name) except -1:
    """Check the shape of an array, which its caller has found to have four axes."""
    in_debug_builds(cnp.PyArray_NDIM(a) == 4)
    if (cnp.PyArray_DIM(a, 0) != n or cnp.PyArray_DIM(a, 1) != h or cnp.PyArray_DIM(a, 2) != w
            or cnp.PyArray_DIM(a, 3) != c):
        raise ValueError(f"{where}: {name} must have shape {(n, h, w, c)}, got {np.shape(a)}")
    return 0


cdef int same_dtype(cnp.ndarray a, cnp.ndarray b, str where, str name_a, str name_b) except -1:
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b):
        raise TypeError(f"{where}: {name_a} is {a.dtype} but {name_b} is {b.dtype}; "
                        f"convert one with astype")
    return 0


cdef int same_shape(cnp.ndarray a, cnp.ndarray b, str where, str name_a, str name_b) except -1:
    if not cnp.PyArray_SAMESHAPE(a, b):
        raise ValueError(f"{where}: {name_a} has shape {np.shape(a)} but {name_b} {np.shape(b)}")
    return 0


cdef int has_length(cnp.ndarray a, cnp.npy_intp n, str where, str name) except -1:
    if cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_DIM(a, 0) != n:
        raise ValueError(f"{where}: {name} must have shape ({n},), got {np.shape(a)}")
    return 0


cdef cnp.ndarray output(object out, str where, int ndim, const cnp.npy_intp* dims, int typenum,
                        str name="out"):
    """The array that a kernel writes: `out`, if it fits exactly, or a new one if it is None. The
    kernel's argument is `name`, here and below."""
    cdef int i
    if out is None:
        return new_array(ndim, dims, typenum)
    typed_array(out, where, name, ndim, typenum)
    for i in range(ndim):
        if cnp.PyArray_DIM(<cnp.ndarray>out, i) != dims[i]:
            expected = tuple([dims[k] for k in range(ndim)])
            raise ValueError(f"{where}: {name} must have shape {expected}, got {np.shape(out)}")
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out):
        raise ValueError(f"{where}: {name} is read-only")
    return <cnp.ndarray>out


cdef cnp.ndarray output_like(object out, str where, cnp.ndarray a, str name="out"):
    return output(out, where, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a), name)


cdef bint overlap(cnp.ndarray a, cnp.ndarray b):
    """Whether two arrays share memory."""
    cdef char* p = <char*>cnp.PyArray_DATA(a)
    cdef char* q = <char*>cnp.PyArray_DATA(b)
    return p < q + cnp.PyArray_NBYTES(b) and q < p + cnp.PyArray_NBYTES(a)


cdef int disjoint(cnp.ndarray out, cnp.ndarray a, str where, str name, str out_name="out"
                  ) except -1:
    """Refuse an `out` that shares memory with `a`, which is read after `out` is written."""
    if overlap(out, a):
        raise ValueError(f"{where}: {out_name} overlaps {name} in memory")
    return 0


cdef int disjoint_or_same(cnp.ndarray out, cnp.ndarray a, str where, str name) except -1:
    """As `disjoint`, but `out` may be `a` itself, since the kernel works element by element."""
    if cnp.PyArray_DATA(out) == cnp.PyArray_DATA(a) and \
            cnp.PyArray_NBYTES(out) == cnp.PyArray_NBYTES(a):
        return 0
    return disjoint(out, a, where, name)


cdef char* data_or_null(object other, cnp.ndarray x, str where, str name) except? NULL:
    """The memory of an array of the shape and dtype of x, or NULL for None."""
    cdef cnp.ndarray a
    if other is None:
        return NULL
    a = real_array(other, where, name, -1)
    same_dtype(x, a, where, "x", name)
    same_shape(x, a, where, "x", name)
    return a.data


cdef cnp.ndarray channel_rows(object value, cnp.npy_intp rows, cnp.npy_intp channels,
                              int typenum, str where, str name):
    """An array of one dtype with so many rows of a value for each channel."""
    cdef cnp.ndarray a = typed_array(value, where, name, 2, typenum)
    if a.shape[0] != rows or a.shape[1] != channels:
        raise ValueError(f"{where}: {name} must have shape ({rows}, {channels}), "
                         f"got ({a.shape[0]}, {a.shape[1]})")
    return a


cdef int clear_of(object asked, cnp.ndarray out, str where, tuple names, tuple arrays,
                  str out_name="out") except -1:
    """Check that a result that was asked for as an array shares no memory with these arrays, which
    are None where they are absent."""
    if isinstance(asked, cnp.ndarray):
        for name, array in zip(names, arrays, strict=True):
            if array is not None:
                disjoint(out, array, where, name, out_name)
    return 0


cdef cnp.ndarray output_of(object out, str where, cnp.npy_intp n, cnp.npy_intp h, cnp.npy_intp w,
                           cnp.npy_intp c, cnp.ndarray a, str a_name, cnp.ndarray b, str b_name):
    """The array (n, h, w, c) that a kernel writes: `out` if it fits exactly, a new one if it is
    None. It has the dtype of the inputs a and b, and shares no memory with them."""
    cdef cnp.npy_intp* dims = [n, h, w, c]
    cdef cnp.ndarray y = output(out, where, 4, dims, cnp.PyArray_TYPE(a))
    disjoint(y, a, where, a_name)
    disjoint(y, b, where, b_name)
    return y


cdef int has_input_channels(cnp.ndarray w, cnp.npy_intp channels, cnp.npy_intp groups, str where
                            ) except -1:
    """Check the input channels of the weights of a convolution in groups, which its caller has
    found to have four axes."""
    in_debug_builds(cnp.PyArray_NDIM(w) == 4)
    if w.shape[2] != channels // groups:
        raise ValueError(f"{where}: w {(<object>w).shape} must have {channels // groups} input "
                         f"channels ({channels} in {groups} groups)")
    return 0
