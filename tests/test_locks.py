"""These tests check locks after a fork."""

import os
import threading

import pytest

from minidl.locks import lock


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_lock_that_another_thread_holds_at_a_fork_is_free_in_the_child():
    held, taken, done = lock(), threading.Event(), threading.Event()

    def hold():
        with held:
            taken.set()
            done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    taken.wait(30)
    pid = os.fork()
    if pid == 0:
        os._exit(0 if held.acquire(blocking=False) else 1)
    status = os.waitpid(pid, 0)[1]
    refused = not held.acquire(blocking=False)
    done.set()
    thread.join()
    assert (status, refused) == (0, True)
