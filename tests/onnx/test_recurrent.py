"""LSTM, GRU and RNN of files: directions, states, sequences of different lengths, empty batches."""

import numpy as np
import pytest

import minidl as md
from tests.support.onnx_files import assert_close, draw, file_of, node, run


@pytest.mark.parametrize("operator", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_a_recurrent_layer(operator, direction):
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[operator]
    d, x = 2 if direction == "bidirectional" else 1, draw(5, 2, 3)
    arrays = {
        "w": draw(d, gates * 4, 3),
        "r": draw(d, gates * 4, 4),
        "b": draw(d, gates * 8),
        "h": draw(d, 2, 4),
    }
    names, outputs = ["w", "r", "b", "", "h"], ["y", "y_h"]
    if operator == "LSTM":
        arrays["c"] = draw(d, 2, 4, seed=1)
        names, outputs = [*names, "c"], [*outputs, "y_c"]
    for extra in [{}] + [{"linear_before_reset": 1}] * (operator == "GRU"):
        content = file_of(
            [node(operator, ["x", *names], outputs, direction=direction, hidden_size=4, **extra)],
            [("x", x.shape)],
            outputs,
            arrays,
            14,
        )
        model = md.onnx.load(content)
        for y, expected in zip(model(x), run(content, x), strict=True):
            assert_close(y.data, expected)
        assert {name for name, _ in model.named_parameters()} == arrays.keys()


@pytest.mark.parametrize("operator, gates", [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("layout", [0, 1])
def test_an_empty_batch_takes_no_step(operator, gates, layout):
    """However long its sequences: of shapes that the file says, as for a batch of one."""
    outputs = ["y", "y_h", "y_c"][: 3 if operator == "LSTM" else 2]
    content = file_of(
        [node(operator, ["x", "w", "r"], outputs, hidden_size=4, layout=layout)],
        [("x", (None, None, 3))],
        outputs,
        {"w": draw(1, gates * 4, 3), "r": draw(1, gates * 4, 4)},
        14,
    )
    model, steps = md.onnx.load(content), 2**46
    given = [(0, steps, 3), (1, 5, 3)] if layout else [(steps, 0, 3), (5, 1, 3)]
    empty, one = (model(np.zeros(shape, np.float32)) for shape in given)
    for y, other in zip(empty, one, strict=True):
        sizes = [{5: steps}.get(n, n) for n in other.shape]
        sizes[0 if layout else -2] = 0
        assert y.shape == tuple(sizes)


@pytest.mark.parametrize(
    "operator, gates, extra",
    [("LSTM", 4, {}), ("RNN", 1, {}), ("GRU", 3, {}), ("GRU", 3, {"linear_before_reset": 1})],
)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_sequences_of_different_lengths(operator, gates, extra, direction):
    """Outputs beyond the end are zeros, and the last state is that at the end."""
    d, x = 2 if direction == "bidirectional" else 1, draw(6, 4, 3)
    names, outputs = ["x", "w", "r", "", "lengths", "h"], ["y", "y_h"]
    arrays = {"w": draw(d, gates * 2, 3), "r": draw(d, gates * 2, 2), "h": draw(d, 4, 2)}
    if operator == "LSTM":
        names, outputs = [*names, "c"], [*outputs, "y_c"]
        arrays["c"] = draw(d, 4, 2, seed=1)
    content = file_of(
        [node(operator, names, outputs, name="mine", direction=direction, hidden_size=2, **extra)],
        [("x", x.shape), ("lengths", (4,), np.int32)],
        outputs,
        arrays,
        14,
    )
    model = md.onnx.load(content)
    for lengths in ([6, 2, 4, 2], [5, 1, 3, 1], [6, 6, 6, 6]):
        numbers = np.array(lengths, np.int32)
        for y, expected in zip(model(x, numbers), run(content, x, numbers), strict=True):
            assert_close(y.data, expected)
    for lengths in ([7, 2, 4, 2], [-1, 2, 4, 2]):
        with pytest.raises(ValueError, match="node 'mine': sequence_lens must be 4 numbers"):
            model(x, np.array(lengths, np.int32))
