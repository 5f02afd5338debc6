# Checks of the arrays that kernels are given.
cimport numpy as cnp

cdef cnp.ndarray real_array(object a, str where, str name, int ndim)
cdef cnp.ndarray typed_array(object a, str where, str name, int ndim, int typenum)
cdef cnp.ndarray channel_blocks(object a, str where, str name, int multiple)
cdef int has_shape(cnp.ndarray a, cnp.npy_intp n, cnp.npy_intp h, cnp.npy_intp w, cnp.npy_intp c,
                   str where, str name) except -1
cdef int same_dtype(cnp.ndarray a, cnp.ndarray b, str where, str name_a, str name_b) except -1
cdef int same_shape(cnp.ndarray a, cnp.ndarray b, str where, str name_a, str name_b) except -1
cdef char* row_or_null(object value, cnp.ndarray x, str where, str x_name, str name) except? NULL
cdef int has_length(cnp.ndarray a, cnp.npy_intp n, str where, str name) except -1
cdef cnp.ndarray output(object out, str where, int ndim, const cnp.npy_intp* dims, int typenum,
                        str name=*)
cdef cnp.ndarray output_like(object out, str where, cnp.ndarray a, str name=*)
cdef bint overlap(cnp.ndarray a, cnp.ndarray b)
cdef int disjoint(cnp.ndarray out, cnp.ndarray a, str where, str name, str out_name=*) except -1
cdef int disjoint_or_same(cnp.ndarray out, cnp.ndarray a, str where, str name) except -1
cdef char* data_or_null(object other, cnp.ndarray x, str where, str name) except? NULL
cdef cnp.ndarray channel_rows(object value, cnp.npy_intp rows, cnp.npy_intp channels, int typenum,
                              str where, str name)
cdef int clear_of(object asked, cnp.ndarray out, str where, tuple names, tuple arrays,
                  str out_name=*) except -1
cdef cnp.ndarray output_of(object out, str where, cnp.npy_intp n, cnp.npy_intp h, cnp.npy_intp w,
                           cnp.npy_intp c, cnp.ndarray a, str a_name, cnp.ndarray b, str b_name)
cdef int has_input_channels(cnp.ndarray w, cnp.npy_intp channels, cnp.npy_intp groups, str where
                            ) except -1
