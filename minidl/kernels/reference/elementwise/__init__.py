"""The twins of `minidl_ext/elementwise`."""
