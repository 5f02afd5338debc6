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
#include "simd/vectors.h"

#define BODY "pool/pool_rows_body.h"
#include "simd/both_reals.h"
#undef BODY

#endif
