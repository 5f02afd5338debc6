# The transforms of Winograd's F(4x4, 3x3), and products of tiles (winograd.h).
from libc.stdint cimport uint8_t

cdef extern from "conv/winograd.h" nogil:
    enum:
        FREQUENCIES, GAP
    void input_tile(const float* x, Py_ssize_t row, Py_ssize_t pixel, Py_ssize_t channels, float* v,
                    Py_ssize_t step)
    void output_grad_tile(const float* dy, Py_ssize_t row, Py_ssize_t channels, float* z,
                          Py_ssize_t step)
    int has_product_tiles(Py_ssize_t ci)
    void product_tiles(Py_ssize_t ci, int vectors, const float* v, const float* u, float* m,
                       Py_ssize_t blocks, Py_ssize_t co, const char* prefetch,
                       Py_ssize_t prefetch_step)
    void output_tile(const float* m, Py_ssize_t step, float* y, Py_ssize_t row,
                     Py_ssize_t channels, Py_ssize_t rows, Py_ssize_t cols)
    void unpooled_tile(const float* dy, const uint8_t* argmax, Py_ssize_t h, Py_ssize_t w,
                       Py_ssize_t channels, Py_ssize_t y0, Py_ssize_t x0, Py_ssize_t size,
                       float* tile)
    void weight_block(const float* w, Py_ssize_t tap_step, Py_ssize_t row_step,
                      Py_ssize_t col_step, int turned, Py_ssize_t rows, Py_ssize_t cols, float* u,
                      Py_ssize_t width, Py_ssize_t step)
    void weight_grad_vector(const float* du, Py_ssize_t step, float* dw, Py_ssize_t tap_step)
