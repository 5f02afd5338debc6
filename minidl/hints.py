"""Hints for users of PyTorch and Keras: the error for one of their names says what to write here.

Nothing in this file runs unless a name is wrong. Python calls a module's `__getattr__` only for a
name that the module does not have; tensors, layers and optimizers hold an `Elsewhere` under each
foreign name; and the arguments of a call are examined only after the call has failed.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)

LAST = "channels are the last axis here"
ONE_DEVICE = "everything is computed on the CPU"

# Each table gives what to write instead, by the name that was written.
TENSOR = {
    "view": "reshape",
    "view_as": "x.reshape(other.shape)",
    "reshape_as": "x.reshape(other.shape)",
    "permute": "transpose",
    "swapaxes": "transpose",
    "t": "x.T",
    "mT": "transpose",
    "unsqueeze": "expand_dims",
    "contiguous": "x itself: tensors always are",
    "is_contiguous": "True: tensors always are",
    "dim": "x.ndim",
    "ndimension": "x.ndim",
    "numel": "x.size",
    "nelement": "x.size",
    "cpu": f"x itself: {ONE_DEVICE}",
    "cuda": f"x itself: {ONE_DEVICE}",
    "to": f"astype, for another dtype; {ONE_DEVICE}",
    "device": ONE_DEVICE,
    "type": "astype",
    "float": "x.astype(np.float32)",
    "double": "x.astype(np.float64)",
    "long": "x.astype(np.int64)",
    "int": "x.astype(np.int32)",
    "bool": "x.astype(bool)",
    "half": "x.astype(np.float32): there is no training in float16",
    "bfloat16": "x.astype(np.float32): there is no training in bfloat16",
    "norm": "md.sqrt((x * x).sum())",
    "square": "x * x",
    "pow": "x ** y",
    "add": "x + y",
    "sub": "x - y",
    "mul": "x * y",
    "div": "x / y",
    "matmul": "x @ y",
    "mm": "x @ y",
    "bmm": "x @ y",
    "dot": "x @ y",
    "neg": "-x",
    "clamp": "clip",
    "expand": "broadcast_to",
    "expand_as": "md.broadcast_to(x, other.shape)",
    "repeat": "md.concatenate or broadcast_to",
    "chunk": "split",
    "unbind": "tuple(x)",
    "amax": "max",
    "amin": "min",
    "tolist": "x.data.tolist()",
    "clone": "md.tensor(x), or x * 1 within the graph",
    "copy": "md.tensor(x)",
    "new_zeros": "md.zeros",
    "zero_": "md.zeros_like(x), or x.data[...] = 0 of a leaf",
    "fill_": "md.full_like(x, value), or x.data[...] = value of a leaf",
    "copy_": "x.data[...] = values, of a leaf",
    "add_": "x = x + y, or x.data += y of a leaf",
    "mul_": "x = x * y, or x.data *= y of a leaf",
    "relu_": "md.relu",
    "clamp_": "clip",
    "sub_": "x = x - y, or x.data -= y of a leaf",
    "masked_fill_": "md.where",
    "detach_": "detach",
    "requires_grad_": "x.requires_grad = True",
    "is_leaf": "x.requires_grad, True of leaves and results alike",
    "grad_fn": "x.requires_grad",
    "eq": "x == y",
    "ne": "x != y",
    "lt": "x < y",
    "gt": "x > y",
    "le": "x <= y",
    "ge": "x >= y",
    "masked_fill": "md.where",
    "index_select": "x[indices]",
    "gather": "x[indices]",
    "ravel": "flatten",
    "round": "np.round(x.data)",
}
FUNCTIONS = {
    "cat": "md.concatenate",
    "concat": "md.concatenate",
    "permute": "md.transpose",
    "unsqueeze": "md.expand_dims",
    "view": "md.reshape",
    "clamp": "md.clip",
    "mm": "md.matmul",
    "bmm": "md.matmul",
    "dot": "md.matmul",
    "square": "x * x",
    "pow": "md.power",
    "sub": "md.subtract",
    "mul": "md.multiply",
    "div": "md.divide",
    "neg": "md.negative",
    "absolute": "md.abs",
    "from_numpy": "md.tensor",
    "as_tensor": "md.tensor or md.Tensor",
    "array": "md.tensor",
    "asarray": "md.Tensor",
    "amax": "md.max",
    "amin": "md.min",
    "chunk": "md.split",
    "norm": "md.sqrt((x * x).sum())",
    "randint": "md.tensor(rng.integers(...)), of a NumPy generator",
    "linspace": "md.tensor(np.linspace(...))",
    "empty": "md.zeros",
    "device": ONE_DEVICE,
    "cuda": ONE_DEVICE,
    "enable_grad": "no md.no_grad() around it",
    "inference_mode": "md.no_grad",
    "conv2d": f"md.conv ({LAST})",
    "conv_transpose2d": f"md.conv_transpose ({LAST})",
    "max_pool2d": f"md.max_pool ({LAST})",
    "avg_pool2d": f"md.avg_pool ({LAST})",
    "adaptive_avg_pool1d": f"md.adaptive_avg_pool ({LAST})",
    "adaptive_avg_pool2d": f"md.adaptive_avg_pool ({LAST})",
    "interpolate": f"md.resize ({LAST})",
    "upsample": f"md.resize ({LAST})",
    "linear": "x @ weight + bias",
    "relu6": "md.clip(x, 0, 6)",
    "swish": "md.silu",
    "binary_cross_entropy": "md.binary_cross_entropy_with_logits, of the values before the sigmoid",
    "smooth_l1_loss": "md.huber_loss",
    "seed": "md.manual_seed",
    "float32": "np.float32",
    "float64": "np.float64",
    "int64": "np.int64",
    "utils": "minidl.data and minidl.optim",
    "save_state_dict": "md.save",
    "Sequential": "nn.Sequential",
    "Module": "nn.Layer",
    "Parameter": "nn.Parameter",
    "layers": "minidl.nn",
    "losses": "functions: md.cross_entropy, md.mse_loss ...",
    "optimizers": "minidl.optim",
}
OF_LAYERS = {
    "to": f"astype, for another dtype; {ONE_DEVICE}",
    "cuda": ONE_DEVICE,
    "cpu": ONE_DEVICE,
    "float": "astype(np.float32)",
    "double": "astype(np.float64)",
    "half": "nothing: there is no training in float16",
    "modules": "named_layers",
    "named_modules": "named_layers",
    "named_children": "children",
    "add_module": "an attribute: self.name = layer",
    "register_module": "an attribute: self.name = layer",
    "register_buffer": "an attribute: self.name = array",
    "register_parameter": "an attribute: self.name = nn.Parameter",
    "buffers": "named_buffers",
    "requires_grad_": "freeze",
    "get_weights": "state_dict",
    "set_weights": "load_state_dict",
    "save_weights": "md.save(path, model.state_dict())",
    "load_weights": "model.load_state_dict(md.load(path))",
    "trainable": "freeze",
}
OF_OPTIMIZERS = {
    "param_groups": "groups",
    "learning_rate": "lr",
    "add_param_group": 'groups given at the start: [{"params": ...}, ...]',
    "minimize": "loss.backward(), then step()",
    "apply_gradients": "step()",
}
LAYERS = {
    "Module": "nn.Layer",
    "ModuleList": "nn.LayerList",
    "ModuleDict": "a dict of layers",
    "Linear": "nn.Dense",
    "LazyLinear": "nn.Dense",
    "Conv2d": f"nn.Conv ({LAST})",
    "Conv2D": "nn.Conv",
    "Conv1D": "nn.Conv1d",
    "ConvTranspose2d": f"nn.ConvTranspose ({LAST})",
    "Conv2DTranspose": "nn.ConvTranspose",
    "ZeroPad2d": "padding=((top, bottom), (left, right)) of what follows, or md.pad",
    "ZeroPadding2D": "padding=((top, bottom), (left, right)) of what follows, or md.pad",
    "MaxPooling1D": "nn.MaxPool1d",
    "AveragePooling1D": "nn.AvgPool1d",
    "DepthwiseConv2D": "nn.Conv with groups=channels",
    "BatchNorm1d": f"nn.BatchNorm, for every rank ({LAST})",
    "BatchNorm2d": f"nn.BatchNorm, for every rank ({LAST})",
    "BatchNorm3d": f"nn.BatchNorm, for every rank ({LAST})",
    "BatchNormalization": "nn.BatchNorm",
    "LayerNormalization": "nn.LayerNorm",
    "GroupNormalization": "nn.GroupNorm",
    "InstanceNorm1d": f"nn.InstanceNorm ({LAST})",
    "InstanceNorm2d": f"nn.InstanceNorm ({LAST})",
    "MaxPool2d": f"nn.MaxPool ({LAST})",
    "MaxPooling2D": "nn.MaxPool",
    "AvgPool2d": f"nn.AvgPool ({LAST})",
    "AveragePooling2D": "nn.AvgPool",
    "AdaptiveAvgPool1d": f"nn.AdaptiveAvgPool ({LAST})",
    "AdaptiveAvgPool2d": f"nn.AdaptiveAvgPool, or nn.GlobalAvgPool for one place ({LAST})",
    "GlobalAveragePooling2D": "nn.GlobalAvgPool",
    "Dropout2d": "nn.Dropout",
    "SimpleRNN": "nn.RNN",
    "MultiheadAttention": "nn.MultiHeadAttention, whose masks are True where something takes part",
    "UpSampling1D": "nn.Upsample",
    "UpSampling2D": "nn.Upsample",
    "UpsamplingNearest2d": "nn.Upsample",
    "UpsamplingBilinear2d": "nn.Upsample, for corners that are not aligned",
    "CrossEntropyLoss": "the function md.cross_entropy",
    "NLLLoss": "the function md.nll_loss",
    "MSELoss": "the function md.mse_loss",
    "L1Loss": "the function md.l1_loss",
    "SmoothL1Loss": "the function md.huber_loss",
    "HuberLoss": "the function md.huber_loss",
    "BCELoss": "the function md.binary_cross_entropy_with_logits, of the values before the sigmoid",
    "BCEWithLogitsLoss": "the function md.binary_cross_entropy_with_logits",
    "LogSoftmax": "the function md.log_softmax",
    "Softplus": "the function md.softplus",
    "ELU": "the function md.elu",
    "functional": "minidl itself: md.relu, md.conv ...",
    "utils": "minidl.optim.clip_grad_norm, nn.weight_norm",
    "Input": "nothing: layers take arrays",
    "Activation": "nn.ReLU, nn.Tanh ...",
    "Tensor": "md.Tensor",
}
OPTIMIZERS = {
    "lr_scheduler": "minidl.optim itself: optim.StepLR, optim.CosineLR ...",
    "Adadelta": "optim.RMSprop",
    "CosineAnnealingLR": "optim.CosineLR",
    "ReduceLROnPlateau": "optim.ReduceOnPlateau",
    "SequentialLR": "optim.SequenceLR",
    "clip_grad_norm_": "optim.clip_grad_norm",
    "schedules": "minidl.optim itself: optim.StepLR, optim.CosineLR ...",
    "AveragedModel": "optim.EMA",
    "swa_utils": "optim.EMA",
}
DATA = {
    "Dataset": "any object with len and dataset[i] -> (image, label)",
    "TensorDataset": "data.ArrayDataset",
    "random_split": "data.split",
    "IterableDataset": "any object with len and dataset[i] -> (image, label)",
    "DatasetFolder": "data.ImageFolder",
    "image_dataset_from_directory": "data.ImageFolder",
    "cifar10": "data.CIFAR10",
    "fashion_mnist": "data.FashionMNIST",
}
TRANSFORMS = {
    "ToTensor": "leave it out: loaders divide uint8 images by 255",
    "RandomHorizontalFlip": "T.RandomFlip",
    "RandomErasing": "T.Cutout",
    "RandomAffine": "T.RandomRotation and T.RandomTranslate",
    "MixUp": "T.Mixup",
    "Rescaling": "T.Normalize",
    "RandomTranslation": "T.RandomTranslate",
    "Lambda": "the function itself, in T.Compose",
}
ARGUMENTS = {
    "dim": "axis",
    "dims": "axis",
    "keepdim": "keepdims",
    "axes": "axis",
    "keep_dims": "keepdims",
    "unbiased": "ddof (1 for unbiased=True)",
    "correction": "ddof",
    "input": "x",
    "start_dim": "first_axis",
    "num_workers": "prefetch, the batches that a thread makes ahead",
    "prefetch_factor": "prefetch",
    "persistent_workers": "leave it out: threads end with loops",
    "multiprocessing_context": "leave it out: a thread makes batches ahead, no process",
    "worker_init_fn": "seed: batches do not depend on threads",
    "timeout": "leave it out",
    "collate_fn": "transform, a function of the images of a batch; items are stacked as they are",
    "pin_memory": f"leave it out: {ONE_DEVICE}",
    "pin_memory_device": f"leave it out: {ONE_DEVICE}",
    "batch_sampler": "batch_size, shuffle and drop_last",
    "generator": "seed",
    "units": "out_features",
    "filters": "out_channels",
    "strides": "stride",
    "pool_size": "window",
    "count_include_pad": "count_padding",
    "dilation_rate": "dilation",
    "kernel_size": "window",
    "inplace": "leave it out: tensors are not changed in place",
    "num_features": "features",
    "num_channels": "features",
    "normalized_shape": "features",
    "num_groups": "groups",
    "num_embeddings": "rows",
    "embedding_dim": "features",
    "input_dim": "rows",
    "output_dim": "features",
    "input_size": "in_features",
    "hidden_size": "hidden",
    "batch_first": "leave it out: sequences are (N, T, features)",
    "use_bias": "bias",
    "rate": "p",
    "negative_slope": "slope",
    "alpha": "slope",
    "epsilon": "eps",
    "track_running_stats": "track_stats",
    "padding_mode": "leave it out: md.pad pads in other ways",
    "device": f"leave it out: {ONE_DEVICE}",
    "dtype": "leave it out: layer.astype converts",
    "learning_rate": "lr",
    "beta_1": "betas",
    "beta_2": "betas",
    "T_max": "steps",
    "eta_min": "min_lr",
    "total_steps": "steps",
    "max_learning_rate": "max_lr",
    "amsgrad": "leave it out",
    "foreach": "leave it out",
    "fused": "leave it out: steps always are",
    "num_classes": "classes",
    "ns_steps": "steps",
    "elementwise_affine": "affine",
    "embed_dim": "features",
    "num_heads": "heads",
    "kdim": "key_features",
    "vdim": "value_features",
    "output_size": "size",
    "interpolation": "mode",
    "align_corners": "leave it out: corners are not aligned",
    "attn_mask": "mask",
    "is_causal": "causal",
    "dropout_p": "leave it out: nn.MultiHeadAttention has it",
    "largest": "leave it out: the smallest are the largest of -x",
    "sorted": "leave it out: they are always sorted",
    "descending": "leave it out: md.flip turns it around",
    "stable": "leave it out: equal values always keep their order",
}


def attributes_of(module: str, names: dict[str, str]) -> Callable[[str], Any]:
    """The `__getattr__` of a module, which is called for names that it does not have."""

    def __getattr__(name: str) -> Any:
        raise AttributeError(
            f"module {module!r} has no attribute {name!r}{_instead(names, name)}", name=name
        )

    return __getattr__


class Elsewhere:
    """A name that another library has and that a class does not: reading it raises an
    AttributeError that says what to write here. A subclass or an instance may still have an
    attribute of that name.

    Each name has an object of this class, because a `__getattr__` would slow down all other
    attributes: Python then takes five times as long for each, and the engine reads a dozen per
    operation. `dir` of an object leaves these names out. `dir` of a class cannot without a
    metaclass, which would make `isinstance` twice as slow for parameters and arrays.
    """

    def __init__(self, name: str, instead: str) -> None:
        self.name, self.instead = name, instead

    def __get__(self, x: Any, cls: type) -> Any:
        raise AttributeError(
            f"{cls.__name__!r} object has no attribute {self.name!r}; here: {self.instead}",
            name=self.name,
        )


def with_names(names: dict[str, str]) -> Callable[[C], C]:
    """A class decorator that puts an `Elsewhere` under each name, and leaves the names out of `dir`
    of an instance."""

    def decorate(cls: C) -> C:
        def __dir__(self: Any) -> list[str]:
            return [
                name
                for name in object.__dir__(self)
                if not isinstance(inspect.getattr_static(self, name, None), Elsewhere)
            ]

        for name, instead in names.items():
            setattr(cls, name, Elsewhere(name, instead))
        cls.__dir__ = __dir__  # type: ignore[method-assign,assignment]
        return cls

    return decorate


def for_newcomers(function: F) -> F:
    """A decorator: if a call fails because an argument has a name that the function does not know,
    the error says what the argument is called here. Arguments are not examined before."""

    @functools.wraps(function)
    def call(*args: Any, **options: Any) -> Any:
        try:
            return function(*args, **options)
        except TypeError as error:
            inside = error.__traceback__
            # A TypeError of the call itself has no frame of the function in its traceback.
            of_call = inside is not None and inside.tb_next is None
            wrong = _wrong(function.__name__, function, args, options) if of_call else None
            if wrong is None:
                raise
        raise wrong

    return call  # type: ignore[return-value]


class Explained:
    """A base of classes whose `__init__` explains itself: if a call has arguments that it does not
    take, the error names the class that was called and the arguments that it takes."""

    if not TYPE_CHECKING:

        def __new__(cls, *args, **options):
            if args or options:  # copying and unpickling pass none
                wrong = _wrong(cls.__name__, cls.__init__, (cls, *args), options)
                if wrong is not None:
                    raise wrong
            return super().__new__(cls)


_signature = functools.lru_cache(256)(inspect.signature)  # layers are made by the dozen


def _wrong(
    where: str, function: Any, args: tuple[Any, ...], options: dict[str, Any]
) -> TypeError | None:
    """The error of a call with arguments that a function does not take; None if it takes them."""
    signature = _signature(function)
    try:
        signature.bind(*args, **options)
        return None
    except TypeError as error:
        what = str(error)
    names = [name for name in signature.parameters if name != "self"]
    unknown = next((name for name in options if name not in names), None)
    hint = ARGUMENTS.get(unknown or "", "")
    if unknown is not None:
        what = f"got an unexpected keyword argument {unknown!r}"
        if hint.startswith("leave it out") or re.split(r"\W", hint)[0] in names:
            return TypeError(f"{where}() {what}; here: {hint}")
    return TypeError(f"{where}() {what}; it takes {', '.join(names) or 'no arguments'}")


def _instead(names: dict[str, str], name: str) -> str:
    return f"; here: {names[name]}" if name in names else ""
