"""The twins of `minidl_ext/data`."""
