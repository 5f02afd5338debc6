/* Vector registers of the instruction set that a file is compiled for: how wide they are, vectors of
 * either float type, and how to write one past the caches. Vectors are those of GCC and Clang, so
 * that one source serves SSE, AVX2, AVX-512 and NEON. */
#ifndef MINIDL_VECTORS_H
#define MINIDL_VECTORS_H
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define INLINED __attribute__((always_inline))      /* of a lambda, before its body */

/* Between these two the compiler fuses no multiplication and addition into one rounding, also where
 * the rest of a file is compiled with -ffp-contract=fast. (With Clang it holds to the file's end.) */
#if defined(__clang__)
#define UNFUSED_BEGIN _Pragma("clang fp contract(off)")
#define UNFUSED_END
#else
#define UNFUSED_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"fp-contract=off\")")
#define UNFUSED_END _Pragma("GCC pop_options")
#endif

/* The signed integer of a float type's size, in which comparisons of vectors answer. */
template <typename Real> struct IntegerOf;
template <> struct IntegerOf<float> { typedef int32_t type; };
template <> struct IntegerOf<double> { typedef int64_t type; };

/* N values in a vector, which may lie at any address of a value. */
template <typename Real, int N> struct VectorOf {
    typedef Real type
        __attribute__((vector_size(N * sizeof(Real)), aligned(sizeof(Real)), may_alias));
    typedef typename IntegerOf<Real>::type mask_item;
    typedef mask_item mask __attribute__((vector_size(N * sizeof(Real)), may_alias));
};

/* As many values as a register holds. */
template <typename Real> constexpr int lanes = VECTOR_BYTES / sizeof(Real);
template <typename Real> using Vector = typename VectorOf<Real, lanes<Real>>::type;
template <typename Real> using Mask = typename VectorOf<Real, lanes<Real>>::mask;
typedef Vector<float> vec_f32;
typedef Vector<double> vec_f64;
typedef Mask<float> vec_i32;

/* STREAM(p, v) writes a vector to an aligned place that will not be read soon, without reading
 * what was there; STREAMED() before others may read it. */
#if defined(__SSE2__)
#include <immintrin.h>
#define STREAMED() _mm_sfence()
#if VECTOR_BYTES == 64
#define STREAM(p, v) _mm512_stream_si512((__m512i *)(p), (__m512i)(v))
#elif VECTOR_BYTES == 32
#define STREAM(p, v) _mm256_stream_si256((__m256i *)(p), (__m256i)(v))
#else
#define STREAM(p, v) _mm_stream_si128((__m128i *)(p), (__m128i)(v))
#endif
#else
#define STREAMED() ((void)0)        /* and no STREAM */
#endif

#endif
