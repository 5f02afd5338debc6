"""NumPy twins of the native kernels: same names, same signatures, no cleverness.

They are the reference of the kernel tests, the slow side of the benchmark, and the version to
read first. `threads` is accepted and ignored: NumPy decides for itself.
"""
