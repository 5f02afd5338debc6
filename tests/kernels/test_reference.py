"""These tests check that the options of all NumPy twins may be any of NumPy's scalars."""

import importlib

import numpy as np
import pytest

from minidl import kernels


def arrays(count, *shape):
    rng = np.random.default_rng(count)
    return [rng.uniform(0.5, 1.5, shape) for _ in range(count)]


P = arrays(4, 2, 3)
LISTS = [[array] for array in P]
LABELS = np.array([0, 2])

# The arguments of each kernel, and its options that are integers. In uint8, 1 - 2 would be 255.
IMAGES, IMAGES_OUT, WEIGHTS = (
    np.float32(array)
    for array in (
        arrays(1, 1, 20, 20, 16)[0],
        arrays(1, 1, 21, 20, 16)[0],
        arrays(1, 3, 3, 16, 16)[0],
    )
)
WINNERS = np.full((1, 10, 10, 16), 3, np.uint8)
SIDES = ((2, 1), (0, 2))
DIRECT = {"stride": (1, 1), "padding": SIDES, "dilation": (1, 1), "groups": 1}
POOL = {"window": (3, 3), "stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1)}
CASES = {
    "conv": ([IMAGES, WEIGHTS], DIRECT),
    "conv_input_grad": ([IMAGES_OUT, WEIGHTS], {"input_shape": (1, 20, 20, 16), **DIRECT}),
    "conv_weight_grad": ([IMAGES, IMAGES_OUT], {"kernel_shape": (3, 3), **DIRECT}),
    "winograd_conv": ([IMAGES, WEIGHTS], {"padding": SIDES}),
    "winograd_input_grad": (
        [IMAGES_OUT, WEIGHTS],
        {"input_shape": (1, 20, 20, 16), "padding": SIDES},
    ),
    "winograd_weight_grad": ([IMAGES, IMAGES_OUT], {"padding": SIDES}),
    "max_pool": ([IMAGES], POOL),
    "max_pool_backward": (
        [IMAGES[:, ::2, ::2].copy(), WINNERS],
        {"input_shape": (1, 20, 20, 16), "window": (2, 2), "stride": (2, 2)},
    ),
    "avg_pool": ([IMAGES], {**POOL, "counted": ((1, 0), (0, 1))}),
    "avg_pool_backward": ([IMAGES], {"input_shape": (1, 20, 20, 16), **POOL}),
    "global_avg_pool_backward": ([IMAGES[:, 0, 0].copy()], {"input_shape": (1, 20, 20, 16)}),
    "crop": (
        [IMAGES],
        {
            "size": (200, 22),
            "tops": np.array([-2]),
            "lefts": np.array([3]),
            "flips": np.ones(1, np.uint8),
        },
    ),
    "sgd_update": (LISTS[:3], {"lr": 2, "momentum": 2, "weight_decay": 3}),
    "adam_update": (
        LISTS,
        {
            "lr": 2,
            "beta1": 2,
            "beta2": 0,
            "eps": 1,
            "weight_decay": 1,
            "decoupled": True,
            "step": 3,
        },
    ),
    "rmsprop_update": (
        [*LISTS[:3], None, None],
        {"lr": 2, "alpha": 0, "eps": 1, "momentum": 0, "weight_decay": 3},
    ),
    "adagrad_update": (LISTS[:3], {"lr": 200, "eps": 100, "weight_decay": 3}),
    "lars_update": (
        LISTS[:3],
        {"lr": 200, "momentum": 2, "trust": 200, "eps": 1, "weight_decay": 200},
    ),
    "running_update": ([P[0][0], P[1][0], None, P[2][0], P[3][0]], {"weight": 2, "factor": 200}),
    "batch_norm_factors": ([P[0][0], P[1][0], None, None], {"eps": 255, "dtype": np.float32}),
    "layer_norm": ([P[0], None, None], {"eps": 255}),
    "group_norm": ([P[0][None], None, None], {"groups": 1, "eps": 255}),
    "cross_entropy": ([P[0], LABELS], {"smoothing": 2}),
    "cross_entropy_backward": ([P[0][:, 0].copy(), P[1] / 6, LABELS], {"smoothing": 2}),
    "dropout": ([P[0]], {"p": 0, "key": 7}),
}


def of_numpy(value):
    """Return one option or several with integers as the smallest scalars of NumPy."""
    if isinstance(value, dict):
        return {name: of_numpy(option) for name, option in value.items()}
    if isinstance(value, tuple):
        return tuple(map(of_numpy, value))
    return np.uint8(value) if type(value) is int else value


@pytest.mark.parametrize("name", CASES)
def test_scalars_of_numpy_are_numbers(name):
    family = next(family for family, names in kernels.FAMILIES.items() if name in names)
    native, twin = (
        getattr(importlib.import_module(f"{package}.{family}"), name)
        for package in ("minidl_ext", "minidl.kernels.reference")
    )
    given, options = CASES[name]
    left = []
    for kernel in (native, twin):
        inputs = [
            [a.copy() for a in x] if isinstance(x, list) else x if x is None else x.copy()
            for x in given
        ]
        result = kernel(*inputs, **of_numpy(options))
        left.append([inputs, result] if result is None else [result])
    for a, b in zip(*(list(leaves(x)) for x in left), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


def leaves(value):
    """Return all arrays inside lists and tuples."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    elif value is not None:
        yield value
