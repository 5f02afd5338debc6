/* The width of a vector register in the instruction set that a file is compiled for. */
#ifndef MINIDL_VECTORS_H
#define MINIDL_VECTORS_H

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#endif
