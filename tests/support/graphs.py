"""This module computes graphs that `md.trace` gives again, for other values."""

import numpy as np

import minidl as md
from minidl import nn
from minidl.mode import evaluation
from tests.support.arrays import uniform


def operations(graph):
    return [node.operation for node in graph]


def replayed(graph, *arrays):
    """Return the outputs of a graph for other inputs: compute each of its nodes again, in order."""
    values = dict(zip(graph.inputs, map(md.Tensor, arrays), strict=True))

    def given(x):
        if not isinstance(x, md.Value):
            return x
        return values[x] if x in values else md.Tensor(x.array)

    with md.no_grad():
        for node in graph:
            made = node.function.apply(*map(given, node.inputs), **node.options)
            values.update(
                zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True)
            )

    def outputs(x):
        if isinstance(x, md.Value):
            return given(x).data
        if isinstance(x, dict):
            return {key: outputs(item) for key, item in x.items()}
        return type(x)(map(outputs, x)) if isinstance(x, (tuple, list)) else x

    return outputs(graph.outputs)


def plain(x):
    """Return arrays in place of tensors, in tuples, lists and dicts."""
    if isinstance(x, md.Tensor):
        return x.data
    if isinstance(x, dict):
        return {key: plain(item) for key, item in x.items()}
    return type(x)(map(plain, x)) if isinstance(x, (tuple, list)) else x


def same(a, b):
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        a, b = list(a.values()), list(b.values())
    if isinstance(a, (tuple, list)):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            same(one, other)
    else:
        np.testing.assert_array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def check(f, *arrays):
    """Check that a trace of f gives the same bits as f for other values of these shapes."""
    others = [uniform(*x.shape).astype(x.dtype) if x.dtype.kind == "f" else x[::-1] for x in arrays]
    graph = md.trace(f, *others)
    modes = evaluation if isinstance(f, nn.Layer) else md.no_grad
    with modes():
        expected = plain(f(*map(md.Tensor, arrays)))
    same(replayed(graph, *arrays), expected)
    assert not graph.reads
    return graph


def settled(model):
    """Return a model with statistics and parameters that are not the initial ones."""
    rng = np.random.default_rng(0)
    for name, array in (
        *((n, p.data) for n, p in model.named_parameters()),
        *model.named_buffers(),
    ):
        if array.dtype.kind == "f":
            array[...] = (
                rng.uniform(0.3, 1, array.shape)
                if "var" in name
                else rng.normal(0, 0.3, array.shape)
            )
    return model
