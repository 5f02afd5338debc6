/* Sums and the maximum of values that lie together, for float and for double. */
#ifndef MINIDL_LINES_H
#define MINIDL_LINES_H
#include <stddef.h>
#include <stdint.h>
#include "vectors.h"

#define BODY "lines_body.h"
#include "both_reals.h"
#undef BODY

#endif
