"""Kernels of sequences: rows of tables, and the cells of recurrent layers."""
