/* Inner loops of max pooling over the channels of one window, in vectors of GCC and Clang.
 *
 * A place in a window is a byte beside values of four or eight bytes, which compilers do not
 * vectorize well by themselves. Windows of more than 256 values are left to the plain loops of
 * pool.pyx.
 */
#ifndef MINIDL_POOL_ROWS_H
#define MINIDL_POOL_ROWS_H
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define POOL_BYTES 64
#elif defined(__AVX__)
#define POOL_BYTES 32
#else
#define POOL_BYTES 16
#endif

#define REAL float
#define INT int32_t
#define NAME(x) x##_f32
#include "pool_rows_body.h"
#undef REAL
#undef INT
#undef NAME
#define REAL double
#define INT int64_t
#define NAME(x) x##_f64
#include "pool_rows_body.h"
#undef REAL
#undef INT
#undef NAME

#endif
