"""These tests check the generator of all random numbers, and manual_seed."""

import os

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.random import generator
from tests.support.cases import errors_of
from tests.support.processes import python
from tests.support.threads import threads


def drawn():
    """Return one result of everything that draws random numbers."""
    layer = nn.Dense(5, 4)
    return np.concatenate(
        [
            md.rand(3).data,
            md.randn(2, 2).data.ravel(),
            md.dropout(md.ones(20), 0.5).data,
            md.rand_like(md.ones(2)).data,
            md.randn_like(md.ones(2)).data,
            layer.weight.data.ravel(),
        ]
    )


def test_the_same_seed_draws_the_same():
    md.manual_seed(7)
    first, second = drawn(), drawn()
    md.manual_seed(7)
    np.testing.assert_array_equal(drawn(), first)
    np.testing.assert_array_equal(drawn(), second)
    assert (first != second).any()


def test_other_seeds_draw_others():
    seen = set()
    for seed in (0, 1, 2, 2**31, 2**63, 2**64, 2**64 + 1, 2**100):
        md.manual_seed(seed)
        seen.add(md.randn(4).data.tobytes())
    assert len(seen) == 8


@pytest.mark.parametrize("seed", [np.int64(7), np.uint8(7)])
def test_seeds_are_any_integers(seed):
    md.manual_seed(seed)
    first = drawn()
    md.manual_seed(7)
    np.testing.assert_array_equal(drawn(), first)


def test_numbers_depend_neither_on_threads_nor_on_the_backend():
    results = []
    for n in (1, 2, 3):
        with threads(n):
            md.manual_seed(1)
            results.append(drawn())
    with md.use_backend("numpy"):
        md.manual_seed(1)
        results.append(drawn())
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


def test_numpys_own_generator_is_left_alone():
    np.random.seed(0)
    expected = np.random.random(3)
    np.random.seed(0)
    md.manual_seed(5)
    drawn()
    np.testing.assert_array_equal(np.random.random(3), expected)


def test_the_generator_is_the_one_in_use():
    md.manual_seed(3)
    first = generator().random(dtype=np.float32)
    md.manual_seed(3)
    assert md.rand().item() == first
    assert generator() is generator()


def test_without_a_seed_processes_draw_the_same():
    code = "import minidl as md; print(md.randn(3).data.tobytes().hex())"
    outputs = {python(code, OMP_NUM_THREADS=n).stdout.strip() for n in ("1", "3")}
    assert len(outputs) == 1
    assert len(outputs.pop()) == 24


test_errors = errors_of(
    [
        (
            lambda seed=seed: md.manual_seed(seed),
            ValueError if seed == -1 else TypeError,
            f"manual_seed: seed must be an int >= 0, got {seed!r}",
        )
        for seed in (-1, 1.5, True, "0", None, np.float64(3))
    ]
)


def test_a_refused_seed_changes_nothing():
    md.manual_seed(3)
    expected = md.rand(3).data
    md.manual_seed(3)
    with pytest.raises(ValueError):
        md.manual_seed(-1)
    np.testing.assert_array_equal(md.rand(3).data, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_draws_while_a_thread_of_the_parent_was_drawing():
    code = """
        import os, signal, threading
        import minidl as md
        from minidl import nn

        def draw():
            while True:
                md.randn(20_000)

        md.randn(1)     # no fork while NumPy's generators are imported
        threading.Thread(target=draw, daemon=True).start()
        for _ in range(10):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)        # ends the child, should it hang
                nn.Dense(4, 4)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
        print("drawn")
        os._exit(0)
    """
    done = python(code, "-W", "ignore")
    assert "Error" not in done.stderr, done.stderr
