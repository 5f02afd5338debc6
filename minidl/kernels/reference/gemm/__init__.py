"""The twins of `minidl_ext/gemm`."""
