# Elementary functions for either float type: vectorizable in float32 (vecmath.h), libm's in
# float64.
from cython cimport floating
from libc cimport math as libm

cdef extern from "simd/vecmath.h" nogil:
    float mdl_exp_f32(float x)
    float mdl_log_f32(float x)
    float mdl_tanh_f32(float x)
    float mdl_expm1_f32(float x)
    float mdl_log1p_f32(float x)


cdef inline floating vexp(floating x) noexcept nogil:
    if floating is float:
        return mdl_exp_f32(x)
    else:
        return libm.exp(x)


cdef inline floating vtanh(floating x) noexcept nogil:
    if floating is float:
        return mdl_tanh_f32(x)
    else:
        return libm.tanh(x)


cdef inline floating vlogistic(floating x) noexcept nogil:
    """1 / (1 + exp(-x)), without overflow."""
    cdef floating e = vexp(-x if x > 0 else x), one = 1
    return (e if x < 0 else one) / (one + e)


cdef inline floating vlog(floating x) noexcept nogil:
    if floating is float:
        return mdl_log_f32(x)
    else:
        return libm.log(x)


cdef inline floating vsqrt(floating x) noexcept nogil:
    if floating is float:
        return libm.sqrtf(x)
    else:
        return libm.sqrt(x)


cdef inline floating vpow(floating x, floating y) noexcept nogil:
    if floating is float:
        return libm.powf(x, y)
    else:
        return libm.pow(x, y)


cdef inline floating vexpm1(floating x) noexcept nogil:
    if floating is float:
        return mdl_expm1_f32(x)
    else:
        return libm.expm1(x)


cdef inline floating vlog1p(floating x) noexcept nogil:
    """log(1 + x) for 0 <= x <= 1."""
    if floating is float:
        return mdl_log1p_f32(x)
    else:
        return libm.log1p(x)
