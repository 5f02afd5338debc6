"""These tests trace graphs for batches of two sizes."""

import numpy as np
import pytest

import minidl as md
from minidl.batch_traces import BATCHES, CHECKED, batch_traces, refuse_reads
from tests.support.errors import refuses

X = np.arange(12, dtype=np.float32).reshape(4, 3)


def test_what_depends_on_the_batch_differs():
    first, second, third = batch_traces(lambda x, w: x @ w, (X, X[:3].T), "f", (5,))
    assert [graph.inputs[0].shape for graph in (first, second, third)] == [(2, 3), (3, 3), (5, 3)]
    assert {graph.inputs[1].shape for graph in (first, second, third)} == {(3, 3)}
    assert [graph.outputs.shape for graph in (first, second)] == [(n, 3) for n in BATCHES]


def test_entries_come_again():
    """Examples with one entry repeat it, and all values are such that the model accepts them."""
    seen = []
    batch_traces(lambda x: seen.append(x.data.copy()) or x, (X[:1],), "f")
    np.testing.assert_array_equal(seen[1], np.repeat(X[:1], 3, 0))


@pytest.mark.parametrize(
    ("f", "words"),
    [
        (lambda x: x.reshape(4, 3) * 2, "does not run with another batch"),
        (lambda x: x * 2 if len(x) == 2 else x + 2, "depends on the size of the batch"),
        (lambda x: md.squeeze(x[:, :1]), "depends on the size of the batch"),
        (lambda x: x[: len(x) // 2], "depends on the size of the batch"),
        (lambda x: [x * 2] * len(x), "depends on the size of the batch"),
    ],
)
def test_one_graph_with_a_warning(f, words):
    with pytest.warns(UserWarning, match=f"here: .*{words}"):
        graphs = batch_traces(f, (X,), "here", (CHECKED,))
    assert [graph.inputs[0].shape for graph in graphs] == [(4, 3)] * 3


def test_an_error_for_one_entry_is_no_other_shape():
    def differences(x):
        if len(x) == 1:
            raise ValueError("two are needed")
        return x[1:] - x[:-1]

    first, second = batch_traces(differences, (X,), "here")
    assert (first.outputs.shape, second.outputs.shape) == ((1, 3), (2, 3))


def test_errors_of_the_function_and_bad_examples_are_raised():
    with pytest.raises(ZeroDivisionError):
        batch_traces(lambda x: x * (1 / 0), (X,), "f")
    with refuses(ValueError, "here: example must have at least one entry"):
        batch_traces(lambda x: x, (X[:0],), "here")


def test_reads():
    refuse_reads(md.trace(lambda x: x * 2, X), "here")
    with refuses(NotImplementedError, "here: Python takes values out of sum"):
        refuse_reads(md.trace(lambda x: x * x.sum().item(), X), "here")
