"""These tests check the lookup of rows in a table: beside the twin, on threads, with ids outside of
it, and with bad input.
"""

import numpy as np
import pytest

from minidl.kernels.reference.sequence import embedding as twin
from minidl_ext.sequence import embedding as native
from tests.support.kernels import FLOATS, KINDS, LAYOUTS, identical, refuses, same_bits, values

SHAPES = (
    (5, 3, 7),
    (5, 0, 7),
    (1, 1, 1),
    (9, 50, 16),
    (9, 50, 17),
    (40, 3000, 70),
    (0, 0, 3),
    (4, 6, 0),
)  # (rows of the table, ids, columns)


def ids_for(rows, count):
    return np.random.default_rng(0).integers(0, max(rows, 1), count)


@FLOATS
@pytest.mark.parametrize(("rows", "count", "columns"), SHAPES)
def test_results_are_those_of_the_twin(rows, count, columns, dtype):
    ids, table = ids_for(rows, count), values(rows, columns, dtype=dtype)
    identical(native.embedding(table, ids), twin.embedding(table, ids))
    dy = values(count, columns, dtype=dtype, seed=1)
    got, expected = native.embedding_backward(dy, ids, rows), twin.embedding_backward(dy, ids, rows)
    assert got.dtype == dtype
    identical(got, expected)  # both add in the order of the ids
    same_bits(native.embedding, {"weight": table, "ids": ids})
    same_bits(native.embedding_backward, {"dy": dy, "ids": ids, "rows": rows})


@pytest.mark.parametrize("wrong", (-1, 5, 2**62, -(2**63)))
def test_ids_outside_the_table(wrong):
    ids = np.array([0, 4, wrong])
    with pytest.raises(ValueError, match=rf"embedding: id {wrong} at 2 is outside 0..4"):
        native.embedding(values(5, 3), ids)
    with pytest.raises(ValueError, match=rf"embedding_backward: id {wrong} at 2"):
        native.embedding_backward(values(3, 3), ids, 5)


def test_bad_arrays_are_refused():
    forward = {"weight": values(5, 3), "ids": np.array([0, 1])}
    backward = {"dy": values(2, 3), "ids": np.array([0, 1]), "rows": 5}
    for kernel, case, name in (
        (native.embedding, forward, "weight"),
        (native.embedding_backward, backward, "dy"),
    ):
        refuses(kernel, case, name, LAYOUTS | KINDS)
        refuses(
            kernel,
            case,
            "ids",
            LAYOUTS
            | {
                "int32": lambda a: a.astype(np.int32),
                "float": lambda a: a.astype(np.float64),
                "list": lambda a: a.tolist(),
                "matrix": lambda a: a[None],
            },
        )
    refuses(native.embedding_backward, backward, "ids", {"longer": lambda a: np.append(a, a)})
    with pytest.raises(ValueError, match="embedding_backward: negative size"):
        native.embedding_backward(**backward | {"rows": -1})
