"""These tests check folding: outputs are the same without BatchNorm where that is possible, and
nothing else changes.
"""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn
from tests.support.folding import Custom, agrees, folds_completely, images, norms, quietly, settled
from tests.support.marks import every_model, small_batches

pytestmark = pytest.mark.usefixtures("seeded")
FLOATS = pytest.mark.parametrize("dtype", [np.float32, np.float64])


SEQUENCES = {
    "dense": (
        lambda: [nn.Dense(6, 5, bias=False), nn.BatchNorm(5), nn.ReLU(), nn.Dense(5, 3)],
        (4, 6),
    ),
    "dense on sequences": (lambda: [nn.Dense(6, 5), nn.BatchNorm(5)], (4, 7, 6)),
    "conv with bias": (lambda: [nn.Conv(3, 5, 3, 2, padding=1), nn.BatchNorm(5)], (2, 7, 7, 3)),
    "grouped": (
        lambda: [nn.Conv(4, 6, 3, groups=2, bias=False), nn.BatchNorm(6), nn.Tanh()],
        (2, 6, 6, 4),
    ),
    "depthwise": (
        lambda: [nn.Conv(16, 16, 3, padding=1, groups=16), nn.BatchNorm(16), nn.ReLU()],
        (2, 6, 6, 16),
    ),
    "winograd": (
        lambda: [nn.Conv(16, 32, 3, padding=1, bias=False), nn.BatchNorm(32), nn.ReLU()],
        (2, 9, 9, 16),
    ),
    "affine off": (lambda: [nn.Conv(3, 5, 1), nn.BatchNorm(5, affine=False)], (2, 4, 4, 3)),
    "bias off": (lambda: [nn.Conv(3, 5, 1), nn.BatchNorm(5, bias=False)], (2, 4, 4, 3)),
    "transposed": (lambda: [nn.ConvTranspose(4, 6, 3, 2, groups=2), nn.BatchNorm(6)], (2, 4, 4, 4)),
    "uneven padding": (
        lambda: [
            nn.Conv(16, 32, 3, padding=((2, 0), (0, 1)), bias=False),
            nn.BatchNorm(32),
            nn.ReLU(),
        ],
        (2, 7, 7, 16),
    ),
    "sequences": (
        lambda: [
            nn.Conv1d(4, 6, 3, padding="causal", groups=2, bias=False),
            nn.BatchNorm(6),
            nn.ReLU(),
        ],
        (2, 7, 4),
    ),
    "across an Identity": (
        lambda: [nn.Conv(3, 4, 3), nn.Identity(), nn.Identity(), nn.BatchNorm(4)],
        (2, 5, 5, 3),
    ),
    "nested": (
        lambda: [
            nn.Sequential(nn.ReLU(), nn.Conv(3, 4, 3)),
            nn.Sequential(nn.Sequential(nn.BatchNorm(4)), nn.ReLU()),
        ],
        (2, 5, 5, 3),
    ),
    "several": (
        lambda: [
            nn.Conv(3, 4, 3),
            nn.BatchNorm(4),
            nn.Conv(4, 5, 1),
            nn.BatchNorm(5),
            nn.Flatten(),
            nn.Dense(45, 3),
            nn.BatchNorm(3),
        ],
        (2, 5, 5, 3),
    ),
    "eps 0": (lambda: [nn.Conv(3, 5, 1), nn.BatchNorm(5, eps=0)], (2, 4, 4, 3)),
    "with options": (
        lambda: [nn.Conv(3, 5, 1), nn.BatchNorm(5, ghost_batch=2, renorm=True)],
        (2, 4, 4, 3),
    ),
    "weight norm": (lambda: [nn.weight_norm(nn.Conv(3, 5, 3)), nn.BatchNorm(5)], (2, 4, 4, 3)),
    "weight standardization": (
        lambda: [nn.weight_standardization(nn.Dense(6, 5)), nn.BatchNorm(5)],
        (4, 6),
    ),
}


@FLOATS
@pytest.mark.parametrize("example", [False, True])
@pytest.mark.parametrize("name", SEQUENCES)
def test_neighbours(name, example, dtype):
    layers, shape = SEQUENCES[name]
    folds_completely(settled(nn.Sequential(*layers()), dtype), images(*shape, dtype=dtype), example)


@FLOATS
@every_model
def test_models(model, shape, dtype):
    folds_completely(settled(model(), dtype), images(*shape, dtype=dtype))


def test_without_an_example_forward_methods_are_left_alone_and_named():
    model = settled(models.ResNet20())
    folded = quietly(model)
    shortcuts = ["blocks.3.shortcut.1", "blocks.6.shortcut.1"]
    assert [pair[1] for pair in folded.fold_report.folded] == shortcuts
    assert set(folded.fold_report.left) == set(norms(model)) - set(shortcuts)
    assert norms(folded) == [name for name in norms(model) if name not in shortcuts]
    agrees(folded, model, images(2, 16, 16, 3))


LEFT = {
    "output used twice": (lambda m, x: m.norm(h := m.a(x)) + h, "elsewhere"),
    "output returned": (lambda m, x: (m.norm(h := m.a(x)), h), "elsewhere"),
    "after an activation": (lambda m, x: m.norm(md.relu(m.a(x))), "not the output"),
    "first": (lambda m, x: m.a(m.norm(x)), "not the output"),
    "changed on the way": (lambda m, x: m.norm(m.a(x) * 2.0), "not the output"),
    "not reached": (lambda m, x: m.a(x), "does not reach"),
    "mask": (lambda m, x: m.norm(m.a(x), mask=np.array([True, False, True])), "mask"),
    "layer also used alone": (lambda m, x: m.norm(m.a(x)) + m.a(2.0 * x), "several times"),
    "norm also used alone": (lambda m, x: m.norm(m.a(x)) + m.norm(x), "not the output"),
    "trained by forward": (lambda m, x: m.norm.train()(m.a(x)), "training mode"),
}


@small_batches
@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_folded_is_left_alone_with_a_reason(name):
    use, reason = LEFT[name]
    model = settled(Custom(use))
    x = images(3, 4)
    folded = quietly(model, x)
    assert list(folded.fold_report.left) == ["norm"] and reason in folded.fold_report.left["norm"]
    assert folded.fold_report.folded == [] and norms(folded) == ["norm"]
    outputs = model(x), folded(x)
    for one, other in zip(*[o if isinstance(o, tuple) else (o,) for o in outputs], strict=True):
        np.testing.assert_allclose(one.data, other.data, rtol=1e-6)


FOLDED = {
    "plain": (lambda m, x: m.norm(m.a(x)), ["a"]),
    "one layer, called twice": (lambda m, x: m.norm(m.a(x)) + m.norm(m.a(3.0 * x)), ["a"]),
    "one norm for two layers": (lambda m, x: m.norm(m.a(x)) + m.norm(m.b(x)), ["a", "b"]),
    "residual": (lambda m, x: md.relu(m.norm(m.a(md.relu(m.b(x)))) + x), ["a"]),
    "frozen parameters": (lambda m, x: m.norm(m.a.freeze()(x)), ["a"]),
}


@pytest.mark.parametrize("name", FOLDED)
def test_what_an_example_shows(name):
    use, into = FOLDED[name]
    model = settled(Custom(use))
    x = images(3, 4)
    folded = nn.fold(model, x)
    assert folded.fold_report.folded == [(layer, "norm") for layer in into]
    agrees(folded, model, x)
    agrees(folded, model, 2 * images(5, 4) + 1)  # the result does not depend on the example


def test_several_inputs_and_images_of_bytes():
    model = settled(Custom(lambda m, x, y: m.norm(m.a(x)) + m.b(y)))
    x, y = images(3, 4), images(3, 4)
    folded = nn.fold(model, (x, y))
    np.testing.assert_allclose(folded(x, y).data, model(x, y).data, rtol=1e-5, atol=1e-5)
    cnn = settled(models.MnistCNN())
    bytes_ = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1), dtype=np.uint8)
    folded = nn.fold(cnn, bytes_)
    np.testing.assert_allclose(folded.predict(bytes_), cnn.predict(bytes_), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("example", [False, True])
def test_norms_of_the_batch_and_hooks_are_left_alone(example):
    x = images(6, 4)
    for change, reason in (
        (lambda m: setattr(m[1], "x", None) or m, None),
        (lambda m: m[0].register_forward_hook(lambda *_: None), "hook"),
        (lambda m: m[1].register_forward_hook(lambda *_: None), "hook"),
    ):
        model = settled(nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4)))
        change(model)
        if reason is None:
            assert norms(nn.fold(model, *[x] * example)) == []
        else:
            assert reason in quietly(model, *[x] * example).fold_report.left["1"]
    model = nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4, track_stats=False)).eval()
    folded = quietly(model, *[x] * example)
    assert "statistics of each batch" in folded.fold_report.left["1"]
    agrees(folded, model, x)


def test_shared_layers_in_sequences_are_left_alone():
    dense, norm = nn.Dense(4, 4), nn.BatchNorm(4)
    model = settled(nn.Sequential(dense, norm, dense))
    assert "several places" in quietly(model).fold_report.left["1"]
    model = settled(nn.Sequential(nn.Dense(4, 4), norm, nn.ReLU(), norm))
    assert norms(quietly(model)) == ["1"]
    inside = nn.Sequential(nn.BatchNorm(4), nn.Dense(4, 4))
    model = settled(nn.Sequential(inside, inside))
    assert "several places" in quietly(model).fold_report.left["0.0"]


def test_an_attribute_of_a_sequence_is_not_its_last_layer():
    class Before(nn.Layer):
        def __init__(self):
            super().__init__()
            self.steps = nn.Sequential(nn.Dense(4, 4))
            self.steps.norm = nn.BatchNorm(4)

        def forward(self, x):
            return self.steps(self.steps.norm(x))

    model, x = settled(Before()), images(3, 4)
    folded = quietly(model)
    assert "no Sequential says what feeds it" in folded.fold_report.left["steps.norm"]
    agrees(folded, model, x)


@pytest.mark.parametrize("example", [False, True], ids=["by order", "by example"])
def test_a_sequence_that_leads_back_to_itself(example):
    model = nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4))
    model.places = [model]
    x = images(3, 4)
    folded = nn.fold(settled(model), *[x] * example)
    assert folded.fold_report.folded == [("0", "1")]
    agrees(folded, model, x)


def test_training_mode_is_refused():
    for model in (models.MLP(), nn.Sequential(nn.Dense(4, 4), nn.BatchNorm(4).train()).eval()):
        model[1].train() if isinstance(model, nn.Sequential) else None
        with pytest.raises(ValueError, match=r"training mode.*eval\(\)"):
            nn.fold(model)
    with pytest.raises(TypeError, match="model must be a Layer, got function"):
        nn.fold(lambda x: x)


def test_folding_without_recording_sees_as_much():
    model = settled(Custom(LEFT["output used twice"][0]))
    with md.no_grad():
        assert norms(quietly(model, images(3, 4))) == ["norm"]
