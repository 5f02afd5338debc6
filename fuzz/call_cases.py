"""This module has valid calls of public names, and the values that may replace their arguments."""

import copy
import inspect
from typing import Any

import minidl as md

from .draw import Draw, Value

F, INT = "float32", "int64"


def t(*shape: int, dtype: str = F, grad: bool = True, **more: Value) -> Value:
    """Describe a tensor."""
    return {"tensor": a(*shape, dtype=dtype, **more), "grad": grad and dtype.startswith("float")}


def a(*shape: int, dtype: str = F, **more: Value) -> Value:
    """Describe an array."""
    return {
        "array": list(shape),
        "dtype": dtype,
        "values": more.pop("values", "normal"),
        "seed": 1,
        **more,
    }


def parameter(*shape: int) -> Value:
    return {"parameter": a(*shape), "grad": True}


def optimizer() -> Value:
    return {"optimizer": [parameter(3, 2), parameter(2)]}


def call(*args: Value, on: list[Value] | None = None, **options: Value) -> dict[str, Any]:
    """Describe a call: its arguments, the options of which some are used, and what its result is
    called on.
    """
    made: dict[str, Any] = {
        "args": {str(i): value for i, value in enumerate(args)},
        "options": options,
    }
    if on is not None:
        made["input"] = {str(i): value for i, value in enumerate(on)}
    return made


X, IMAGES, PICTURES = t(4, 6), t(2, 8, 8, 4), a(4, 8, 8, 3)
AXIS = {"axis": 0, "keepdims": True}
LABELS = a(4, dtype=INT, low=0, high=5)
LOSS = {"reduction": "sum"}


def tuple_of(*items: Value) -> Value:
    return {"tuple": list(items)}


STEPS, SIDES = t(2, 8, 4), tuple_of(tuple_of(1, 0), tuple_of(0, 1))
POOL = {"ceil_mode": True, "dilation": 2}
CALLS: dict[str, dict[str, Any]] = {
    **{
        f"md.{name}": call(X)
        for name in md.ops.__all__
        if list(inspect.signature(getattr(md.ops, name)).parameters) == ["x"]
    },
    **{
        f"md.{name}": call(X)
        for name in (
            "logsumexp",
            "zeros_like",
            "ones_like",
            "rand_like",
            "randn_like",
            "tensor",
            "flatten",
            "transpose",
        )
    },
    **{
        f"md.{name}": call(X, **AXIS)
        for name in ("sum", "mean", "max", "min", "argmax", "argmin", "any", "all")
    },
    **{f"md.{name}": call(X, ddof=1, **AXIS) for name in ("var", "std")},
    **{
        f"md.{name}": call(X, t(4, 6))
        for name in (
            "add",
            "subtract",
            "multiply",
            "divide",
            "power",
            "maximum",
            "minimum",
            "floor_divide",
            "remainder",
        )
    },
    **{
        f"md.{name}": call(X, axis=0)
        for name in ("softmax", "log_softmax", "flip", "sort", "argsort", "cumsum")
    },
    "md.topk": call(X, 3, axis=1),
    "md.resize": call(IMAGES, tuple_of(5, 9), mode="linear"),
    "md.adaptive_avg_pool": call(IMAGES, tuple_of(3, 5)),
    "md.scaled_dot_product_attention": call(
        t(2, 4, 6), t(2, 5, 6), t(2, 5, 3), mask=a(4, 5, dtype="bool"), causal=True
    ),
    **{
        f"md.{name}": call(tuple_of(3, 4), dtype=F, requires_grad=True)
        for name in ("zeros", "ones")
    },
    **{f"md.{name}": call(3, 4, dtype=F) for name in ("rand", "randn")},
    **{f"md.{name}": call(X, t(4, 6), **LOSS) for name in ("mse_loss", "l1_loss")},
    "md.leaky_relu": call(X, slope=0.1),
    "md.elu": call(X, alpha=0.5),
    "md.softplus": call(X, beta=2.0, threshold=10.0),
    "md.gelu": call(X, approximate="tanh"),
    "md.huber_loss": call(X, t(4, 6), delta=0.5, **LOSS),
    "md.binary_cross_entropy_with_logits": call(
        X, a(4, 6, values="uniform"), weight=a(4, 6), pos_weight=a(6), **LOSS
    ),
    "md.cross_entropy": call(
        X, LABELS, weight=a(6, values="uniform"), ignore_index=2, label_smoothing=0.1, **LOSS
    ),
    "md.nll_loss": call(X, LABELS, weight=a(6, values="uniform"), ignore_index=2, **LOSS),
    "md.accuracy": call(X, LABELS),
    "md.conv": call(
        IMAGES, t(3, 3, 4, 6), bias=t(6), stride=2, padding=SIDES, dilation=1, groups=1
    ),
    "md.conv1d": call(
        STEPS, t(3, 4, 6), bias=t(6), stride=2, padding="causal", dilation=2, groups=1
    ),
    "md.conv_transpose": call(IMAGES, t(3, 3, 4, 6), None, 2, 1, 1, groups=1, dilation=1),
    "md.max_pool": call(IMAGES, 2, stride=2, padding=SIDES, **POOL),
    "md.avg_pool": call(IMAGES, 2, stride=2, padding=1, count_padding=False, **POOL),
    "md.max_pool1d": call(STEPS, 2, stride=1, padding="same", **POOL),
    "md.avg_pool1d": call(STEPS, 2, stride=2, padding=tuple_of(1, 0), count_padding=False, **POOL),
    "md.global_avg_pool": call(IMAGES),
    "md.full": call(tuple_of(3, 4), 2.5, dtype=F),
    "md.full_like": call(X, 2.5, dtype=F),
    "md.from_dlpack": call(a(3, 4), device="cpu", copy=True),
    "md.arange": call(0, 10, 2, dtype=F),
    "md.eye": call(4, m=3, k=1, dtype=F),
    "md.einsum": call("ij,jk->ik", X, t(6, 3)),
    "md.matmul": call(X, t(6, 3)),
    "md.embedding": call(a(3, dtype=INT, low=0, high=3), X),
    "md.one_hot": call(LABELS, 6),
    "md.layer_norm": call(X, t(6), t(6), eps=1e-3, axis=-1),
    "md.rms_norm": call(X, t(6), eps=1e-3, beta=t(6), axis=tuple_of(-1)),
    "md.group_norm": call(IMAGES, 2, t(4), t(4), eps=1e-3),
    "md.instance_norm": call(IMAGES, t(4), t(4), eps=1e-3),
    "md.filter_response_norm": call(IMAGES, t(4), t(4), eps=1e-3),
    "md.tlu": call(X, t(6)),
    "md.batch_norm": call(
        X, t(6), t(6), a(6), a(6, values="uniform"), True, momentum=0.2, eps=1e-3
    ),
    "md.where": call(a(4, 6, dtype="bool"), X, t(4, 6)),
    "md.clip": call(X, -1.0, 1.0),
    "md.astype": call(X, "float64"),
    "md.dropout": call(X, p=0.3, training=True),
    "md.reshape": call(X, tuple_of(3, 8)),
    "md.expand_dims": call(X, 1),
    "md.squeeze": call(t(4, 1, 6), axis=1),
    "md.broadcast_to": call(t(6), tuple_of(4, 6)),
    "md.getitem": call(X, tuple_of({"slice": [0, 3, 2]}, 1)),
    "md.concatenate": call([X, t(4, 6)], axis=1),
    "md.stack": call([X, t(4, 6)], axis=1),
    "md.split": call(X, 2, axis=1),
    "md.pad": call(X, tuple_of(tuple_of(1, 2), tuple_of(0, 1)), mode="reflect"),
    "md.weight_norm": call(t(6, 3), t(3)),
    "md.weight_standardization": call(t(6, 3), eps=1e-3),
    "md.grad": call([t(1, grad=True)], [t(1)]),
    "md.manual_seed": call(3),
    "md.set_num_threads": call(2),
    "md.set_precision": call("high"),
    "md.use_backend": call("numpy"),
    "md.Tensor": call(a(3, 2), requires_grad=True),
    "md.save": call("state", {"dict": {"a": a(3), "b": [1, "x"]}}),
    "md.load": call("state"),
    # methods
    "Tensor.__getitem__": call(X, tuple_of({"slice": [None, None, 2]}, a(2, dtype=INT, high=5))),
    "Tensor.__setitem__": call(t(4, 6, grad=False), 1, 2.0),
    "Tensor.item": call(t(1)),
    "Tensor.__truediv__": call(X, 2),
    "Tensor.__add__": call(X, 1.5),
    "Tensor.__matmul__": call(X, t(6, 2)),
    "Tensor.__pow__": call(X, 2),
    "Tensor.backward": call(X, a(4, 6), retain_graph=True),
    "Tensor.numpy": call(X),
    "Tensor.reshape": call(X, 8, 3),
    "Tensor.transpose": call(X, 1, 0),
    "Tensor.astype": call(X, "float64"),
    "Tensor.detach": call(X),
    # layers
    "nn.Dense": call(6, 3, bias=True, on=[X]),
    "nn.Conv": call(4, 6, 3, stride=2, padding=1, dilation=1, groups=2, bias=True, on=[IMAGES]),
    "nn.Conv1d": call(
        4, 6, 3, stride=2, padding=tuple_of(1, 0), dilation=1, groups=2, bias=True, on=[STEPS]
    ),
    "nn.ConvTranspose": call(4, 6, 3, 2, 1, 1, groups=2, on=[IMAGES]),
    "nn.BatchNorm": call(
        4,
        eps=1e-3,
        momentum=0.2,
        affine=True,
        track_stats=True,
        ghost_batch=2,
        unbiased=True,
        gamma_init=0.5,
        bias=False,
        on=[IMAGES],
    ),
    "nn.LayerNorm": call(tuple_of(8, 4), eps=1e-3, affine=True, bias=False, on=[IMAGES]),
    "nn.RMSNorm": call(4, eps=1e-3, affine=True, bias=True, on=[IMAGES]),
    "nn.GroupNorm": call(2, 4, eps=1e-3, affine=True, bias=False, on=[IMAGES]),
    "nn.InstanceNorm": call(4, affine=True, eps=1e-3, bias=False, on=[IMAGES]),
    "nn.FilterResponseNorm": call(
        4, eps=1e-3, learn_eps=True, affine=True, bias=False, on=[IMAGES]
    ),
    "nn.TLU": call(4, on=[IMAGES]),
    "nn.StepNorm": call(4, 5, shift=True, eps=1e-3, affine=True, bias=True, on=[t(3, 4), 2]),
    "nn.Renorm": call(r_max=3.0, d_max=5.0, warmup=10),
    "nn.Embedding": call(5, 3, on=[a(4, dtype=INT, low=0, high=4)]),
    "nn.Dropout": call(0.4, on=[X]),
    "nn.LeakyReLU": call(0.1, on=[X]),
    "nn.GELU": call("tanh", on=[X]),
    "nn.Softmax": call(1, on=[X]),
    "nn.ReLU": call(on=[X]),
    "nn.MaxPool": call(2, stride=2, padding=SIDES, on=[IMAGES], **POOL),
    "nn.AvgPool": call(2, stride=2, padding=1, count_padding=False, on=[IMAGES], **POOL),
    "nn.MaxPool1d": call(2, stride=1, padding="causal", on=[STEPS], **POOL),
    "nn.AvgPool1d": call(2, stride=2, padding=1, count_padding=False, on=[STEPS], **POOL),
    "nn.Flatten": call(on=[IMAGES]),
    "nn.GlobalAvgPool": call(on=[IMAGES]),
    "nn.AdaptiveAvgPool": call(tuple_of(3, 5), on=[IMAGES]),
    "nn.Upsample": call(None, 2, mode="linear", on=[IMAGES]),
    "nn.MultiHeadAttention": call(
        6, 2, dropout=0.1, bias=True, key_features=6, value_features=6, on=[t(2, 5, 6)]
    ),
    **{
        f"nn.{name}": call(
            3,
            4,
            num_layers=2,
            bias=True,
            dropout=0.1,
            bidirectional=True,
            norm="layer",
            max_steps=9,
            on=[t(2, 5, 3)],
        )
        for name in ("RNN", "GRU", "LSTM")
    },
    "nn.Sequential": call({"layer": "ReLU"}, {"layer": "Tanh"}, on=[X]),
    "nn.LayerList": call([{"layer": "ReLU"}, {"layer": "Tanh"}]),
    "nn.Parameter": call(a(3, 2)),
    "nn.fold": call({"layer": "ReLU"}, X),
    **{
        f"init.{name}": call(tuple_of(3, 4), dtype=F)
        for name in (
            "normal",
            "uniform",
            "he_normal",
            "he_uniform",
            "xavier_normal",
            "xavier_uniform",
            "lecun_normal",
            "lecun_uniform",
            "orthogonal",
            "constant",
        )
    },
    # optimizers and schedules
    "optim.SGD": call([parameter(3, 2)], 0.1, 0.9, nesterov=True, weight_decay=0.1),
    "optim.Adam": call(
        [parameter(3, 2)], lr=0.1, betas=tuple_of(0.9, 0.99), eps=1e-8, weight_decay=0.1
    ),
    "optim.AdamW": call(
        [parameter(3, 2)], lr=0.1, betas=tuple_of(0.9, 0.99), eps=1e-8, weight_decay=0.1
    ),
    "optim.RMSprop": call(
        [parameter(3, 2)],
        lr=0.1,
        alpha=0.9,
        eps=1e-8,
        momentum=0.9,
        centered=True,
        weight_decay=0.1,
    ),
    "optim.Adagrad": call([parameter(3, 2)], lr=0.1, eps=1e-8, initial=0.1, lr_decay=0.1),
    "optim.LARS": call([parameter(3, 2)], 0.1, momentum=0.9, trust=0.01, eps=1e-8),
    "optim.Muon": call([parameter(3, 2)], 0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "optim.Lookahead": call(optimizer(), 5, alpha=0.5),
    "optim.clip_grad_norm": call([parameter(3, 2)], 1.0, eps=1e-6),
    "optim.MultiStepLR": call(optimizer(), [2, 4], gamma=0.5),
    "optim.LinearLR": call(optimizer(), 5, end=0.1),
    "optim.StepLR": call(optimizer(), 2, gamma=0.5),
    "optim.CosineLR": call(optimizer(), 5, min_lr=0.01),
    "optim.WarmupLR": call(optimizer(), 5, start=0.1),
    "optim.OneCycleLR": call(optimizer(), 1.0, 10, warmup=0.3, start_div=25.0, final_div=1e4),
    "optim.ReduceOnPlateau": call(
        optimizer(), factor=0.5, patience=1, threshold=1e-3, mode="max", min_lr=1e-4
    ),
    # data
    "data.ArrayDataset": call(a(5, 4, 4, 1), a(5, dtype=INT), classes=["a", "b"]),
    "data.DataLoader": call(
        {"dataset": [a(5, 4, 4, 1), a(5, dtype=INT)]},
        batch_size=2,
        shuffle=True,
        drop_last=True,
        seed=3,
        prefetch=0,
    ),
    "data.Subset": call({"dataset": [a(5, 4, 4, 1), a(5, dtype=INT)]}, [3, 1]),
    "data.split": call(
        {"dataset": [a(5, 4, 4, 1), a(5, dtype=INT)]}, tuple_of(0.6, 0.4), seed=2, stratify=True
    ),
    "data.mean_std": call(a(5, 4, 4, 3)),
    # transforms, and the images that they are called on
    "T.RandomCrop": call(6, on=[PICTURES], padding=2, mode="constant", value=0.5),
    "T.RandomFlip": call(on=[PICTURES], p=0.5, alternate=True),
    "T.Cutout": call(3, on=[PICTURES], value=0.5, p=0.5),
    "T.RandomTranslate": call(2, on=[PICTURES], mode="reflect", value=0.5),
    "T.RandomRotation": call(15.0, on=[PICTURES], mode="edge", value=0.5),
    "T.RandomResizedCrop": call(
        5, on=[PICTURES], scale=tuple_of(0.2, 0.9), ratio=tuple_of(0.5, 2.0)
    ),
    "T.Resize": call(5, on=[PICTURES]),
    "T.CenterCrop": call(5, on=[PICTURES]),
    "T.Normalize": call(0.5, 0.25, on=[PICTURES]),
    "T.ColorJitter": call(on=[PICTURES], brightness=0.1, contrast=0.1, saturation=0.1, hue=0.1),
    "T.Mixup": call(0.3, 3, on=[PICTURES, a(4, dtype=INT, low=0, high=2)], p=0.5),
    "T.CutMix": call(0.3, 3, on=[PICTURES, a(4, dtype=INT, low=0, high=2)], p=0.5),
}


def example(draw: Draw, name: str) -> dict[str, Any]:
    """Return a valid call of a name, with some of its options."""
    made = copy.deepcopy(CALLS[name])
    options = made.pop("options")
    made["args"] |= {key: value for key, value in options.items() if draw.chance(0.5)}
    if draw.chance(0.2) and name.startswith("md."):  # layers are float32
        _to_double(made)
    return made


def _to_double(value: Any) -> None:
    """Replace float32 by float64 in all parts of a call."""
    if isinstance(value, dict):
        if value.get("dtype") == F:
            value["dtype"] = "float64"
        for item in value.values():
            _to_double(item)
    elif isinstance(value, list):
        for item in value:
            _to_double(item)


# Texts that may replace any argument.
WORDS = (
    "same",
    "valid",
    "none",
    "sum",
    "tanh",
    "layer",
    "batch",
    "float16",
    "int8",
    "i,j->",
    "...",
)


def anything(draw: Draw) -> Value:
    """Return a value that is hardly ever right."""
    if draw.chance(0.15):
        return draw.pick(*WORDS)
    if draw.chance(0.2):
        return draw.pick(
            X,
            IMAGES,
            t(0, 3),
            t(),
            a(2**31, 0),
            a(0, 2**40),
            a(3, dtype="U1"),
            a(2, dtype="object"),
            [X, 1],
            [None, X],
            tuple_of(X, X),
            [[1.0], [2.0, 3]],
        )
    return draw.absurd()
