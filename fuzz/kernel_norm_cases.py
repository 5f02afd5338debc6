"""This module makes random valid arguments of the kernels of normalization."""

from typing import Any

from .kernel_curves import ACTIVATIONS, OPTIONS

Args = dict[str, Any]


def factors(k: Any, channels: int) -> Any:
    """Describe the factors of a normalization. Whatever they are, both sides must compute the same,
    as long as mean_lo is what a mean loses by rounding. If it is not, the backward pass takes a
    large part from a sum that has been rounded, and no bound holds for its result.
    """
    return k.array([5, channels], values="factors")


def _stats(k: Any) -> Args:
    return {"x": k.array(k.shape(k.draw.integer(2, 4), least=1))}


def _factors(k: Any) -> Args:
    c = k.draw.size(300, 1)
    gamma, beta = k.array([c]), k.array([c])
    return {
        "mean": k.array([c], dtype="float64"),
        "var": k.array([c], dtype="float64", values="positive"),
        "gamma": gamma if k.draw.chance(0.7) else None,
        "beta": beta if k.draw.chance(0.7) else None,
        "eps": k.draw.pick(1e-5, 1e-3, 0.0),
        "dtype": {"dtype_of": k.dtype},
    }


def _running(k: Any) -> Args:
    c = k.draw.size(300, 1)
    counted = k.draw.array([], "int64", "normal") if k.draw.chance(0.5) else None
    return {
        "running_mean": k.array([c]),
        "running_var": k.array([c], values="positive"),
        "num_batches": counted,
        "mean": k.array([c], dtype="float64"),
        "var": k.array([c], dtype="float64", values="positive"),
        "weight": k.draw.pick(0.1, 1.0, 0.0),
        "factor": k.draw.pick(1.0, 1.25),
    }


def _apply(k: Any) -> Args:
    shape = k.shape(k.draw.integer(2, 4), least=1)
    return {
        "x": k.array(shape),
        "factors": factors(k, shape[-1]),
        **k.maybe(0.4, residual=k.array(shape), relu=True),
    }


def _backward(k: Any) -> Args:
    shape = k.shape(k.draw.integer(2, 4), least=1)
    args = {
        "dy": k.array(shape),
        "x": k.array(shape),
        "factors": factors(k, shape[-1]),
        **k.maybe(0.4, residual=k.array(shape), relu=True),
    }
    if k.name == "batch_norm_input_grad":
        return args | k.maybe(0.6, centre=k.array([2, shape[-1]]))
    args |= k.maybe(0.4, masked_out=True)
    if "masked_out" in args:
        args |= k.maybe(0.5, dy2=k.array(shape))
    return args if k.name == "batch_norm_sums" else args | k.maybe(0.3, training=False)


def _finish(k: Any) -> Args:
    c = k.draw.size(300, 1)
    return {
        "sums": k.array([2, c], dtype="float64"),
        "factors": factors(k, c),
        "count": float(k.draw.integer(1, 5000)),
    }


def _mask(k: Any, shape: list[int]) -> Any:
    rows = 1
    for n in shape[:-1]:
        rows *= n
    return k.draw.array([rows], "bool", k.draw.pick("normal", "normal", "normal", "zeros", "equal"))


def _masked(k: Any) -> Args:
    shape = k.shape(k.draw.integer(2, 4), least=1)
    x, mask = k.array(shape), _mask(k, shape)
    if k.name == "masked_stats":
        return {"x": x, "mask": mask}
    args = {
        "x": x,
        "mask": mask,
        "factors": factors(k, shape[-1]),
        **k.maybe(0.4, residual=k.array(shape), relu=True),
    }
    if k.name == "masked_norm_apply":
        return args
    args = {"dy": k.array(shape), **args, **k.maybe(0.4, masked_out=True, training=False)}
    if "masked_out" in args:
        args |= k.maybe(0.5, dy2=k.array(shape))
    return args


def _pool(k: Any) -> Args:
    k.dtype = "float32"
    n, h, w, c = k.draw.integer(1, 4), k.draw.size(33, 2), k.draw.size(33, 2), k.blocks()
    args = {"x": k.array([n, h, w, c]), "factors": factors(k, c), **k.maybe(0.5, relu=True)}
    if k.name == "batch_norm_pool":
        return args
    dy = k.array([n, h // 2, w // 2, c])
    return {"dy": dy, **args, **k.maybe(0.3, training=False)}


def _activation(k: Any) -> Args:
    shape = k.shape(k.draw.integer(2, 4), least=1)
    name = k.draw.pick(*ACTIVATIONS)
    curve = (name, *(k.draw.pick(*values) for values in OPTIONS.get(name, {}).values()))
    args = {"x": k.array(shape), "factors": factors(k, shape[-1]), "activation": curve}
    if k.name == "batch_norm_activation":
        return args
    return {"dy": k.array(shape), **args, **k.maybe(0.3, training=False)}


def _layer_norm(k: Any) -> Args:
    m, c = k.shape(2, least=1)
    gamma = k.array([c]) if k.draw.chance(0.7) else None
    centre = k.maybe(0.4, centre=False)
    if k.name == "layer_norm":
        beta = k.array([c]) if k.draw.chance(0.7) else None
        return {
            "x": k.array([m, c]),
            "gamma": gamma,
            "beta": beta,
            "eps": k.draw.pick(1e-5, 1e-3),
            **centre,
        }
    x = k.array([m, c])
    forward = {
        "twin": ["norm.layer_norm", "layer_norm"],
        "of": ["x", "gamma", "centre"],
        "fixed": {"beta": None, "eps": 1e-3},
    }
    return {
        "dy": k.array([m, c]),
        "x": x,
        "gamma": gamma,
        "mean": {**forward, "item": 1},
        "rstd": {**forward, "item": 2},
        **centre,
    }


def _group_norm(k: Any) -> Args:
    groups = k.draw.pick(1, 2, 3, 8)
    n, positions, per = k.shape(3, least=1)
    c = groups * per
    gamma = k.array([c]) if k.draw.chance(0.7) else None
    centre = k.maybe(0.4, centre=False)
    x = k.array([n, positions, c])
    if k.name == "group_norm":
        beta = k.array([c]) if k.draw.chance(0.7) else None
        return {
            "x": x,
            "gamma": gamma,
            "beta": beta,
            "groups": groups,
            "eps": k.draw.pick(1e-5, 1e-3),
            **centre,
        }
    return {
        "dy": k.array([n, positions, c]),
        "x": x,
        "gamma": gamma,
        "factors": {
            "twin": ["norm.group_norm", "group_norm"],
            "item": 1,
            "of": ["x", "gamma", "groups", "centre"],
            "fixed": {"beta": None, "eps": 1e-3},
        },
        "groups": groups,
        **centre,
    }


NORMS: dict[str, Any] = {
    "batch_stats": _stats,
    "batch_norm_factors": _factors,
    "running_update": _running,
    "batch_norm_apply": _apply,
    **dict.fromkeys(("batch_norm_sums", "batch_norm_backward", "batch_norm_input_grad"), _backward),
    "batch_norm_finish": _finish,
    **dict.fromkeys(("masked_stats", "masked_norm_apply", "masked_norm_backward"), _masked),
    **dict.fromkeys(("batch_norm_pool", "batch_norm_pool_backward"), _pool),
    **dict.fromkeys(("batch_norm_activation", "batch_norm_activation_backward"), _activation),
    **dict.fromkeys(("layer_norm", "layer_norm_backward"), _layer_norm),
    **dict.fromkeys(("group_norm", "group_norm_backward"), _group_norm),
}
