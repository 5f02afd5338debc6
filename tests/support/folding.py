"""This module has models to fold, and what must hold for a folded one."""

import warnings

import numpy as np
import pytest

from minidl import nn

TOLERANCE = {np.float32: 1e-4, np.float64: 1e-10}


def settled(model, dtype=np.float32):
    """Return the model in evaluation mode, with statistics and parameters in its BatchNorms that
    are not the initial ones.
    """
    rng = np.random.default_rng(0)
    model.astype(dtype).eval()
    for _, layer in model.named_layers():
        if isinstance(layer, nn.BatchNorm):
            layer.running_mean[...] = rng.normal(size=layer.features)
            layer.running_var[...] = rng.uniform(0.3, 3, layer.features)
            if layer.gamma is not None:
                layer.gamma.data[...] = rng.normal(size=layer.features)
            if layer.beta is not None:
                layer.beta.data[...] = 1 + rng.normal(size=layer.features)
    return model


def images(*shape, dtype=np.float32):
    return np.random.default_rng(1).normal(size=shape).astype(dtype)


def norms(model):
    return [name for name, layer in model.named_layers() if isinstance(layer, nn.BatchNorm)]


def quietly(*args):
    """Fold without the warning that something could not be folded."""
    with pytest.warns(UserWarning, match="left alone"):
        return nn.fold(*args)


def agrees(folded, model, x):
    a, b = model(x).data, folded(x).data
    assert np.abs(a - b).max() <= TOLERANCE[x.dtype.type] * np.abs(a).max()
    assert np.abs(a).max() > 0


def folds_completely(model, x, example=True):
    before = {name: value.copy() for name, value in model.state_dict().items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folded = nn.fold(model, x) if example else nn.fold(model)
    assert norms(folded) == [] and folded.fold_report.left == {}
    assert sorted(pair[1] for pair in folded.fold_report.folded) == sorted(norms(model))
    agrees(folded, model, x)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    return folded


class Custom(nn.Layer):
    """Has layers a, b and a norm, which a function uses."""

    def __init__(self, use, **layers):
        super().__init__()
        self.use = use
        self.a, self.b, self.norm = nn.Dense(4, 4), nn.Dense(4, 4), nn.BatchNorm(4)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, *x):
        return self.use(self, *x)
