/* The vector registers of the instruction set that a file is compiled for: their width, vectors of
 * either float type, and stores that bypass the caches. The vectors are those of GCC and Clang, so
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
#define ALWAYS_INLINE_MEMBER inline __attribute__((always_inline))
#define INLINED __attribute__((always_inline))      /* of a lambda, before its body */

/* Between these two the compiler fuses no multiplication and addition into one rounding, also where
 * it does so in the rest of a file. With GCC a function that is always inlined is compiled like the
 * function that calls it, so it must be called from here. */
#if defined(__clang__)
#define UNFUSED_BEGIN _Pragma("float_control(push)") _Pragma("clang fp contract(off)")
#define UNFUSED_END _Pragma("float_control(pop)")
#else
#define UNFUSED_BEGIN _Pragma("GCC push_options") _Pragma("GCC optimize(\"fp-contract=off\")")
#define UNFUSED_END _Pragma("GCC pop_options")
#endif

/* The signed integer of a float type's size. Comparing two vectors gives a vector of these: -1
 * where the comparison holds, else 0. */
template <typename Real>
struct IntegerOf;
template <>
struct IntegerOf<float> {
    typedef int32_t type;
};
template <>
struct IntegerOf<double> {
    typedef int64_t type;
};

/* A vector of N values. It may lie wherever a value may, so that rows can be read from anywhere. */
template <typename Real, int N>
struct VectorOf {
    typedef Real type
        __attribute__((vector_size(N * sizeof(Real)), aligned(sizeof(Real)), may_alias));
    typedef typename IntegerOf<Real>::type mask_item;
    typedef mask_item mask __attribute__((vector_size(N * sizeof(Real)), may_alias));
};

/* How many values a register holds, and the vector of so many. */
template <typename Real>
constexpr int lanes = VECTOR_BYTES / sizeof(Real);
template <typename Real>
using Vector = typename VectorOf<Real, lanes<Real>>::type;
template <typename Real>
using Mask = typename VectorOf<Real, lanes<Real>>::mask;
typedef Vector<float> vec_f32;
typedef Vector<double> vec_f64;
typedef Mask<float> vec_i32;

/* The first n lanes of a vector, or all if n is larger; the others are neither read nor written. */
#if defined(__AVX512F__)
#include <immintrin.h>
template <typename Real>
struct FirstLanes {
    const __mmask16 mask;
    explicit FirstLanes(ptrdiff_t n) : mask(n >= lanes<Real> ? 0xffff : (1 << n) - 1) {}
    ALWAYS_INLINE_MEMBER Vector<Real> load(const Real *p) const {
        if constexpr (sizeof(Real) == 4) return (Vector<Real>)_mm512_maskz_loadu_ps(mask, p);
        else return (Vector<Real>)_mm512_maskz_loadu_pd((__mmask8)mask, p);
    }
    ALWAYS_INLINE_MEMBER void store(Real *p, Vector<Real> v) const {
        if constexpr (sizeof(Real) == 4) _mm512_mask_storeu_ps(p, mask, (__m512)v);
        else _mm512_mask_storeu_pd(p, (__mmask8)mask, (__m512d)v);
    }
};
#else
template <typename Real>
struct FirstLanes {
    const ptrdiff_t n;
    explicit FirstLanes(ptrdiff_t n) : n(n) {}
    ALWAYS_INLINE_MEMBER Vector<Real> load(const Real *p) const {
        if (n >= lanes<Real>) return *(const Vector<Real> *)p;
        Vector<Real> v = {0};
        for (ptrdiff_t i = 0; i < n && i < lanes<Real>; i++) v[i] = p[i];
        return v;
    }
    ALWAYS_INLINE_MEMBER void store(Real *p, Vector<Real> v) const {
        if (n >= lanes<Real>) *(Vector<Real> *)p = v;
        else
            for (ptrdiff_t i = 0; i < n && i < lanes<Real>; i++) p[i] = v[i];
    }
};
#endif

/* STREAM(p, v) stores a vector at an aligned address, past the caches: the line is not read first,
 * and displaces nothing. It is for memory that will not be read soon. STREAMED() must follow the
 * last store, before another thread may read the values. */
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
#define STREAMED() ((void)0) /* callers ask for #ifdef STREAM, which is not there */
#endif

#endif
