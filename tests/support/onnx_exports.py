"""This module exports models to ONNX, and compares their files with them: by ONNX Runtime, and by
the model that is loaded from the file.
"""

import numpy as np

import minidl as md
from minidl import nn
from tests.support.onnx_files import assert_close, draw, run


def exported(model, example, path, layout="NHWC"):
    """Return the bytes of the file of a model."""
    md.manual_seed(0)
    md.onnx.export(model, path, example, layout)
    return path.read_bytes()


def outputs_of(model, *inputs):
    """Return a list of the arrays that a model computes in evaluation mode."""
    if isinstance(model, nn.Layer):
        model.eval()
    with md.no_grad():
        made = model(*[md.tensor(x) for x in inputs])
    return [y.data for y in flat(made)]


def flat(made):
    """Return the tensors of an output that may be nested, in order."""
    return [made] if isinstance(made, md.Tensor) else [y for item in made for y in flat(item)]


def check(model, example, path, back=True):
    """Return the file of a model, after a comparison for batches of one and four."""
    content = exported(model, example, path)
    examples = example if isinstance(example, tuple) else (example,)
    loaded = md.onnx.load(path) if back else None
    for size in (1, 4):
        inputs = [np.resize(x, (size, *x.shape[1:])) for x in examples]
        expected = outputs_of(model, *inputs)
        for ours, theirs in zip(run(content, *inputs), expected, strict=True):
            assert_close(ours, theirs)
        if loaded is not None:
            for ours, theirs in zip(flat(loaded(*inputs)), expected, strict=True):
                assert_close(ours.data, theirs)
    return content


def settled(model, *shape):
    """Return a model with statistics that are not the initial ones."""
    md.manual_seed(0)
    model.train()
    model(md.tensor(draw(16, *shape)))
    return model.eval()
