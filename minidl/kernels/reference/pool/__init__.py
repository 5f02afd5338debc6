"""The twins of `minidl_ext/pool`."""
