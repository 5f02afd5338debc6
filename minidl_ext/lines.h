/* Sum and maximum of values that lie together, for float and for double. */
#ifndef MINIDL_LINES_H
#define MINIDL_LINES_H
#include <stddef.h>
#include <stdint.h>
#include "vectors.h"

#define REAL float
#define INT int32_t
#define NAME(x) x##_f32
#include "lines_body.h"
#undef REAL
#undef INT
#undef NAME
#define REAL double
#define INT int64_t
#define NAME(x) x##_f64
#include "lines_body.h"
#undef REAL
#undef INT
#undef NAME

#endif
