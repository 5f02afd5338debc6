/* Includes BODY twice, for REAL float and for REAL double: NAME(f) is f_f32 or f_f64, INT an
 * integer of REAL's size. No include guard. */
#define REAL float
#define INT int32_t
#define NAME(x) x##_f32
#include BODY
#undef REAL
#undef INT
#undef NAME
#define REAL double
#define INT int64_t
#define NAME(x) x##_f64
#include BODY
#undef REAL
#undef INT
#undef NAME
