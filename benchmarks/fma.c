/* Multiply-adds on registers and nothing else: how fast the arithmetic units can go.
 *
 * Twelve independent sums hide the instruction's latency (4-5 cycles, two units) and fit with
 * both factors in 16 registers. Compiled for the machine by machine.py.
 */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#define SUMS 12

typedef float vec __attribute__((vector_size(BYTES)));

/* Runs `rounds` times; returns the number of floating point operations of one round. */
int fma_rounds(long rounds, float factor, float *result) {
    vec sum[SUMS], a = factor - (vec){0}, b = 1 - a;
    for (int i = 0; i < SUMS; i++) sum[i] = a + (float)i;
    for (long r = 0; r < rounds; r++) {
        _Pragma("GCC unroll 12") for (int i = 0; i < SUMS; i++) sum[i] = sum[i] * a + b;
    }
    vec total = sum[0];
    for (int i = 1; i < SUMS; i++) total += sum[i];
    *result = total[0];
    return 2 * SUMS * (int)(sizeof(vec) / sizeof(float));
}
