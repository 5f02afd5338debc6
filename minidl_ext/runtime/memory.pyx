"""The memory of every kernel: products of sizes, and the pool of buffers.

This module is compiled once, for any CPU of the architecture; the kernel families cimport it.

*The pool.* Fresh pages cost more than the arithmetic on them, so memory that a training step
frees serves the next step. A `Buffer` owns one piece of memory, aligned to 64 bytes, and is the
`base` of the array that is handed out. NumPy keeps a base alive as long as any view or memoryview
of the array lives. Only then is the `Buffer` deallocated, and its memory put on the free list of
its size. Nothing is released by hand, so nobody else writes to an array that a user still holds.
All of this happens under the GIL, which serves as its lock.

Up to a gigabyte may wait on the lists. A step of large batches may free more. Then the limit
becomes what the next such step needs: memory in use and memory waiting may together be twice the
most that was in use so far, but no more than half of the machine's memory.

*Sizes.* A product of sizes that is allocated or looped over is computed by `product`, which
refuses far more than any machine has. The pool refuses more than this machine has or, where the
system does not tell, more than a process can address. So no size has overflowed, and where the
system tells, no memory is promised that is missing when it is written.
"""
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
    #if defined(_WIN32)
    #include <malloc.h>
    static void* mdl_aligned(size_t n) { return _aligned_malloc(n, 64); }
    static void mdl_release(void* p) { _aligned_free(p); }
    #else
    #include <stdint.h>
    #include <sys/mman.h>
    /* Large buffers lie in huge pages, if the system gives them on request: kernels that read many
     * places of a buffer in turn would otherwise wait for address translation. Each buffer starts
     * a few cache lines further into its pages than the one before. Otherwise arrays of one size
     * that are read and written together would compete for the same sets of the cache. The address
     * that malloc gave is stored in front of the buffer. */
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

    /* The largest product: far more bytes than any machine has, and few enough that sums of some
     * such sizes fit. */
    #define MDL_MOST ((size_t)1 << 56)
    /* The most that a process may use, if the system does not tell: what it can address. */
    #define MDL_MOST_MEMORY ((size_t)1 << 47)
    static size_t mdl_product(size_t a, size_t b) {
        size_t p;
        return __builtin_mul_overflow(a, b, &p) || p > MDL_MOST ? MDL_MOST + 1 : p;
    }
    /* The memory that this process may use. Linux may be set to promise more than there is. */
    #if defined(__linux__)
    #include <sys/sysinfo.h>
    static size_t mdl_memory(size_t allowed) {
        struct sysinfo s;
        size_t ram;
        if (sysinfo(&s)) return allowed;
        ram = (size_t)s.totalram * s.mem_unit;
        return (ram < allowed ? ram : allowed) + (size_t)s.totalswap * s.mem_unit;
    }
    #else
    static size_t mdl_memory(size_t allowed) { return allowed; }
    #endif
    """
    const size_t MDL_MOST
    const size_t MDL_MOST_MEMORY
    const Py_ssize_t PY_SSIZE_T_MAX
    const bint MINIDL_DEBUG
    void* mdl_aligned(size_t n) nogil
    void mdl_release(void* p) nogil
    size_t mdl_product(size_t a, size_t b) nogil
    size_t mdl_memory(size_t allowed) nogil

# ------------------------------------------------------------------------------------ sizes

cdef enum:
    LARGE_BYTES = 1 << 30   # every machine has as much

cdef size_t _memory = 0     # bytes that this process may use; 0 until they are asked for


cdef size_t product(size_t a, size_t b, size_t c=1, size_t d=1) except? 0:
    """The product a b c d of sizes; MemoryError if it is far more than any machine has."""
    cdef size_t result = mdl_product(mdl_product(mdl_product(a, b), c), d)
    if result > MDL_MOST:
        raise MemoryError(f"{' * '.join([str(n) for n in (a, b, c, d) if n != 1])} bytes or "
                          f"values are more than any memory")
    return result


cdef size_t memory() except? 0:
    """Bytes of memory and swap that this process may use, at most MDL_MOST_MEMORY."""
    global _memory
    cdef size_t allowed = MDL_MOST_MEMORY
    if _memory == 0:
        for path in ("/sys/fs/cgroup/memory.max",                       # control groups version 2
                     "/sys/fs/cgroup/memory/memory.limit_in_bytes"):    # and version 1
            try:
                with open(path) as file:
                    text = file.read().strip()
            except OSError:
                continue
            if text.isdigit():
                allowed = min(int(text), MDL_MOST_MEMORY)
                break
        _memory = min(mdl_memory(allowed), MDL_MOST_MEMORY)
    return _memory


cdef size_t bytes_of(int ndim, const cnp.npy_intp* dims, size_t itemsize) except? 0:
    """The bytes of an array; MemoryError if this machine has not as many."""
    cdef size_t nbytes = itemsize
    cdef int i
    for i in range(ndim):
        nbytes = mdl_product(nbytes, <size_t>dims[i])
    if nbytes > LARGE_BYTES and nbytes > memory():
        raise MemoryError(f"no memory for an array of shape {tuple([dims[i] for i in range(ndim)])}"
                          f" with {itemsize} bytes a value")
    return nbytes


cdef int set_dims(object shape, str where, cnp.npy_intp* dims) except -1:
    """Set `dims` to the sizes of a shape, an int or a sequence; return the number of axes."""
    cdef int ndim = 0
    if not isinstance(shape, (tuple, list)):
        shape = tuple(shape) if hasattr(shape, "__len__") and np.ndim(shape) else (shape,)
    if len(shape) > MAX_AXES:
        raise ValueError(f"{where}: at most {MAX_AXES} axes, got {len(shape)}")
    for size in shape:
        try:
            n = operator.index(size)
        except TypeError:
            raise TypeError(f"{where}: a shape is made of ints, got {shape!r}") from None
        if n < 0:
            raise ValueError(f"{where}: negative size in shape {tuple(shape)}")
        if n > PY_SSIZE_T_MAX:
            raise MemoryError(f"{where}: no memory for shape {tuple(shape)}")
        dims[ndim] = n
        ndim += 1
    return ndim


def check_shape(str where, shape, dtype=np.float32):
    """Refuse a shape (int, tuple or list) of an array that cannot exist.

    ValueError for a negative size, MemoryError for more than this machine has. Callers ask before
    they let NumPy make the array.
    """
    cdef cnp.npy_intp dims[MAX_AXES]
    cdef int ndim = set_dims(shape, where, dims), i
    cdef double nbytes = np.dtype(dtype).itemsize
    try:
        bytes_of(ndim, dims, <size_t>nbytes)
    except MemoryError as error:
        raise MemoryError(f"{where}: {error}") from None
    for i in range(ndim):       # NumPy counts like this even if an axis of size 0 leaves no value
        if dims[i]:
            nbytes *= dims[i]
    if nbytes >= 2.0**63:
        raise MemoryError(f"{where}: NumPy has no array of shape {shape}")


# ------------------------------------------------------------------------------------- pool

cdef enum:
    SMALL_BYTES = 4096  # smaller arrays come from NumPy, whose small-block cache is quicker
    SIZES = 8 * 48      # eight size classes per power of two, so that at most 12.5 % are unused
    # The class of MDL_MOST_MEMORY bytes, the most that are asked for, is 8 * 47.
    GUARD = 64          # bytes on both sides of a buffer in debug builds, filled with MARK
    MARK = 0xA5
    KEPT_BYTES = 1 << 30    # bytes that may wait for reuse in any case

cdef struct FreeList:
    void** items
    Py_ssize_t count
    Py_ssize_t capacity

cdef FreeList _free[SIZES]
cdef size_t _cached = 0
cdef size_t _in_use = 0
cdef size_t _peak = 0       # the most that was in use
cdef size_t _limit = 0      # of in use and waiting together, if KEPT_BYTES proved to be too little

cdef extern from "stdlib.h":
    void* realloc(void* p, size_t n) nogil


cdef int size_class(size_t nbytes, size_t* rounded) noexcept nogil:
    """The size class that holds `nbytes`; its buffers have 2^e * (1 + k/8) bytes, `rounded`."""
    cdef int e = 0
    cdef size_t step, k
    while (<size_t>2 << e) <= nbytes:
        e += 1
    step = (<size_t>1 << e) >> 3
    k = (nbytes - (<size_t>1 << e) + step - 1) // step
    rounded[0] = (<size_t>1 << e) + k * step
    return 8 * e + <int>k if k < 8 else 8 * (e + 1)


cdef void check_guards(char* memory, size_t size) noexcept nogil:
    """End the process if a kernel has written to the guards of a buffer."""
    cdef size_t i
    for i in range(GUARD):
        if <unsigned char>memory[i] != MARK or <unsigned char>memory[GUARD + size + i] != MARK:
            fprintf(stderr, "minidl: a kernel wrote outside its array (buffer of %zu bytes)\n",
                    size)
            abort()


cdef void* acquire(int size_index, size_t size) noexcept:
    """Memory for a buffer, from the free list or the system; NULL if there is none."""
    global _cached, _in_use, _peak
    cdef FreeList* stack = &_free[size_index]
    cdef void* memory
    _in_use += size
    _peak = max(_peak, _in_use)
    if stack.count > 0:
        stack.count -= 1
        _cached -= size
        return stack.items[stack.count]
    if _cached > cache_limit():
        raise_limit()
    memory = fresh(size)
    if memory == NULL and _cached > 0:
        drop_all()
        memory = fresh(size)
    if memory == NULL:
        _in_use -= size
    return memory


cdef void* fresh(size_t size) noexcept:
    """Memory from the system, between guards in a debug build."""
    cdef char* memory
    if not MINIDL_DEBUG:
        return mdl_aligned(size)
    memory = <char*>mdl_aligned(size + 2 * GUARD)
    if memory != NULL:
        memset(memory, MARK, size + 2 * GUARD)
        memory += GUARD
    return memory


cdef void release_memory(void* memory) noexcept:
    mdl_release(<char*>memory - GUARD if MINIDL_DEBUG else memory)


cdef size_t cache_limit() noexcept:
    """Bytes that may wait for reuse now."""
    return max(<size_t>KEPT_BYTES, _limit - _in_use if _limit > _in_use else 0)


cdef void raise_limit() noexcept:
    """More waits than the limit allows: release all of it, and allow what such a step needs."""
    global _limit
    drop_all()
    _limit = max(_limit, min(2 * _peak, _memory // 2))


cdef void give_back(int size_index, size_t size, void* memory) noexcept:
    """Put memory on the free list of its size, for the next array."""
    global _cached, _in_use
    cdef FreeList* stack = &_free[size_index]
    cdef void** items
    if MINIDL_DEBUG:
        check_guards(<char*>memory - GUARD, size)
    _in_use -= size
    if _cached + size > cache_limit():
        raise_limit()
        if size > KEPT_BYTES:
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
    """Return all memory that waits for reuse to the system."""
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
        if self.memory != NULL:
            give_back(self.size_index, self.size, self.memory)


def empty_cache():
    """Return the pool's unused memory to the system, and forget how much was needed at a time."""
    global _peak, _limit
    drop_all()
    _peak, _limit = _in_use, 0


def pool_bytes():
    """(bytes in arrays now, bytes kept for reuse) of the pool of buffers."""
    return _in_use, _cached


cdef cnp.ndarray new_array(int ndim, const cnp.npy_intp* dims, int typenum):
    """An uninitialised C-contiguous array; large ones are 64-byte aligned, from the pool."""
    cdef cnp.npy_intp shape[MAX_AXES]
    cdef size_t nbytes = bytes_of(ndim, dims, cnp.PyArray_DescrFromType(typenum).itemsize)
    cdef int i
    cdef Buffer buffer
    cdef cnp.ndarray a
    for i in range(ndim):
        shape[i] = dims[i]
    if _memory == 0:
        memory()
    if nbytes < SMALL_BYTES:
        return cnp.PyArray_EMPTY(ndim, shape, typenum, 0)
    buffer = Buffer.__new__(Buffer)
    buffer.size_index = size_class(nbytes, &buffer.size)
    buffer.memory = acquire(buffer.size_index, buffer.size)
    if buffer.memory == NULL:
        raise MemoryError(f"no memory for an array of {nbytes} bytes")
    a = cnp.PyArray_SimpleNewFromData(ndim, shape, typenum, buffer.memory)
    cnp.set_array_base(a, buffer)
    return a


cdef cnp.ndarray new_like(cnp.ndarray a):
    return new_array(cnp.PyArray_NDIM(a), cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a))


cdef cnp.ndarray workspace(size_t nbytes):
    """Working memory for the threads of one call. It goes back to the pool when the call returns
    and the array is deallocated."""
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
