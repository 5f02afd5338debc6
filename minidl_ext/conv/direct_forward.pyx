"""The direct convolution of NHWC images with HWIO weights, for either float type.

No im2col matrix is made. A band of image rows is copied with its zero padding to a buffer that
stays in the L2 cache, or read in place where it needs no padding, and the micro-kernel walks over
it: an output pixel is a pointer, the taps of a kernel row are one segment of memory, and weights
are packed in panels of two vectors of output channels. The gradients, direct_input_grad.pyx and
direct_weight_grad.pyx, work on bands likewise. No result depends on the number of threads.
"""
cimport numpy as cnp
from cpython.exc cimport PyErr_CheckSignals
from cython cimport floating
from cython.parallel cimport prange, threadid

from minidl_ext.conv.direct_bands cimport Buffers, BufferSizes, Region, band_rows, band_work, \
    buffer_bytes, buffers_at, input_band_bytes, input_row_bytes, next_rows, read_inputs
from minidl_ext.conv.epilogue cimport Epilogue, apply_epilogue, epilogue_of
from minidl_ext.gemm.micro cimport Prefetch, multiply_panels, pack_panels, panel_width, \
    plan_prefetch, row_blocks
from minidl_ext.runtime.arguments cimport has_input_channels, output_of, real_array, same_dtype
from minidl_ext.runtime.geometry cimport MOST, Geometry, drop_unused_taps, multiply_adds, \
    set_convolution
from minidl_ext.runtime.memory cimport ceil_div, product, workspace
from minidl_ext.runtime.threads cimport pieces_at_once, threads_for

import numpy as np

cnp.import_array()


cdef void forward_band(const floating* x, const floating* packed, const Epilogue* epilogue,
                       floating* y, Buffers buffers, const Py_ssize_t* b_off, const Geometry* s,
                       Py_ssize_t image, Py_ssize_t row, Py_ssize_t rows) noexcept nogil:
    """Compute output rows row .. row + rows of one image."""
    cdef Region region
    cdef const floating* base = read_inputs(x, <floating*>buffers.images, s, image, row, rows,
                                            &region)
    cdef const floating* following = next_rows(x, image, region.row + rows * s.sh, s.h, s.w * s.c)
    cdef Py_ssize_t i, j, k, l, group, taps = s.kh * s.kw * s.cig, length
    cdef Py_ssize_t width = panel_width(sizeof(floating)), panels = ceil_div(s.cog, width)
    cdef const floating** pixels = <const floating**>buffers.rows
    cdef floating** outs = <floating**>buffers.outs
    cdef Py_ssize_t* a_off = buffers.offsets
    cdef floating* first = y + (image * s.oh + row) * s.ow * s.co
    cdef Prefetch prefetch
    cdef int segments
    for i in range(rows):
        for j in range(s.ow):
            pixels[i * s.ow + j] = base + (i * s.sh * region.pitch + j * s.sw) * s.c
            outs[i * s.ow + j] = first + (i * s.ow + j) * s.co
    plan_prefetch(&prefetch, s.groups * panels * row_blocks(rows * s.ow) * taps, following,
                  min(rows * s.sh, s.h) * s.w * s.c * sizeof(floating), following, 0, following, 0)
    for group in range(s.groups):
        if s.groups == 1 and s.dw == 1:     # the taps of a kernel row lie together
            segments, length = <int>s.kh, s.kw * s.cig
            for k in range(s.kh):
                a_off[k] = k * s.dh * region.pitch * s.c
        else:
            segments, length = <int>(s.kh * s.kw), s.cig
            for k in range(s.kh):
                for l in range(s.kw):
                    a_off[k * s.kw + l] = (k * s.dh * region.pitch + l * s.dw) * s.c \
                        + group * s.cig
        multiply_panels(pixels, rows * s.ow, packed + group * panels * taps * width, taps * width,
                        segments, a_off, b_off, length, 1, width, outs, group * s.cog, s.cog,
                        False, &prefetch)
    apply_epilogue(y, first - y, rows * s.ow, s.co, epilogue)


cdef int forward(const floating* x, const floating* w, const Epilogue* epilogue, floating* y,
                 const Geometry* s, int threads) except -1:
    """Compute all outputs, a band of rows of an image at a time."""
    cdef Py_ssize_t width = panel_width(sizeof(floating)), panels = ceil_div(s.cog, width)
    cdef Py_ssize_t taps = s.kh * s.kw * s.cig, i, task, row, rows, first = 0, stop
    cdef Py_ssize_t length = s.kw * s.cig if s.groups == 1 and s.dw == 1 else s.cig
    cdef Py_ssize_t band = band_rows(s.oh, input_row_bytes(s, sizeof(floating)), s.sh, s.n)
    cdef Py_ssize_t bands = ceil_div(s.oh, band), tasks = s.n * bands
    cdef BufferSizes sizes = [input_band_bytes(s, band, sizeof(floating)), 0,
                              product(band, s.ow), s.kh * s.kw]
    cdef Py_ssize_t per_thread = buffer_bytes(&sizes)
    cdef Py_ssize_t at_once = pieces_at_once(tasks, band_work(s, tasks, sizes.images_bytes),
                                             threads)
    cdef cnp.ndarray packed_array = workspace(product(s.groups * panels, taps, width,
                                                      sizeof(floating)))
    cdef cnp.ndarray offsets = workspace(s.kh * s.kw * sizeof(Py_ssize_t))
    cdef cnp.ndarray buffers = workspace(product(threads, per_thread))
    cdef floating* packed = <floating*>packed_array.data
    cdef Py_ssize_t* b_off = <Py_ssize_t*>offsets.data
    cdef char* memory = buffers.data
    with nogil:
        for i in range(s.groups):
            pack_panels(w + i * s.cog, packed + i * panels * taps * width, taps, s.co, 1, s.cog)
        for i in range(s.kh * s.kw):
            b_off[i] = i * length * width
    while first < tasks:
        stop = min(tasks, first + at_once)
        for task in prange(first, stop, nogil=True, num_threads=threads, schedule='static'):
            row = task % bands * band
            rows = min(band, s.oh - row)
            forward_band(x, packed, epilogue, y,
                         buffers_at(memory + threadid() * per_thread, &sizes), b_off, s,
                         task // bands, row, rows)
        first = stop
        PyErr_CheckSignals()
    return 0


def conv(x, w, bias=None, stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1),
         groups=1, residual=None, bint relu_out=False, out=None, int threads=0):
    """Return y (N, OH, OW, C_out), x (N, H, W, C_in) convolved with w.

    w is (KH, KW, C_in / groups, C_out). This is a cross-correlation, as networks mean
    convolutions. `bias` (C_out,) and `residual`, of y's shape, are added, and a ReLU follows if
    `relu_out`.
    """
    cdef cnp.ndarray a = real_array(x, "conv", "x", 4), k = real_array(w, "conv", "w", 4), y
    cdef Geometry s
    cdef Epilogue epilogue
    same_dtype(a, k, "conv", "x", "w")
    set_convolution(&s, "conv", np.shape(x), k.shape[0], k.shape[1], stride, padding, dilation,
                    groups, -1, k.shape[3], MOST)
    has_input_channels(k, s.c, s.groups, "conv")
    y = output_of(out, "conv", s.n, s.oh, s.ow, s.co, a, "x", k, "w")
    epilogue = epilogue_of(bias, residual, relu_out, y, "conv")
    if s.n == 0:
        return y
    used_taps = drop_unused_taps(&s)
    if used_taps is not None:
        k = np.ascontiguousarray(k[used_taps])
    cdef int t = threads_for(threads, multiply_adds(&s) / 8)
    if cnp.PyArray_TYPE(a) == cnp.NPY_FLOAT32:
        forward(<const float*>a.data, <const float*>k.data, &epilogue, <float*>y.data, &s, t)
    else:
        forward(<const double*>a.data, <const double*>k.data, &epilogue, <double*>y.data, &s, t)
    return y
