"""This module sets the threads of kernels, and runs functions in Python's threads."""

import contextlib
import sys
import threading

import minidl as md


@contextlib.contextmanager
def threads(n):
    """Let kernels use n threads within the `with` block."""
    before = md.get_num_threads()
    md.set_num_threads(n)
    try:
        yield
    finally:
        md.set_num_threads(before)


def in_threads(n, work):
    """Run work(k) in n threads that begin together and are switched often. Return the exceptions
    that they end with.
    """
    begin, errors = threading.Barrier(n), []

    def run(k):
        begin.wait()
        try:
            work(k)
        except Exception as error:
            errors.append(error)

    workers = [threading.Thread(target=run, args=(k,)) for k in range(n)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return errors
