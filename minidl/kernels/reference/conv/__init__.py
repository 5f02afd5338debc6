"""The twins of `minidl_ext/conv`."""
