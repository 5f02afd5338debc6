"""These tests check that all uses of layers, values and statistics that the graph shows decide what
is folded.
"""

import collections
import copy
import dataclasses
import pickle
from types import SimpleNamespace

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from tests.support.errors import read_only, refuses
from tests.support.folding import Custom, agrees, folds_completely, images, norms, quietly, settled
from tests.support.kernel_calls import kernels_run

pytestmark = pytest.mark.usefixtures("seeded")


UNSEEN = {
    "through its array": lambda m, x: m.norm(h := m.a(x)) + md.tensor(h.data),
    "hardly": lambda m, x: m.norm(h := m.a(x)) + 1e-3 * h.data,
    "as a mask": lambda m, x: md.where((h := m.a(x)).data > 0, m.norm(h), 0.0),
    "without a gradient": lambda m, x: m.norm(h := m.a(x)) * h.detach(),
    "as an array beside the output": lambda m, x: (m.norm(h := m.a(x)), h.data.copy()),
    "as a number beside the output": lambda m, x: (m.norm(h := m.a(x)), h.mean().item()),
    "in an object": lambda m, x: SimpleNamespace(y=m.norm(h := m.a(x)), inner={"h": h.data}),
    "as the array alone": lambda m, x: m.norm(h := m.a(x)).data + h.data,
    "the norm's gamma": lambda m, x: m.norm(m.a(x)) * m.norm.gamma,
    "the norm's statistics": lambda m, x: m.norm(m.a(x)) - m.norm.running_mean,
    "the layer's weight": lambda m, x: md.matmul(m.norm(m.a(x)), m.a.weight),
    "the layer's weight, as an array": lambda m, x: m.norm(m.a(x)) * m.a.weight.data.max(),
    "the layer's weight, returned": lambda m, x: (m.norm(m.a(x)), m.a.weight),
    "a layer with the same weight": lambda m, x: m.norm(m.a(x)) + tied(m)(x),
    "as an index": lambda m, x: m.norm(h := m.a(x)) + x[md.argmax(h, axis=1) % 3],
    "in a comparison": lambda m, x: md.where((h := m.a(x)) > 0, m.norm(h), 0.0),
    "in a branch": lambda m, x: m.norm(h) if (h := m.a(x)).data.sum() > 1e9 else m.norm(h) * 2.0,
}


def tied(model):
    model.b.weight = model.a.weight
    return model.b


@pytest.mark.parametrize("name", UNSEEN)
def test_all_other_uses_are_seen(name):
    """They do not prevent other normalizations from being folded."""
    model = settled(Custom(UNSEEN[name]))
    both = nn.Sequential(settled(nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4))), model).eval()
    folded = quietly(both, images(3, 4))
    assert folded.fold_report.folded == [("0.0", "0.1")]
    assert list(folded.fold_report.left) == ["1.norm"]
    assert "in a way that the graph does not show" in folded.fold_report.left["1.norm"]


class Rectified(nn.Dense):
    def forward(self, x):
        return md.relu(super().forward(x))


class RectifiedNorm(nn.BatchNorm):
    def forward(self, x, mask=None):
        return md.relu(super().forward(x, mask))


class Noisy(nn.Identity):
    def forward(self, x):
        return 2.0 * x


class Same(nn.Dense):
    """Another class, which computes the same."""


@pytest.mark.parametrize("example", [False, True])
@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([Rectified(4, 4), nn.BatchNorm(4)], None),
        ([nn.Dense(4, 4), RectifiedNorm(4)], "of its own"),
        ([nn.Dense(4, 4), Noisy(), nn.BatchNorm(4)], None),
        ([Same(4, 4), nn.BatchNorm(4)], ""),
    ],
)
def test_classes_with_a_forward_of_their_own(layers, words, example):
    model, x = settled(nn.Sequential(*layers)), images(3, 4)
    if words == "":
        folds_completely(model, x, example)
    else:
        folded = quietly(model, *[x] * example)
        assert folded.fold_report.folded == []
        assert (words or "") in folded.fold_report.left[str(len(layers) - 1)]
        agrees(folded, model, x)


class Called(nn.Dense):
    def __call__(self, x):
        return md.relu(super().__call__(x))


class Halved(nn.Dense):
    def effective_weight(self):
        return self.weight * 0.5


@pytest.mark.parametrize("example", [False, True])
@pytest.mark.parametrize("kind", [Called, Halved])
def test_classes_that_change_more_than_forward(kind, example):
    model, x = settled(nn.Sequential(kind(4, 4), nn.BatchNorm(4))), images(3, 4)
    folded = quietly(model, *[x] * example)
    assert norms(folded) == ["1"]
    agrees(folded, model, x)


def test_integers_as_outputs_and_pairs_as_inputs():
    labels = settled(Custom(lambda m, x: m.norm(m.a(x)).argmax(axis=-1)))
    assert norms(nn.fold(labels, images(3, 4))) == []
    model = settled(Custom(lambda m, x, state, nothing: m.norm(m.a(x)) + state[0] * state[1]))
    x = images(3, 4)
    assert norms(nn.fold(model, (x, (md.tensor(x), x), None))) == []


def test_a_part_of_a_folded_model_loads_as_the_whole_does():
    layers = [nn.Dense(4, 4), nn.BatchNorm(4)]
    folded = nn.fold(settled(nn.Sequential(*layers)))
    folded[0].load_state_dict({k: v + 1 for k, v in folded[0].state_dict().items()})
    nn.Sequential(folded).load_state_dict(nn.Sequential(folded).state_dict())
    x = images(3, 4)
    np.testing.assert_allclose(
        folded(x).data, x @ folded[0].weight.data + folded[0].bias.data, rtol=1e-5, atol=1e-5
    )


class Keeps(Custom):
    """Keeps activations, and counts in a buffer."""

    def forward(self, x):
        self._seen = self.norm(self.a(x))
        self.last = [md.relu(self._seen)]
        self.calls = getattr(self, "calls", np.zeros(1)) + 1
        return self._seen


def test_what_forward_keeps_is_the_copys_own():
    model = settled(Keeps(None))
    folded = nn.fold(model, images(3, 4))
    assert norms(folded) == [] and not hasattr(folded, "calls")


@pytest.mark.parametrize(
    "use", [lambda m, x: m.norm(m.a(x), mask=None), lambda m, x: m.norm(m.a(x), None)]
)
def test_a_mask_that_is_none_is_no_mask(use):
    folds_completely(settled(Custom(use)), images(3, 4))


@dataclasses.dataclass(slots=True)
class Slotted:
    y: object
    h: object


@pytest.mark.parametrize(
    "use",
    [
        lambda m, x: Slotted(m.norm(h := m.a(x)), h),
        lambda m, x: (m.norm(h := m.a(x)), Slotted(0, h)),
        lambda m, x: (m.norm(h := m.a(x)) + h.detach()) * 1e-12,
        lambda m, x: m.norm(h := md.matmul(m.a(x), md.tensor(np.eye(4, dtype=np.float32)))) + 0 * h,
        lambda m, x: m.norm(h := m.a(x + md.zeros((4,)) * md.ones(4))) + 1e-2 * h.detach(),
    ],
)
def test_every_output_counts(use):
    """Outputs may be in containers of any kind, and may be very small."""
    folded = quietly(settled(Custom(use)), images(3, 4))
    assert norms(folded) == ["norm"]


def test_outputs_may_be_anything():
    x = images(3, 4)
    model = settled(Custom(lambda m, x: (m.norm(m.a(x)), frozenset([1]), None)))
    assert norms(nn.fold(model, x)) == []
    model = settled(Custom(lambda m, x: (m.norm(h := m.a(x)), frozenset([h]))))
    assert norms(quietly(model, x)) == ["norm"]


def test_a_model_that_insists_on_its_dtype():
    def use(m, x):
        assert x.dtype == np.float32
        return m.norm(m.a(x))

    folds_completely(settled(Custom(use)), images(3, 4))


def test_layers_in_containers_of_any_class():
    pair = collections.namedtuple("pair", "a norm")
    model = settled(
        Custom(
            lambda m, x: m.both.norm(m.both.a(x)) + m.named["b"](m.named["a"](x)),
            both=pair(nn.Dense(4, 4), nn.BatchNorm(4)),
            named=collections.OrderedDict(a=nn.Dense(4, 4), b=nn.BatchNorm(4)),
        )
    )
    model.norm = None
    folded = nn.fold(model, images(3, 4))
    assert norms(folded) == [] and folded.both._fields == ("a", "norm")


@pytest.mark.parametrize(
    "x",
    [
        np.full((3, 4), np.nan, np.float32),
        np.zeros((0, 4), np.float32),
        np.zeros((3, 4), np.float32),
    ],
    ids=["NaN", "empty", "zeros"],
)
def test_an_example_shows_as_much_whatever_its_values(x):
    model = settled(Custom(lambda m, x: m.norm(m.a(x))))
    folded = nn.fold(model, x)
    assert norms(folded) == []
    agrees(folded, model, images(3, 4))
    for use in ("through its array", "without a gradient"):
        assert norms(quietly(settled(Custom(UNSEEN[use])), x)) == ["norm"]


def test_a_forward_that_is_no_function_folds():
    model = settled(Custom(lambda m, x: m.norm(m.a(x)) + next(noise)))
    x, noise = images(3, 4), iter([0.5, 0.25, 0.25])
    folded = nn.fold(model, x)
    assert norms(folded) == []
    agrees(folded, model, x)


def test_outputs_near_zero_and_large_means_fold():
    """The decision does not depend on rounding."""
    model = settled(Custom(lambda m, x: (y := m.norm(m.a(x))) - y.mean(axis=0, keepdims=True)))
    assert norms(nn.fold(model, np.ones((3, 4), np.float32))) == []
    model.a.bias.data[...] = 1e6
    model.norm.running_mean[...] = 1e6
    assert norms(nn.fold(model, images(3, 4))) == []
    constant = md.tensor(images(3, 4))
    assert (
        norms(nn.fold(settled(Custom(lambda m, x: m.norm(m.a(x)) + constant)), images(3, 4))) == []
    )


def test_inputs_in_a_dict():
    model = settled(Custom(lambda m, d: m.norm(m.a(d["x"]))))
    folded = nn.fold(model, {"x": images(3, 4)})
    assert norms(folded) == []
    x = md.tensor(images(3, 4))
    np.testing.assert_allclose(folded({"x": x}).data, model({"x": x}).data, rtol=1e-4)


def test_the_copy_is_for_inference_and_stays_so(tmp_path):
    model = settled(models.MnistCNN())
    x = images(2, 28, 28, 1)
    folded = nn.fold(model, x)
    assert not folded.training and "Identity" in repr(folded)
    assert set(folded.state_dict()) == {
        f"{name}.{kind}" for name in ("conv1", "conv2", "fc1", "fc2") for kind in ("weight", "bias")
    }
    with pytest.raises(RuntimeError, match="does not require a gradient"):
        folded(x).sum().backward()
    for made in (
        copy.deepcopy(folded),
        pickle.loads(pickle.dumps(folded)),
        folded,
        copy.deepcopy(folded).astype(np.float64),
    ):
        for p in made.parameters():
            assert not p.requires_grad and not p.data.flags.writeable
        close_to = made(x.astype(p.dtype)).data
        np.testing.assert_allclose(close_to, model(x).data, rtol=1e-4, atol=1e-4)


def test_a_folded_state_goes_into_another_folded_copy(tmp_path):
    model, other = settled(models.MnistCNN()), models.MnistCNN().eval()
    x = images(2, 28, 28, 1)
    folded, fresh = nn.fold(model, x), nn.fold(other, x)
    fresh(x)  # keeps transformed weights, which loading must discard
    md.save(tmp_path / "folded.safetensors", folded.state_dict())
    fresh.load_state_dict(md.load(tmp_path / "folded.safetensors"))
    np.testing.assert_array_equal(fresh(x).data, folded(x).data)
    assert not fresh.conv2.weight.data.flags.writeable


def test_a_folded_residual_block_is_convolutions_alone(monkeypatch):
    names = ("add", "relu", "batch_norm_apply", "winograd_conv", "winograd_weights")
    calls = kernels_run(monkeypatch, *names)
    model = settled(models.ResNet20())
    folded = nn.fold(model, images(1, 16, 16, 3))
    for _ in range(2):
        calls.clear()
        with md.no_grad():
            folded.blocks(md.tensor(images(1, 16, 16, 16))).data.sum()
    # The second time, the weights have been transformed already.
    assert calls == ["winograd_conv"] * 16


READ_BY_NUMPY = {
    "a statistic": lambda m, x: m.norm(m.a(x)) + np.sqrt(m.norm.running_var),
    "a number": lambda m, x: m.norm(m.a(x)) * float(m.norm.running_mean.sum()),
    "a branch": lambda m, x: m.norm(m.a(x)) * (1 if m.norm.running_mean[0] > 0 else 2),
    "options": lambda m, x: m.norm(m.a(x)) + m.norm.eps * m.norm.features + m.norm.momentum,
}


@pytest.mark.parametrize("name", READ_BY_NUMPY)
def test_statistics_that_forward_reads_by_numpy_are_still_there(name):
    model, x = settled(Custom(READ_BY_NUMPY[name])), images(3, 4)
    folded = folds_completely(model, x)
    with read_only():
        folded.norm.running_mean[0] = 1
    assert not [key for key in folded.state_dict() if "running" in key]
    agrees(copy.deepcopy(folded), model, x)
    with refuses(AttributeError, "folded BatchNorm has no 'gamma'"):
        _ = folded.norm.gamma
