"""The twins of `minidl_ext/reduce`."""
