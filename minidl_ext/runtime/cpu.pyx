"""Which instruction sets this CPU runs, and how the kernels were built.

`minidl_ext` must know this before it loads a kernel, since an instruction that the CPU lacks ends
the process without a Python error. So this module is compiled for any CPU of the architecture. It
tests for exactly the features whose flags `setup.py` gives to the compiler; a test compares the
levels of both.
"""

cdef extern from *:
    """
    #include <string.h>

    #if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)  /* Clang too */
    /* __builtin_cpu_supports takes a literal only. It asks the operating system as well, which may
       not save the AVX registers that the CPU has. */
    #define MINIDL_FEATURES(X) \\
        X("sse3") X("ssse3") X("sse4.1") X("sse4.2") X("popcnt") \\
        X("avx") X("avx2") X("fma") X("bmi") X("bmi2") \\
        X("avx512f") X("avx512bw") X("avx512cd") X("avx512dq") X("avx512vl")
    #define MINIDL_ASK(feature) \\
        if (strcmp(name, feature) == 0) return __builtin_cpu_supports(feature) != 0;
    static int minidl_cpu_has(const char *name) {
        __builtin_cpu_init();
        MINIDL_FEATURES(MINIDL_ASK)
        return 0;
    }
    #else
    static int minidl_cpu_has(const char *name) { (void)name; return 0; }
    #endif

    #ifdef _OPENMP
    #define MINIDL_HAS_OPENMP 1
    #else
    #define MINIDL_HAS_OPENMP 0
    #endif

    #ifndef MINIDL_DEBUG
    #define MINIDL_DEBUG 0
    #endif
    """
    int minidl_cpu_has(const char *name)
    int MINIDL_HAS_OPENMP
    int MINIDL_DEBUG


_V2 = ("sse3", "ssse3", "sse4.1", "sse4.2", "popcnt")
_V3 = _V2 + ("avx", "avx2", "fma", "bmi", "bmi2")
_V4 = _V3 + ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")

# The levels, the least capable first. "base" is what the compiler makes by default.
FEATURES = {"base": (), "v2": _V2, "v3": _V3, "v4": _V4}


def missing_features(level):
    """The features of `level` that this CPU lacks; empty if it runs the level."""
    return tuple([name for name in FEATURES[level] if not minidl_cpu_has(name.encode())])


def supported_levels():
    """The levels that this CPU runs, the best last."""
    return tuple([level for level in FEATURES if not missing_features(level)])


def openmp():
    """Whether the kernels were built with OpenMP; without it they use one thread."""
    return bool(MINIDL_HAS_OPENMP)


def debug():
    """Whether this is a debug build, whose kernels check every index."""
    return bool(MINIDL_DEBUG)
