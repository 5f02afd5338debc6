/* Sums and the maximum of values that lie together, for float and for double. Sums are in double
 * whatever the values are: no square of a float leaves its range, no digit is lost. */
#ifndef MINIDL_LINES_H
#define MINIDL_LINES_H
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "simd/vectors.h"

#define DOUBLES ((ptrdiff_t)(VECTOR_BYTES / sizeof(double)))
#define SIDE 8              /* vectors that are added to side by side */
#define LINE_INLINE static inline __attribute__((always_inline))
typedef double line_doubles __attribute__((vector_size(VECTOR_BYTES)));

/* The sum of all values of SIDE vectors. */
static inline double line_total(const line_doubles *sum) {
    line_doubles all = sum[0];
    double total = 0;
    for (int k = 1; k < SIDE; k++) all += sum[k];
    for (ptrdiff_t j = 0; j < DOUBLES; j++) total += all[j];
    return total;
}

#define BODY "simd/lines_body.h"
#include "simd/both_reals.h"
#undef BODY
#undef DOUBLES
#undef SIDE
#undef LINE_INLINE

#endif
