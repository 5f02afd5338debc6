"""These tests run PyTorch's own sample inputs (its OpInfo database) through our operations, and
compare values and gradients.

`OPERATIONS` says for each operation how a call with PyTorch's arguments is written here. It returns
NotImplemented if we have no such option. Tensors come in PyTorch's layout and are converted inside.
"""

import numpy as np
import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db

import minidl as md
from tests.support.curves import ACTIVATIONS, OPTIONS
from tests.support.parity import assert_close


def axis_of(dim):
    return None if dim is None or dim == () else dim


def last(x):
    """Convert (N, C, ...) to (N, ..., C)."""
    return x if x.ndim < 3 else x.transpose(0, *range(2, x.ndim), 1)


def first(x):
    """Convert (N, ..., C) to (N, C, ...)."""
    return x if x.ndim < 3 else x.transpose(0, x.ndim - 1, *range(1, x.ndim - 1))


def reduction(function):
    def call(x, dim=None, keepdim=False, **rest):
        if rest:
            return NotImplemented
        axis = axis_of(dim)
        if x.ndim == 0 and axis is not None:
            return function(x.reshape(1), axis, keepdim).reshape(())  # here a number has no axis
        return function(x, axis, keepdims=keepdim)

    return call


def variance(function):
    def call(x, dim=None, unbiased=True, keepdim=False, correction=None):
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        ddof = (1.0 if unbiased else 0.0) if correction is None else float(correction)
        count = (
            x.size if axis_of(dim) is None else np.prod([x.shape[d] for d in np.atleast_1d(dim)])
        )
        if count <= ddof or x.ndim == 0:
            return NotImplemented  # infinity and NaN are handled differently
        return function(x, axis_of(dim), ddof=ddof, keepdims=keepdim)

    return call


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    if x.ndim != 4:
        return NotImplemented
    return first(
        md.conv(last(x), weight.transpose(2, 3, 1, 0), bias, stride, padding, dilation, groups)
    )


def conv_transpose2d(
    x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    if x.ndim != 4:
        return NotImplemented
    ci, per, kh, kw = weight.shape
    turned = (
        weight.reshape(groups, ci // groups, per, kh, kw)
        .transpose(3, 4, 1, 0, 2)
        .reshape(kh, kw, ci // groups, groups * per)
    )
    return first(
        md.conv_transpose(last(x), turned, bias, stride, padding, output_padding, groups, dilation)
    )


def max_pool2d(
    x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False
):
    if ceil_mode or return_indices or dilation not in (1, (1, 1)) or x.ndim != 4:
        return NotImplemented
    return first(md.max_pool(last(x), kernel_size, stride, padding))


def avg_pool2d(
    x,
    kernel_size,
    stride=None,
    padding=0,
    ceil_mode=False,
    count_include_pad=True,
    divisor_override=None,
):
    if ceil_mode or not count_include_pad or divisor_override is not None or x.ndim != 4:
        return NotImplemented
    padding = padding[0] if np.size(padding) == 1 and not np.isscalar(padding) else padding
    return first(md.avg_pool(last(x), kernel_size, stride or None, padding))


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    if x.size == 0 or (mean is not None and not 0 <= momentum <= 1) or x.ndim < 2:
        return NotImplemented
    mean, var = (None if t is None else np.array(t.data) for t in (mean, var))
    return first(md.batch_norm(last(x), weight, bias, mean, var, training, momentum, eps))


def layer_norm(x, shape, weight=None, bias=None, eps=1e-5):
    if len(shape) != 1 or shape == (1,):  # the gradient of a single value is a rounding error
        return NotImplemented
    return md.layer_norm(x, weight, bias, eps)


def rms_norm(x, shape, weight=None, eps=None):
    if len(shape) != 1 or shape == (1,):
        return NotImplemented
    return md.rms_norm(x, weight, np.finfo(np.float64).eps if eps is None else eps)


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    if x.size == 0 or eps < 0:
        return NotImplemented
    return first(md.group_norm(last(x), groups, weight, bias, eps))


def instance_norm(
    x,
    running_mean=None,
    running_var=None,
    weight=None,
    bias=None,
    use_input_stats=True,
    momentum=0.1,
    eps=1e-5,
):
    if not use_input_stats or x.ndim < 3:
        return NotImplemented
    return first(md.instance_norm(last(x), weight, bias, eps))


def labelled(function):
    def call(
        x,
        target,
        weight=None,
        size_average=None,
        ignore_index=-100,
        reduce=None,
        reduction="mean",
        label_smoothing=0.0,
    ):
        distribution = target.dtype.kind == "f"
        if x.ndim == 1:
            x, target = (
                x.reshape(1, -1),
                target.reshape(1, -1) if distribution else target.reshape(1),
            )
            if reduction == "none":
                return NotImplemented
        options = {"reduction": reduction, "weight": weight}
        if function is md.cross_entropy:
            options["label_smoothing"] = label_smoothing
        if not distribution:
            options["ignore_index"] = ignore_index
        return function(last(x), last(target) if distribution else target, **options)

    return call


def elementwise_loss(function):
    def call(x, target, size_average=None, reduce=None, reduction="mean", **options):
        if x.shape != target.shape:
            return NotImplemented
        return function(x, target, reduction=reduction, **options)

    return call


def pad(x, width, mode="constant", value=None):
    widths = [(0, 0)] * (x.ndim - len(width) // 2) + [
        tuple(width[k : k + 2]) for k in range(len(width) - 2, -1, -2)
    ]
    if any(w < 0 for pair in widths for w in pair):
        return NotImplemented
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    options = {"constant_values": value or 0.0} if mode == "constant" else {}
    return md.pad(x, widths, mode, **options)


def split(x, size, dim=0):
    n = x.shape[dim]
    ends = (
        np.cumsum(size)[:-1].tolist() if not isinstance(size, int) else list(range(size, n, size))
    )
    return md.split(x, ends, axis=dim)


def product(x, *others, **options):
    return NotImplemented if options else md.matmul(x, *others)


def arithmetic(function):
    def call(a, b, alpha=None, rounding_mode=None):
        if alpha is not None:
            b = b * alpha
        return NotImplemented if rounding_mode else function(a, b)

    return call


OPERATIONS = {
    **{  # activations without options
        op.name: getattr(md, name)
        for op in op_db
        for name in set(ACTIVATIONS) - set(OPTIONS)
        if op.name in (name, f"nn.functional.{name}")
    },
    "exp": md.exp,
    "log": md.log,
    "sqrt": md.sqrt,
    "abs": md.abs,
    "neg": md.negative,
    "nn.functional.relu": md.relu,
    "nn.functional.leaky_relu": lambda x, negative_slope=0.01: md.leaky_relu(x, negative_slope),
    "nn.functional.gelu": md.gelu,
    "nn.functional.softplus": md.softplus,
    "nn.functional.elu": lambda x, alpha=1.0: md.elu(x, alpha),
    "softmax": lambda x, dim, dtype=None: (
        NotImplemented if x.ndim == 0 or dtype else md.softmax(x, dim)
    ),
    "log_softmax": lambda x, dim, dtype=None: (
        NotImplemented if x.ndim == 0 or dtype else md.log_softmax(x, dim)
    ),
    "logsumexp": lambda x, dim, keepdim=False: (
        NotImplemented if x.ndim == 0 else md.logsumexp(x, axis_of(dim), keepdim)
    ),
    "clamp": lambda x, min=None, max=None: (
        NotImplemented if x.dtype.kind != "f" else md.clip(x, min, max)
    ),
    "where": lambda x, condition, other: md.where(condition, x, other),
    "maximum": md.maximum,
    "minimum": md.minimum,
    "sum": reduction(md.sum),
    "mean": reduction(md.mean),
    "amax": reduction(md.max),
    "amin": reduction(md.min),
    "var": variance(md.var),
    "std": variance(md.std),
    "any": reduction(md.any),
    "all": reduction(md.all),
    "floor_divide": md.floor_divide,
    "remainder": md.remainder,
    "argmax": lambda x, dim=None, keepdim=False: (
        NotImplemented if x.ndim == 0 else md.argmax(x, dim, keepdim)
    ),
    "argmin": lambda x, dim=None, keepdim=False: (
        NotImplemented if x.ndim == 0 else md.argmin(x, dim, keepdim)
    ),
    "add": arithmetic(md.add),
    "sub": arithmetic(md.subtract),
    "mul": arithmetic(md.multiply),
    "div": arithmetic(md.divide),
    "pow": md.power,
    "matmul": product,
    "mm": product,
    "bmm": product,
    "mv": product,
    "dot": product,
    "einsum": lambda operands, text: (
        NotImplemented
        if "..." in text.partition("->")[0]
        and "->" in text
        and "..." not in text.partition("->")[2]
        else md.einsum(text, *operands)
    ),
    "nn.functional.linear": lambda x, w, b=None: (
        md.matmul(x, w.T) if b is None else md.matmul(x, w.T) + b
    ),
    "reshape": md.reshape,
    "permute": md.transpose,
    "unsqueeze": md.expand_dims,
    "squeeze": lambda x, dim=None: (
        NotImplemented
        if dim is not None and (not isinstance(dim, int) or x.ndim == 0 or x.shape[dim] != 1)
        else md.squeeze(x, dim)
    ),
    "broadcast_to": md.broadcast_to,
    "flatten": lambda x, start_dim=0, end_dim=-1: (
        NotImplemented
        if x.ndim == 0 or end_dim not in (-1, x.ndim - 1)
        else md.flatten(x, start_dim)
    ),
    "cat": lambda xs, dim=0: (
        NotImplemented if len({t.ndim for t in xs}) > 1 else md.concatenate(xs, dim)
    ),
    "stack": lambda xs, dim=0: md.stack(xs, dim),
    "split": split,
    "nn.functional.pad": pad,
    "flip": lambda x, dims: md.flip(x, dims),
    "__getitem__": lambda x, index: x[index],
    "nn.functional.embedding": lambda weight, ids, **rest: (
        NotImplemented if rest else md.embedding(ids, weight)
    ),
    "nn.functional.conv2d": conv2d,
    "nn.functional.conv_transpose2d": conv_transpose2d,
    "nn.functional.max_pool2d": max_pool2d,
    "nn.functional.avg_pool2d": avg_pool2d,
    "nn.functional.batch_norm": batch_norm,
    "nn.functional.layer_norm": layer_norm,
    "nn.functional.rms_norm": rms_norm,
    "nn.functional.group_norm": group_norm,
    "nn.functional.instance_norm": instance_norm,
    "nn.functional.cross_entropy": labelled(md.cross_entropy),
    "nn.functional.nll_loss": labelled(md.nll_loss),
    "nn.functional.mse_loss": elementwise_loss(md.mse_loss),
    "nn.functional.l1_loss": elementwise_loss(md.l1_loss),
    "nn.functional.huber_loss": elementwise_loss(md.huber_loss),
    "nn.functional.binary_cross_entropy_with_logits": elementwise_loss(
        md.binary_cross_entropy_with_logits
    ),
}


def ours(value, leaves):
    """Return a sample's argument with our tensors in place of PyTorch's."""
    if isinstance(value, torch.Tensor):
        t = md.tensor(value.detach().numpy().copy(), requires_grad=value.requires_grad)
        if value.requires_grad:
            leaves.append((value, t))
        return t
    if isinstance(value, torch.Size):
        return tuple(value)
    if isinstance(value, list | tuple):
        return type(value)(ours(v, leaves) for v in value)
    return value


@pytest.mark.parametrize("name", OPERATIONS)
def test_samples(name):
    (op, *_) = (op for op in op_db if op.name == name)
    done = 0
    for sample in op.sample_inputs("cpu", torch.float64, requires_grad=True):
        leaves = []
        args = [ours(value, leaves) for value in (sample.input, *sample.args)]
        options = {key: ours(value, leaves) for key, value in sample.kwargs.items()}
        y = OPERATIONS[name](*args, **options)
        if y is NotImplemented:
            continue
        expected = op(sample.input, *sample.args, **sample.kwargs)
        ys, rights = (list(v) if isinstance(v, list | tuple) else [v] for v in (y, expected))
        assert len(ys) == len(rights)
        for a, b in zip(ys, rights, strict=True):
            if a.dtype.kind == "f":
                assert_close(a.data, b.detach().numpy(), f"{name} {sample}")
            else:
                np.testing.assert_array_equal(a.data, b.numpy())
        outputs = [(a, b) for a, b in zip(ys, rights, strict=True) if a.requires_grad]
        if outputs and leaves:
            starts = [np.linspace(0.5, 1.5, a.size).reshape(a.shape) for a, _ in outputs]
            theirs = torch.autograd.grad(
                [b for _, b in outputs],
                [b for b, _ in leaves],
                [torch.from_numpy(s) for s in starts],
                allow_unused=True,
            )
            mine = md.grad([a for a, _ in outputs], [t for _, t in leaves], starts)
            for g, expected_g in zip(mine, theirs, strict=True):
                if expected_g is not None:
                    assert_close(g, expected_g.numpy(), f"gradient of {name} {sample}")
        done += 1
    assert done >= 1, "no sample was run"


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_numbers_are_operands_of_ours(name):
    """PyTorch's samples call numbers as operands of these two functions an error. Here they are
    operands like any other, as in NumPy and in PyTorch's other operations.
    """
    (op, *_) = (op for op in op_db if op.name == name)
    for wrong in op.error_inputs("cpu"):
        given = [
            v.numpy() if isinstance(v, torch.Tensor) else v
            for v in (wrong.sample_input.input, *wrong.sample_input.args)
        ]
        got = getattr(md, name)(*(md.tensor(v) if isinstance(v, np.ndarray) else v for v in given))
        np.testing.assert_array_equal(got, getattr(np, name)(*given))
