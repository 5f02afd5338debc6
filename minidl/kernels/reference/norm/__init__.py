"""The twins of `minidl_ext/norm`."""
