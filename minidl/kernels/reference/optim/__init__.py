"""The twins of `minidl_ext/optim`."""
