/* Vector registers of the instruction set that a file is compiled for: how wide they are, and how
 * to write one past the caches. */
#ifndef MINIDL_VECTORS_H
#define MINIDL_VECTORS_H

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

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
