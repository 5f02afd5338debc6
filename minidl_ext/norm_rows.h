/* Inner loops of batch normalization: blocks of rows of C channels, for float and for double.
 *
 * They stand in C for the sake of `restrict`, without which a compiler must check at every row
 * whether arrays overlap. Each loop runs over channels, which are contiguous, so that it becomes
 * vectors. `NORMALIZED` is the one expression of the normalized value: forward and backward use
 * it, compiled with -ffp-contract=off, so that a ReLU's mask comes out the same bit for bit.
 */
#ifndef MINIDL_NORM_ROWS_H
#define MINIDL_NORM_ROWS_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NORM_INLINE static inline __attribute__((always_inline))
#define NORMALIZED(x, c) (((x) - mean[c]) * scale[c] + shift[c])

#define REAL float
#define INT int32_t
#define NAME(x) x##_f32
#include "norm_rows_body.h"
#undef REAL
#undef INT
#undef NAME
#define REAL double
#define INT int64_t
#define NAME(x) x##_f64
#include "norm_rows_body.h"
#undef REAL
#undef INT
#undef NAME

#endif
