"""These tests check that the errors for names of PyTorch and Keras say what they are called
here.
"""

import copy
import importlib
import inspect
import pickle
import re

import numpy as np
import pytest

import minidl as md
from minidl import data, foreign_names, hints, models, nn, optim, train
from tests.support.cases import errors_of
from tests.support.errors import refuses
from tests.support.trainings import trainer

X = md.tensor([[1.0, 2.0]])
PAIRS = data.ArrayDataset(np.zeros((4, 2)), np.zeros(4))
MODEL = nn.Dense(2, 2)

test_errors = errors_of(
    [
        (
            lambda: X.view(2, 1),
            AttributeError,
            "'Tensor' object has no attribute 'view'; here: ",
            "reshape",
        ),
        (lambda: X.permute(1, 0), AttributeError, "'permute'", "transpose"),
        (lambda: X.unsqueeze(0), AttributeError, "'unsqueeze'", "expand_dims"),
        (lambda: X.cpu(), AttributeError, "'cpu'", "x itself", "CPU"),
        (lambda: X.to("cpu"), AttributeError, "'to'", "astype", "CPU"),
        (lambda: X.float(), AttributeError, "'float'", "astype(np.float32)"),
        (lambda: X.norm(), AttributeError, "'norm'", "md.sqrt"),
        (lambda: X.dim(), AttributeError, "'dim'", "x.ndim"),
        (lambda: X.nonsense, AttributeError, "'Tensor' object has no attribute 'nonsense'"),
        (lambda: md.cat([X, X]), AttributeError, "'cat'; here: md.concatenate"),
        (lambda: md.nonsense, AttributeError, "module 'minidl' has no attribute 'nonsense'"),
        (lambda: nn.Conv2d(1, 2, 3), AttributeError, "'minidl.nn'", "'Conv2d'", "nn.Conv", "last"),
        (lambda: nn.Linear(1, 2), AttributeError, "'Linear'; here: nn.Dense"),
        (lambda: nn.BatchNorm2d(1), AttributeError, "nn.BatchNorm"),
        (lambda: nn.CrossEntropyLoss(), AttributeError, "md.cross_entropy"),
        (lambda: nn.Module, AttributeError, "nn.Layer"),
        (lambda: data.Dataset, AttributeError, "'Dataset'", "len"),
        (lambda: optim.lr_scheduler, AttributeError, "'lr_scheduler'", "optim.StepLR"),
        (lambda: MODEL.to("cpu"), AttributeError, "'Dense' object has no attribute 'to'", "CPU"),
        (lambda: MODEL.nonsense, AttributeError, "'Dense' object has no attribute 'nonsense'"),
        (lambda: optim.SGD(MODEL.parameters(), 1).param_groups, AttributeError, "here: groups"),
        (lambda: data.DataLoader(PAIRS, num_workers=2), TypeError, "'num_workers'; here: prefetch"),
        (lambda: X.nbytes, AttributeError, "'nbytes'; here: x.data.nbytes"),
        (lambda: X.log1p(), AttributeError, "'log1p'; here: md.log(1 + x)"),
        (lambda: md.vstack([X, X]), AttributeError, "'vstack'; here: md.concatenate"),
        (lambda: nn.Conv3d(1, 1, 3), AttributeError, "'Conv3d'; here: nothing for volumes"),
        (lambda: MODEL.fit(PAIRS), AttributeError, "'fit'; here: train.Trainer"),
        (lambda: MODEL.save("net"), AttributeError, "'save'; here: models.save"),
        (lambda: optim.NAdam, AttributeError, "'NAdam'; here: optim.Adam"),
        (lambda: train.ModelCheckpoint, AttributeError, "'minidl.train'", "train.Checkpoint"),
        (lambda: models.resnet18, AttributeError, "'minidl.models'", "models.create"),
        (lambda: md.zeros(2, device="cpu"), TypeError, "zeros()", "here: leave it out"),
        (lambda: md.zeros(size=(2, 3)), TypeError, "zeros()", "here: shape"),
        (lambda: md.one_hot([1], num_classes=3), TypeError, "it takes indices, depth"),
        (lambda: md.leaky_relu(X, negative_slope=0.1), TypeError, "here: slope"),
        (lambda: X.expand_dims(dim=0), TypeError, "expand_dims()", "here: axis"),
        (lambda: X.transpose(dim0=0, dim1=1), TypeError, "transpose()", "here: leave it out"),
        (lambda: md.max_pool(X, kernel_size=2), TypeError, "max_pool()", "here: window"),
        (lambda: data.MNIST("here", train=True), TypeError, "MNIST()", "here: split"),
        (lambda: trainer(max_epochs=3), TypeError, "'max_epochs'", "fit(loader, epochs=...)"),
        (lambda: trainer(gradient_clip_val=1), TypeError, "'gradient_clip_val'; here: clip"),
        (
            lambda: trainer().fit([], validation_data=[]),
            TypeError,
            "'validation_data'; here: valid",
        ),
        (lambda: train.Checkpoint("x", save_top_k=1), TypeError, "'save_top_k'; here: keep"),
    ]
)
FUNCTIONS = [
    "sum",
    "mean",
    "var",
    "std",
    "max",
    "min",
    "argmax",
    "argmin",
    "any",
    "all",
    "softmax",
    "log_softmax",
    "logsumexp",
    "flatten",
    "squeeze",
    "stack",
    "concatenate",
    "flip",
    "sort",
    "argsort",
    "cumsum",
    "topk",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_wrong_names_of_arguments_get_a_hint(name):
    given = (X, 1) if name == "topk" else ([X, X],) if name in ("stack", "concatenate") else (X,)
    takes = list(inspect.signature(getattr(md, name)).parameters)
    for wrong, expected in (("dim", "axis"), ("keepdim", "keepdims"), ("nonsense", "sense")):
        text = f"{name}() got an unexpected keyword argument {wrong!r}; " + (
            f"here: {expected}" if expected in takes else f"it takes {', '.join(takes)}"
        )
        with refuses(TypeError, text):
            getattr(md, name)(*given, **{wrong: 0})
        if hasattr(X, name):
            with refuses(TypeError, text):
                getattr(X, name)(*given[1:], **{wrong: 0})


class Net(nn.Layer):
    """A user's layer that calls something by the wrong name."""

    def __init__(self, units):
        super().__init__(units)


test_calls_of_classes = errors_of(
    [
        (lambda: nn.Dense(units=3), TypeError, "Dense() got", "'units'; here: out_features"),
        (
            lambda: nn.Dense(3, unit=3),
            TypeError,
            "'unit'; it takes in_features, out_features, bias",
        ),
        (lambda: nn.Dense(3, 4, True, None), TypeError, "Dense() too many", "it takes in_features"),
        (lambda: nn.Dense(3), TypeError, "Dense() missing a required argument: 'out_features'; it"),
        (lambda: nn.ReLU(inplace=True), TypeError, "ReLU()", "'inplace'; here: leave it out"),
        (lambda: nn.ReLU(True), TypeError, "ReLU() too many positional", "it takes no arguments"),
        (
            lambda: nn.MultiHeadAttention(embed_dim=8, num_heads=2),
            TypeError,
            "MultiHeadAttention()",
            "'embed_dim'; here: features",
        ),
        (
            lambda: nn.LayerNorm(8, elementwise_affine=False),
            TypeError,
            "LayerNorm()",
            "here: affine",
        ),
        (lambda: nn.MaxPool(pool_size=2), TypeError, "MaxPool()", "'pool_size'; here: window"),
        (lambda: nn.LSTM(input_size=2, hidden_size=3), TypeError, "LSTM()", "here: in_features"),
        (
            lambda: optim.SGD([X], learning_rate=0.1),
            TypeError,
            "SGD()",
            "'learning_rate'; here: lr",
        ),
        (lambda: optim.AdamW([X], beta_1=0.9), TypeError, "AdamW()", "'beta_1'; here: betas"),
        (lambda: optim.CosineLR(None, T_max=9), TypeError, "CosineLR()", "'T_max'; here: steps"),
        (
            lambda: optim.ReduceOnPlateau(None, eps=1),
            TypeError,
            "ReduceOnPlateau()",
            "it takes opt",
        ),
        (
            lambda: md.avg_pool(X, 2, count_include_pad=False),
            TypeError,
            "avg_pool()",
            "here: count_padding",
        ),
        (
            lambda: md.scaled_dot_product_attention(X, X, X, is_causal=True),
            TypeError,
            "scaled_dot_product_attention()",
            "here: causal",
        ),
        (
            lambda: md.scaled_dot_product_attention(X, X, X, dropout_p=0.1),
            TypeError,
            "here: leave it out",
        ),
        (lambda: md.resize(X, 2, align_corners=False), TypeError, "resize()", "here: leave it out"),
        (
            lambda: md.resize(md.zeros(1, 2, 2, 1), 2, mode="bilinear"),
            ValueError,
            "resize: mode 'bilinear' is 'linear' here",
        ),
        (lambda: nn.Upsample(2, mode="bilinear"), ValueError, "Upsample: mode", "'linear' here"),
        (lambda: md.adaptive_avg_pool(X, output_size=2), TypeError, "here: size"),
        (lambda: md.grad(X, X, create_graph=True), TypeError, "grad()", "here: leave it out"),
        (lambda: X.backward(gradient=1), TypeError, "backward()", "'gradient'; here: grad"),
        (lambda: MODEL.zero_grad(set_to_none=True), TypeError, "zero_grad()", "here: leave it out"),
        (
            lambda: optim.SGD(MODEL.parameters(), lr=1).zero_grad(set_to_none=True),
            TypeError,
            "zero_grad()",
            "here: leave it out",
        ),
        (
            lambda: optim.clip_grad_norm(MODEL, 1, norm_type=2),
            TypeError,
            "clip_grad_norm()",
            "here: leave it out",
        ),
        (lambda: Net(), TypeError, "Net.__init__()", "'units'"),
        (lambda: Net(3), TypeError, "Layer.__init__()"),
    ]
)


@pytest.mark.parametrize(
    "kind",
    [
        value
        for module in (nn, optim)
        for name in module.__all__
        if inspect.isclass(value := getattr(module, name)) and not issubclass(value, Exception)
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_call_without_arguments_names_the_class(kind):
    try:
        kind()
    except TypeError as error:
        assert kind.__name__ in str(error)


def test_signatures_of_classes_are_those_of_their_constructors():
    class Net(nn.Sequential):
        def __init__(self, width, *, depth=2):
            super().__init__()

    class Deep(Net):
        pass

    assert not inspect.signature(nn.ReLU).parameters
    for kind in (Net, Deep):
        assert str(inspect.signature(kind)) == "(width, *, depth=2)"
    assert "width" not in inspect.signature(Deep(3)).parameters  # an instance takes its inputs


def test_errors_from_within_stay_as_they_are():
    error = TypeError("of what the function did")

    @hints.for_newcomers
    def outer(x, axis=None):
        raise error

    with pytest.raises(TypeError) as caught:
        outer(1, axis=2)
    assert caught.value is error


TABLES = {
    "TENSOR": X,
    "FUNCTIONS": md,
    "LAYERS": nn,
    "OPTIMIZERS": optim,
    "DATA": data,
    "TRANSFORMS": data.transforms,
    "TRAIN": train,
    "MODELS": models,
    "OF_LAYERS": MODEL,
    "OF_OPTIMIZERS": optim.SGD(MODEL.parameters(), lr=1),
}


@pytest.mark.parametrize("table", TABLES)
def test_no_hint_stands_for_what_there_is(table):
    have = [name for name in getattr(foreign_names, table) if hasattr(TABLES[table], name)]
    assert have == []


@pytest.mark.parametrize("table", TABLES)
def test_what_hints_name_exists(table):
    """Hints are written as md.name, nn.name, optim.name, data.name or x.name, or as a name alone,
    which has the same owner.
    """
    for text in getattr(foreign_names, table).values():
        for owner, name in re.findall(
            r"\b(md|nn|optim|data|train|models|x|model|np|T)\.(\w+)", text
        ):
            place = {"x": X, "model": nn.Layer(), "md": md, "np": np, "T": data.transforms}.get(
                owner
            )
            if place is None:
                place = importlib.import_module(f"minidl.{owner}")
            assert hasattr(place, name), text
        if re.fullmatch(r"\w+", text):
            assert hasattr(TABLES[table], text), text


@pytest.mark.parametrize("table", ["TENSOR", "OF_LAYERS", "OF_OPTIMIZERS"])
def test_names_of_others_are_not_listed(table):
    assert not set(getattr(foreign_names, table)) & set(dir(TABLES[table]))


def test_a_layer_may_have_such_names():
    class Mine(nn.Layer):
        def __init__(self):
            super().__init__()
            self.cpu, self.trainable = nn.Dense(1, 1), 3

        def to(self, x):
            return x

    mine = Mine()
    assert mine.to(2) == 2 and mine.trainable == 3 and mine.children() == [mine.cpu]
    assert {"to", "cpu", "trainable"} < set(dir(mine)) and "cuda" not in dir(mine)


def test_a_propertys_own_error_is_not_hidden():
    class Broken(nn.Layer):
        @property
        def size(self):
            return self.missing

    with refuses(AttributeError, "'Broken' object has no attribute 'missing'"):
        _ = Broken().size


def test_copies_do_not_trip_over_hints():
    for thing in (MODEL, optim.SGD(MODEL.parameters(), lr=1)):
        assert type(copy.deepcopy(thing)) is type(thing)
        assert type(pickle.loads(pickle.dumps(thing))) is type(thing)
    assert not hasattr(MODEL, "__array__")
