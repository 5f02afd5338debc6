"""The twins of `minidl_ext/sequence`."""
