"""This program is minidl's side of a comparison: a process that runs cases on one backend (see
serve.py).
"""

import sys

import minidl as md
from minidl_ext.runtime.threads import thread_count

from . import augment_cases, minidl_cases
from .serve import serve


def make(kind, arguments):
    module = augment_cases if hasattr(augment_cases, kind) else minidl_cases
    return getattr(module, kind)(*arguments)


if __name__ == "__main__":
    backend, threads = sys.argv[1], int(sys.argv[2])
    md.set_num_threads(threads)
    if backend == "numpy":
        md.set_precision("high")  # in NumPy, im2col is faster than Winograd
    with md.use_backend(backend):
        # Other processes may cost the native kernels a thread, so this is watched; NumPy has
        # threads of its own.
        serve(
            make,
            {"minidl": md.__version__, "threads": md.get_num_threads()},
            thread_count if backend == "native" else None,
        )
