"""What every kernel shares: the pool of buffers, the thread count, checks of arguments.

Compiled once with the compiler's default instruction set; the kernel families cimport it.
No arithmetic lives here.

*The pool.* Fresh pages cost more than the arithmetic on them, so memory that a training step
frees serves the next step. A `Buffer` owns one 64-byte aligned piece of memory and is the
`base` of the array handed out; NumPy keeps a base alive for as long as any view or memoryview
of the array lives, and only then is the `Buffer` deallocated and its memory put on the free
list of its size. Nothing is ever released by hand, so an array that a user still holds is
never written by someone else. All of it happens under the GIL, which is its lock.

*Sizes.* A size that is allocated or looped over, and is a product of sizes, is made by `product`,
which refuses what no machine has; the pool refuses what this machine has not. So nothing is
computed with a number that went round, and no memory is promised that fails when it is written.

*Threads.* Kernels take `threads`; 0 means as many as `set_num_threads` allows and other processes
leave (`team.h`). Work too small to repay a parallel region stays on one thread. Results never
depend on the count.
"""
from libc.stdlib cimport free
from libc.string cimport memset
from libc.stdio cimport fprintf, stderr
from libc.stdlib cimport abort

cimport cython
cimport numpy as cnp

import operator

import numpy as np

cnp.import_array()

cdef extern from *:
    """
    #include <stdlib.h>
    #ifndef MINIDL_DEBUG
    #define MINIDL_DEBUG 0
    #endif
    #ifdef _OPENMP
    #include <omp.h>
    static void mdl_exact_threads(void) { omp_set_dynamic(0); }
    #else
    static void mdl_exact_threads(void) {}
    #endif
    #if defined(_WIN32)
    #include <malloc.h>
    static void* mdl_aligned(size_t n) { return _aligned_malloc(n, 64); }
    static void mdl_release(void* p) { _aligned_free(p); }
    #else
    #include <stdint.h>
    #include <sys/mman.h>
    /* Large buffers lie in huge pages, where the system has them for the asking: kernels that walk
     * through many places of a buffer at once otherwise wait for address translation. Each starts
     * a few cache lines further into its pages than the one before, since arrays of one size
     * that are read and written together would else compete for the same places in the cache.
     * What malloc gave is noted before the buffer. */
    #define MDL_HUGE ((size_t)2 << 20)
    static void* mdl_aligned(size_t n) {
        static unsigned count = 0;
        const size_t shift = 64 * (1 + (n < MDL_HUGE ? 0 : 9 * (count++ % 31)));
        void* start = 0;
        char* p;
        if (posix_memalign(&start, n < MDL_HUGE ? 64 : MDL_HUGE, n + shift)) return 0;
    #ifdef MADV_HUGEPAGE
        if (n >= MDL_HUGE) madvise(start, (n + shift) / MDL_HUGE * MDL_HUGE, MADV_HUGEPAGE);
    #endif
        p = (char*)start + shift;
        ((void**)p)[-1] = start;
        return p;
    }
    static void mdl_release(void* p) { free(((void**)p)[-1]); }
    #endif

    /* More than any machine has, in bytes; and still so little that sums of some such sizes fit. */
    #define MDL_MOST ((size_t)1 << 56)
    static size_t mdl_product(size_t a, size_t b) {
        size_t p;
        return __builtin_mul_overflow(a, b, &p) || p > MDL_MOST ? MDL_MOST + 1 : p;
    }
    /* Linux promises more memory than there is, where it is told to. */
    #if defined(__linux__)
    #include <sys/sysinfo.h>
    static size_t mdl_memory(size_t allowed) {
        struct sysinfo s;
        size_t ram;
        if (sysinfo(&s)) return MDL_MOST;
        ram = (size_t)s.totalram * s.mem_unit;
        return (ram < allowed ? ram : allowed) + (size_t)s.totalswap * s.mem_unit;
    }
    #else
    static size_t mdl_memory(size_t allowed) { return MDL_MOST; }
    #endif
    """
    const size_t MDL_MOST
    const Py_ssize_t PY_SSIZE_T_MAX
    const bint MINIDL_DEBUG
    void mdl_exact_threads() nogil
    void* mdl_aligned(size_t n) nogil
    void mdl_release(void* p) nogil
    size_t mdl_product(size_t a, size_t b) nogil
    size_t mdl_memory(size_t allowed) nogil

mdl_exact_threads()

cdef extern from "team.h":
    int mdl_team_size(int most) nogil

# ---------------------------------------------------------------------------------- threads

cdef enum:
    MAX_THREADS = 1024
    # Below this many element operations a parallel region costs more than it gains.
    SMALL_WORK = 32768

cdef double UNINTERRUPTED = 2.0**34     # multiply-adds: a second's work, or a few seconds'
cdef int _threads = 1
cdef bint _forked = False


def set_num_threads(Py_ssize_t n):
    """Use up to `n` threads in kernels (1 to 1024), however many CPUs there are."""
    global _threads
    if n < 1 or n > MAX_THREADS:
        raise ValueError(f"set_num_threads: n must be between 1 and {MAX_THREADS}, got {n}")
    _threads = <int>n


def get_num_threads():
    """The number of threads that kernels use at most (1 in a forked child)."""
    return 1 if _forked else _threads


def team_size():
    """The threads that the next large kernel called from this thread runs on."""
    return 1 if _forked else mdl_team_size(_threads)


def after_fork_in_child():
    """GNU OpenMP's threads do not survive a fork and waiting for them would hang: use one."""
    global _forked
    _forked = True


cdef int team(int threads, double work) noexcept nogil:
    """Threads for a piece of work of `work` element operations; `threads` 0: as many as may be."""
    if _forked or work < SMALL_WORK:
        return 1
    if threads <= 0:
        return mdl_team_size(_threads)
    return threads if threads < MAX_THREADS else MAX_THREADS


cdef Py_ssize_t pieces_at_once(Py_ssize_t pieces, double work, int threads) noexcept:
    """How many of equal pieces of work a kernel does before it looks whether the user interrupts:
    all of them, unless that takes seconds. `work` is that of all, in multiply-adds."""
    cdef Py_ssize_t count
    if work <= UNINTERRUPTED:
        return pieces
    count = <Py_ssize_t>(pieces * (UNINTERRUPTED / work))
    return max(1, (count + threads - 1) // threads) * threads


# ------------------------------------------------------------------------------------ sizes

cdef enum:
    LARGE_BYTES = 1 << 30   # less is never too much

cdef size_t _memory = 0     # of the machine; 0: not asked for yet


cdef size_t product(size_t a, size_t b, size_t c=1, size_t d=1) except? 0:
    """a b c d, for sizes; MemoryError if it is more than any memory."""
    cdef size_t result = mdl_product(mdl_product(mdl_product(a, b), c), d)
    if result > MDL_MOST:
        raise MemoryError(f"{' * '.join([str(n) for n in (a, b, c, d) if n != 1])} bytes or "
                          f"values are more than any memory")
    return result


cdef size_t memory() except? 0:
    """Bytes of memory and swap that this process may have."""
    global _memory
    cdef size_t allowed = MDL_MOST
    if _memory == 0:
        for path in ("/sys/fs/cgroup/memory.max",                       # version 2, version 1
                     "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
            try:
                with open(path) as file:
                    text = file.read().strip()
            except OSError:
                continue
            if text.isdigit():
                allowed = min(int(text), MDL_MOST)
                break
        _memory = mdl_memory(allowed)
    return _memory


cdef size_t bytes_of(int ndim, const cnp.npy_intp* dims, size_t itemsize) except? 0:
    """The bytes of an array; MemoryError if they do not fit memory."""
    cdef size_t nbytes = itemsize
    cdef int i
    for i in range(ndim):
        nbytes = mdl_product(nbytes, <size_t>dims[i])
    if nbytes > LARGE_BYTES and nbytes > memory():
        raise MemoryError(f"no memory for an array of shape {tuple([dims[i] for i in range(ndim)])}"
                          f" with {itemsize} bytes a value")
    return nbytes


cdef int set_dims(object shape, str where, cnp.npy_intp* dims) except -1:
    """The sizes of a shape, an int or a sequence; returns the number of axes."""
    cdef int ndim = 0
    if not isinstance(shape, (tuple, list)):
        shape = tuple(shape) if hasattr(shape, "__len__") and np.ndim(shape) else (shape,)
    if len(shape) > MAX_AXES:
        raise ValueError(f"{where}: at most {MAX_AXES} axes, got {len(shape)}")
    for size in shape:
        n = operator.index(size)
        if n < 0:
            raise ValueError(f"{where}: negative size in shape {tuple(shape)}")
        if n > PY_SSIZE_T_MAX:
            raise MemoryError(f"{where}: no memory for shape {tuple(shape)}")
        dims[ndim] = n
        ndim += 1
    return ndim


def check_shape(str where, shape, dtype=np.float32):
    """Refuse a shape (int, tuple or list) of which there can be no array: ValueError for a
    negative size, MemoryError for more than memory. For arrays that come from NumPy."""
    cdef cnp.npy_intp dims[MAX_AXES]
    cdef int ndim = set_dims(shape, where, dims)
    try:
        bytes_of(ndim, dims, np.dtype(dtype).itemsize)
    except MemoryError as error:
        raise MemoryError(f"{where}: {error}") from None


# ------------------------------------------------------------------------------------- pool

cdef enum:
    SMALL_BYTES = 4096  # smaller arrays come from NumPy, whose small-block cache is quicker
    SIZES = 8 * 48      # eight size classes per power of two: at most 12.5 % unused
    GUARD = 64          # debug builds put a marked zone on both sides of a buffer
    MARK = 0xA5

cdef struct FreeList:
    void** items
    Py_ssize_t count
    Py_ssize_t capacity

cdef FreeList _free[SIZES]
cdef size_t _cached = 0
cdef size_t _in_use = 0
cdef size_t _limit = <size_t>1 << 30

cdef extern from "stdlib.h":
    void* realloc(void* p, size_t n) nogil


cdef int size_class(size_t nbytes, size_t* rounded) noexcept nogil:
    """The class that holds `nbytes`, and the size of its buffers: 2^e * (1 + k/8)."""
    cdef int e = 0
    cdef size_t step, k
    while (<size_t>2 << e) <= nbytes:
        e += 1
    step = (<size_t>1 << e) >> 3
    k = (nbytes - (<size_t>1 << e) + step - 1) // step
    rounded[0] = (<size_t>1 << e) + k * step
    return 8 * e + <int>k if k < 8 else 8 * (e + 1)


cdef void check_guards(char* memory, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(GUARD):
        if <unsigned char>memory[i] != MARK or <unsigned char>memory[GUARD + size + i] != MARK:
            fprintf(stderr, "minidl: a kernel wrote outside its array (buffer of %zu bytes)\n", size)
            abort()


cdef void* acquire(int size_index, size_t size) noexcept:
    global _cached
    cdef FreeList* stack = &_free[size_index]
    cdef char* memory
    if stack.count > 0:
        stack.count -= 1
        _cached -= size
        return stack.items[stack.count]
    if not MINIDL_DEBUG:
        return mdl_aligned(size)
    memory = <char*>mdl_aligned(size + 2 * GUARD)
    if memory != NULL:
        memset(memory, MARK, size + 2 * GUARD)
        memory += GUARD
    return memory


cdef void release_memory(void* memory) noexcept:
    mdl_release(<char*>memory - GUARD if MINIDL_DEBUG else memory)


cdef void give_back(int size_index, size_t size, void* memory) noexcept:
    """Keep the memory for the next array of its size; when too much is kept, drop all of it."""
    global _cached
    cdef FreeList* stack = &_free[size_index]
    cdef void** items
    if MINIDL_DEBUG:
        check_guards(<char*>memory - GUARD, size)
    if _cached + size > _limit:
        drop_all()
    if size > _limit:
        release_memory(memory)
        return
    if stack.count == stack.capacity:
        items = <void**>realloc(stack.items, (2 * stack.capacity + 8) * sizeof(void*))
        if items == NULL:
            release_memory(memory)
            return
        stack.items = items
        stack.capacity = 2 * stack.capacity + 8
    stack.items[stack.count] = memory
    stack.count += 1
    _cached += size


cdef void drop_all() noexcept:
    global _cached
    cdef int i
    cdef Py_ssize_t k
    for i in range(SIZES):
        for k in range(_free[i].count):
            release_memory(_free[i].items[k])
        _free[i].count = 0
    _cached = 0


@cython.final
@cython.freelist(256)
cdef class Buffer:
    """One piece of pooled memory; the base of the array that uses it."""
    cdef void* memory
    cdef size_t size
    cdef int size_index

    def __dealloc__(self):
        global _in_use
        if self.memory != NULL:
            _in_use -= self.size
            give_back(self.size_index, self.size, self.memory)


def empty_cache():
    """Return the pool's unused memory to the system."""
    drop_all()


def pool_bytes():
    """(bytes in arrays now, bytes kept for reuse): what the pool of buffers holds."""
    return _in_use, _cached


cdef cnp.ndarray new_array(int ndim, const cnp.npy_intp* dims, int typenum):
    """An uninitialised C-contiguous array; large ones are 64-byte aligned, from the pool."""
    global _in_use
    cdef cnp.npy_intp shape[MAX_AXES]
    cdef size_t nbytes = bytes_of(ndim, dims, cnp.PyArray_DescrFromType(typenum).itemsize)
    cdef int i
    cdef Buffer buffer
    cdef cnp.ndarray a
    for i in range(ndim):
        shape[i] = dims[i]
    if nbytes < SMALL_BYTES:
        return cnp.PyArray_EMPTY(ndim, shape, typenum, 0)
    buffer = Buffer.__new__(Buffer)
    buffer.size_index = size_class(nbytes, &buffer.size)
    buffer.memory = acquire(buffer.size_index, buffer.size)
    if buffer.memory == NULL:
        raise MemoryError(f"no memory for an array of {nbytes} bytes")
    _in_use += buffer.size
    a = cnp.PyArray_SimpleNewFromData(ndim, shape, typenum, buffer.memory)
    cnp.set_array_base(a, buffer)
    return a


cdef cnp.ndarray new_like(cnp.ndarray a):
    return new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))


cdef cnp.ndarray scratch(size_t nbytes):
    """Working memory for the threads of one call; back in the pool when the call returns."""
    cdef cnp.npy_intp n = <cnp.npy_intp>(nbytes if nbytes > SMALL_BYTES else SMALL_BYTES)
    return new_array(1, &n, cnp.NPY_UINT8)


cdef bint dtype_is_native(descr):
    return descr.isnative


def empty(shape, dtype=np.float32):
    """An uninitialised array of a shape (int or tuple) and dtype, from the pool."""
    cdef cnp.npy_intp dims[MAX_AXES]
    cdef cnp.dtype descr = np.dtype(dtype)
    if descr.type_num >= cnp.NPY_OBJECT or not dtype_is_native(descr):
        return np.empty(shape, dtype)
    return new_array(set_dims(shape, "empty", dims), dims, descr.type_num)


# ----------------------------------------------------------------------------------- checks
# Each names the kernel and the argument. They run under the GIL, before any pointer is used.

cdef cnp.ndarray real_array(object a, str where, str name, int ndim):
    """A C-contiguous, aligned float32 or float64 array of `ndim` axes (-1: any number)."""
    cdef int t
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{where}: {name} must be a NumPy array, got {type(a).__name__}")
    t = cnp.PyArray_TYPE(<cnp.ndarray>a)
    if t != cnp.NPY_FLOAT32 and t != cnp.NPY_FLOAT64:
        raise TypeError(f"{where}: {name} must be float32 or float64, got {a.dtype}")
    return typed_array(a, where, name, ndim, t)


cdef cnp.ndarray typed_array(object a, str where, str name, int ndim, int typenum):
    """A C-contiguous, aligned array of one dtype and `ndim` axes (-1: any number)."""
    if not isinstance(a, np.ndarray):
        raise TypeError(f"{where}: {name} must be a NumPy array, got {type(a).__name__}")
    if cnp.PyArray_TYPE(<cnp.ndarray>a) != typenum:
        expected = cnp.PyArray_DescrFromType(typenum)
        raise TypeError(f"{where}: {name} must be {expected}, got {a.dtype}")
    if ndim >= 0 and cnp.PyArray_NDIM(<cnp.ndarray>a) != ndim:
        raise ValueError(f"{where}: {name} must have {ndim} axes, got shape {a.shape}")
    if not cnp.PyArray_ISCARRAY_RO(<cnp.ndarray>a):
        raise ValueError(f"{where}: {name} must be C-contiguous, aligned and in native byte order")
    return <cnp.ndarray>a


cdef char* row_or_null(object value, cnp.ndarray x, str where, str x_name, str name
                       ) except? NULL:
    """The memory of a vector that fits the last axis of x, or NULL for None."""
    cdef cnp.ndarray a
    if value is None:
        return NULL
    a = real_array(value, where, name, 1)
    same_dtype(x, a, where, x_name, name)
    has_length(a, cnp.PyArray_DIM(x, cnp.PyArray_NDIM(x) - 1), where, name)
    return a.data


cdef cnp.ndarray channel_blocks(object a, str where, str name, int multiple):
    """A float32 array of four axes, the last of them a positive multiple of `multiple`."""
    cdef cnp.ndarray array = typed_array(a, where, name, 4, cnp.NPY_FLOAT32)
    if cnp.PyArray_DIM(array, 3) % multiple or cnp.PyArray_DIM(array, 3) == 0:
        raise ValueError(f"{where}: {name} {np.shape(a)} must have channels in multiples of "
                         f"{multiple}")
    return array


cdef int has_shape(cnp.ndarray a, cnp.npy_intp n, cnp.npy_intp h, cnp.npy_intp w, cnp.npy_intp c,
                   str where, str name) except -1:
    if (cnp.PyArray_DIM(a, 0) != n or cnp.PyArray_DIM(a, 1) != h or cnp.PyArray_DIM(a, 2) != w
            or cnp.PyArray_DIM(a, 3) != c):
        raise ValueError(f"{where}: {name} must have shape {(n, h, w, c)}, got {np.shape(a)}")
    return 0


cdef int same_dtype(cnp.ndarray a, cnp.ndarray b, str where, str name_a, str name_b) except -1:
    if cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(b):
        raise TypeError(f"{where}: {name_a} is {a.dtype} but {name_b} is {b.dtype}; "
                        f"convert one with astype")
    return 0


cdef int same_shape(cnp.ndarray a, cnp.ndarray b, str where, str name_a, str name_b) except -1:
    if not cnp.PyArray_SAMESHAPE(a, b):
        raise ValueError(f"{where}: {name_a} has shape {np.shape(a)} but {name_b} {np.shape(b)}")
    return 0


cdef int has_length(cnp.ndarray a, cnp.npy_intp n, str where, str name) except -1:
    if cnp.PyArray_NDIM(a) != 1 or cnp.PyArray_DIM(a, 0) != n:
        raise ValueError(f"{where}: {name} must have shape ({n},), got {np.shape(a)}")
    return 0


cdef cnp.ndarray output(object out, str where, int ndim, const cnp.npy_intp* dims, int typenum):
    """The array a kernel writes: `out` if it fits exactly, a new one if it is None."""
    cdef int i
    if out is None:
        return new_array(ndim, dims, typenum)
    typed_array(out, where, "out", ndim, typenum)
    for i in range(ndim):
        if cnp.PyArray_DIM(<cnp.ndarray>out, i) != dims[i]:
            expected = tuple([dims[k] for k in range(ndim)])
            raise ValueError(f"{where}: out must have shape {expected}, got {np.shape(out)}")
    if not cnp.PyArray_ISWRITEABLE(<cnp.ndarray>out):
        raise ValueError(f"{where}: out is read-only")
    return <cnp.ndarray>out


cdef cnp.ndarray output_like(object out, str where, cnp.ndarray a):
    return output(out, where, cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))


cdef int apart(cnp.ndarray out, cnp.ndarray a, str where, str name) except -1:
    """`out` shares no memory with input `a`, which is read after `out` is written."""
    cdef char* p = <char*>cnp.PyArray_DATA(out)
    cdef char* q = <char*>cnp.PyArray_DATA(a)
    if p < q + cnp.PyArray_NBYTES(a) and q < p + cnp.PyArray_NBYTES(out):
        raise ValueError(f"{where}: out overlaps {name} in memory")
    return 0


cdef int apart_or_same(cnp.ndarray out, cnp.ndarray a, str where, str name) except -1:
    """As `apart`, but `out` may be `a` itself: the kernel works element by element."""
    if cnp.PyArray_DATA(out) == cnp.PyArray_DATA(a) and \
            cnp.PyArray_NBYTES(out) == cnp.PyArray_NBYTES(a):
        return 0
    return apart(out, a, where, name)
