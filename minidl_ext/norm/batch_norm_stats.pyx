"""Statistics of a batch: mean and variance of each channel over all axes but the last, or over the
positions that a mask counts; and how running statistics follow them.

One pass is made over values that are shifted by the mean of a chunk's first block, so that a large
mean costs no digits (`channel_stats` in statistics.pxd); chunks are merged in double after Chan,
Golub & LeVeque (1979). They are fixed by the shape and merged in order, so that the bits do not
depend on the number of threads. With a mask, the rows of a chunk that count are copied side by side
first, in cache. Formulas are in the twin.
"""
cimport numpy as cnp
from cython cimport floating
from cython.parallel cimport parallel, prange, threadid
from libc.string cimport memcpy

from minidl_ext.norm.layout cimport Rows, bools, channels_last, layout, mask_data, run_end
from minidl_ext.norm.statistics cimport channel_stats, merge_counted
from minidl_ext.runtime.arguments cimport clear_of, has_length, output, real_array, typed_array
from minidl_ext.runtime.memory cimport new_array, product, workspace
from minidl_ext.runtime.threads cimport threads_for

import numpy as np

cnp.import_array()


cdef Py_ssize_t chunk_stats(const floating* x, const char* mask, Rows* s, Py_ssize_t q,
                            floating* work, double* mean, double* m2) noexcept nogil:
    """Statistics of the rows of chunk q that count; returns how many these are."""
    cdef Py_ssize_t first = q * s.chunk, end = min(s.rows, first + s.chunk), stop, count = 0
    cdef Py_ssize_t n = s.channels
    cdef floating* packed = work + 3 * n
    if mask == NULL:
        channel_stats(x + first * n, end - first, s.block, n, work, mean, m2)
        return end - first
    while first < end:
        stop = run_end(mask, first, end)
        if mask[first]:
            memcpy(packed + count * n, x + first * n, (stop - first) * n * sizeof(floating))
            count += stop - first
        first = stop
    if count:
        channel_stats(<const floating*>packed, count, s.block, n, work, mean, m2)
    return count


cdef Py_ssize_t all_stats(const floating* x, const char* mask, Rows* s, char* memory,
                          Py_ssize_t* counts, double* partial, double* mean, double* var,
                          int threads) noexcept nogil:
    """Statistics of all rows that count; returns how many these are."""
    cdef Py_ssize_t q, n = s.channels, size = rows_of_work(s, mask) * n
    cdef floating* work
    with parallel(num_threads=threads):
        work = <floating*>memory + threadid() * size
        for q in prange(s.chunks, schedule='static'):
            counts[q] = chunk_stats(x, mask, s, q, work, partial + 2 * q * n,
                                    partial + (2 * q + 1) * n)
    return merge_counted(partial, s.chunks, counts, n, mean, var)


cdef Py_ssize_t rows_of_work(Rows* s, const char* mask) noexcept nogil:
    """The rows of a thread's workspace: three for sums, and with a mask a copy of a chunk."""
    return 3 if mask == NULL else 3 + s.chunk


cdef tuple stats_of(cnp.ndarray a, cnp.ndarray mask, int threads, str where):
    """(mean, var, count) over the rows of `a` that count: all of them where the mask is None."""
    cdef Rows s = layout(a)
    cdef const char* m = mask_data(mask, &s, where)
    cdef cnp.ndarray mean, var, partial, counts, work
    cdef cnp.npy_intp dims = s.channels
    cdef int t = threads_for(threads, <double>s.rows * s.channels)
    cdef Py_ssize_t count
    mean, var = new_array(1, &dims, cnp.NPY_FLOAT64), new_array(1, &dims, cnp.NPY_FLOAT64)
    partial = workspace(product(2 * s.chunks, s.channels, sizeof(double)))
    counts = workspace(product(s.chunks, sizeof(Py_ssize_t)))
    work = workspace(product(t, rows_of_work(&s, m), s.channels, a.itemsize))
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        with nogil:
            count = all_stats(<float*>a.data, m, &s, work.data, <Py_ssize_t*>counts.data,
                              <double*>partial.data, <double*>mean.data, <double*>var.data, t)
    else:
        with nogil:
            count = all_stats(<double*>a.data, m, &s, work.data, <Py_ssize_t*>counts.data,
                              <double*>partial.data, <double*>mean.data, <double*>var.data, t)
    return mean, var, count


def batch_stats(x, int threads=0):
    """(mean, var) of each channel, float64 (C,); var is the biased one, sum((x - mean)^2) / M."""
    cdef cnp.ndarray a = channels_last(x, "batch_stats", "x")
    if cnp.PyArray_SIZE(a) == 0:
        raise ValueError(f"batch_stats: no values in shape {np.shape(x)}")
    return stats_of(a, None, threads, "batch_stats")[:2]


def masked_stats(x, mask, int threads=0):
    """(mean, var, count) of each channel over the rows that count; mean 0, var 1 without any."""
    return stats_of(channels_last(x, "masked_stats", "x"), bools(mask, "masked_stats"), threads,
                    "masked_stats")


# ----------------------------------------------------------------------- running statistics

cdef void average(floating* running, const double* batch, double keep, double weight, Py_ssize_t n
                  ) noexcept nogil:
    cdef Py_ssize_t c
    cdef floating share = <floating>keep
    for c in range(n):
        running[c] = <floating>(share * running[c] + weight * batch[c])


cdef cnp.ndarray running_array(object running, cnp.ndarray batch, str name):
    """Running statistics, which must be writable and fit those of a batch."""
    cdef cnp.ndarray r = real_array(running, "running_update", name, 1)
    has_length(r, batch.shape[0], "running_update", name)
    if not cnp.PyArray_ISWRITEABLE(r):
        raise ValueError(f"running_update: {name} is read-only")
    return r


cdef void move(cnp.ndarray running, cnp.ndarray batch, double keep, double weight):
    if cnp.PyArray_TYPE(running) == cnp.NPY_FLOAT32:
        average(<float*>running.data, <double*>batch.data, keep, weight, batch.shape[0])
    else:
        average(<double*>running.data, <double*>batch.data, keep, weight, batch.shape[0])


def running_update(running_mean, running_var, num_batches, mean, var, double weight,
                   double factor):
    """running becomes (1 - weight) running + weight batch, in place, the batch's variance times
    `factor`; mean and var (C,) are float64. num_batches () of int64, or None, counts one more."""
    cdef str where = "running_update"
    cdef cnp.ndarray m = typed_array(mean, where, "mean", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray v = typed_array(var, where, "var", 1, cnp.NPY_FLOAT64)
    cdef cnp.ndarray running_m = running_array(running_mean, m, "running_mean")
    cdef cnp.ndarray running_v = running_array(running_var, v, "running_var"), counted = None
    has_length(v, m.shape[0], where, "var")
    if num_batches is not None:
        counted = output(num_batches, where, 0, NULL, cnp.NPY_INT64, "num_batches")
    clear_of(running_m, running_m, where, ("running_var", "mean", "var", "num_batches"),
             (running_v, m, v, counted), "running_mean")
    clear_of(running_v, running_v, where, ("mean", "var", "num_batches"), (m, v, counted),
             "running_var")
    clear_of(counted, counted, where, ("mean", "var"), (m, v), "num_batches")
    if counted is not None:
        (<cnp.int64_t*>counted.data)[0] += 1
    move(running_m, m, 1 - weight, weight)
    move(running_v, v, 1 - weight, weight * factor)
