"""These tests check the arguments norm, norm_position and zero_gamma of the models: layers, order,
training, errors.
"""

import pickle

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from minidl.models import norms, registry
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.kernel_calls import kernels_run
from tests.support.marks import small_batches

pytestmark = small_batches

# Each model has the shape of an input, the number of places for a normalization, and how many of
# these follow dense layers and shortcuts.
MODELS = {
    models.MLP: ((28, 28, 1), 1, 1, 0),
    models.MnistCNN: ((28, 28, 1), 3, 1, 0),
    models.LeNet: ((28, 28, 1), 4, 2, 0),
    models.ResNet20: ((16, 16, 3), 21, 0, 2),
    models.VGG8: ((32, 32, 3), 6, 0, 0),
    models.Mobile: ((16, 16, 3), 11, 0, 0),
    models.WRN16x4: ((16, 16, 3), 13, 0, 0),
}
KINDS = {
    "batch": nn.BatchNorm,
    "layer": nn.LayerNorm,
    "group": nn.GroupNorm,
    "instance": nn.InstanceNorm,
    "none": nn.Identity,
}
every_model = pytest.mark.parametrize("make", MODELS)
both_positions = pytest.mark.parametrize("position", norms.POSITIONS)
quiet = pytest.mark.filterwarnings("ignore:MLP. nothing is normalized")
every_kind = pytest.mark.parametrize(
    ("make", "norm"), [pytest.param(make, norm, marks=quiet) for make in MODELS for norm in KINDS]
)


def seeded(make, **options):
    md.manual_seed(0)
    return make(**options)


def batch_of(make, n=4):
    return uniform(n, *MODELS[make][0])


def inside(model, *kinds):
    """Return the layers of these classes."""
    return [layer for _, layer in model.named_layers() if type(layer) in kinds]


def shaken(layer):
    """Return the same layer with a random gamma and beta everywhere, so that their places
    matter.
    """
    for k, (name, p) in enumerate(layer.named_parameters()):
        if name.endswith(("gamma", "beta")):
            p.data = uniform(*p.shape, seed=k)
    return layer


def test_the_tables_have_everything():
    """Models that are one class with those of the tables are left out, and so is `cifar-fast`,
    which has its own tests.
    """
    others = {models.ResNet32, models.ResNet56, models.VGG16, models.CifarFast}
    assert set(registry.MODELS.values()) - others == set(MODELS)
    assert tuple(KINDS) == norms.NAMES


# ----------------------------------------------------------------------------------- the default


def test_state_names_of_the_default():
    expected = []
    for k, weight in enumerate(("conv1", "conv2", "fc1"), 1):
        of_norm = ("gamma", "beta", "running_mean", "running_var", "num_batches")
        expected += [f"{weight}.weight", *(f"bn{k}.{name}" for name in of_norm)]
    assert list(models.MnistCNN().state_dict()) == [*expected, "fc2.weight", "fc2.bias"]


@every_model
def test_the_default_is_batch_before(make):
    default = seeded(make)
    weights = [p.data for name, p in default.named_parameters() if name.endswith("weight")]
    md.manual_seed(0)
    for weight in weights:  # no other numbers are drawn, and the order is the same
        assert np.array_equal(weight, nn.init.he_normal(weight.shape))
    said = seeded(make, norm="batch", norm_position="before")
    x = batch_of(make)
    assert np.array_equal(default(x).data, said(x).data)
    one, two = default.state_dict(), said.state_dict()
    assert list(one) == list(two)
    assert all(np.array_equal(one[name], two[name]) for name in one)


@every_model
def test_the_default_runs_fused(make, monkeypatch):
    """No ReLU and no sum with a shortcut is a pass of its own. With norm(relu(x)), ReLUs are."""
    calls = kernels_run(monkeypatch, "relu", "add")
    make()(batch_of(make))
    assert "relu" not in calls
    # The bias of the last layer, and shortcuts that no normalization follows, are added separately.
    assert calls == ["add"] * (7 if make is models.WRN16x4 else 1)
    make(norm_position="after")(batch_of(make))
    assert "relu" in calls


# ------------------------------------------------------------------------------ layers and biases


@every_kind
@both_positions
def test_layers_inside(make, norm, position):
    _, places, flat, shortcuts = MODELS[make]
    model = make(norm=norm, norm_position=position)
    skipped = flat if norm == "instance" else 0
    expected = dict.fromkeys(KINDS.values(), 0)
    expected[KINDS[norm]] = places - skipped
    expected[nn.Identity] += skipped
    assert {kind: len(inside(model, kind)) for kind in KINDS.values()} == expected

    biased = [layer for layer in inside(model, nn.Conv, nn.Dense) if layer.bias is not None]
    if norm == "none":
        assert len(biased) == places + 1
    elif position == "after":
        assert len(biased) == places + 1 - shortcuts
    else:
        assert len(biased) == 1 + skipped


def test_options_of_the_layers():
    assert all(layer.affine for layer in inside(models.MnistCNN(norm="instance"), nn.InstanceNorm))
    cnn = models.MnistCNN(norm="instance")
    assert cnn.conv1.bias is None and cnn.fc1.bias.shape == (128,)
    assert type(cnn.bn2) is nn.InstanceNorm and type(cnn.bn3) is nn.Identity


@pytest.mark.parametrize("kind", [nn.BatchNorm, nn.LayerNorm, nn.RMSNorm])
@pytest.mark.parametrize("options", [{"affine": False}, {"bias": False}, {"bias": True}])
def test_a_function_gives_the_options_of_its_layers(kind, options):
    model = models.MLP(hidden=16, norm=lambda features: kind(features, **options))
    names = {name.split(".")[-1] for name, _ in model.named_parameters() if "bn" in name}
    there = {"gamma": options.get("affine", True), "beta": options.get("bias")}
    assert names == {name for name, wanted in there.items() if wanted}
    loss = md.cross_entropy(model(np.random.default_rng(0).random((8, 784), np.float32)), [0] * 8)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("hidden", "groups"), [(256, 8), (16, 8), (12, 6), (20, 5), (8, 4), (7, 1), (11, 1)]
)
def test_groups_divide_the_features(hidden, groups):
    layer = models.MLP(hidden=hidden, norm="group").bn1
    assert (layer.groups, layer.features) == (groups, hidden)


def test_places_of_the_layers():
    for position, order in (
        ("before", [nn.Conv, nn.GroupNorm, nn.ReLU]),
        ("after", [nn.Conv, nn.ReLU, nn.GroupNorm]),
    ):
        model = models.VGG8(norm="group", norm_position=position)
        block = [*order, *order, nn.MaxPool]
        assert [type(layer) for layer in model.features] == [*block * 3, nn.Flatten]
        shortcut = models.ResNet20(norm="group", norm_position=position).blocks[3].shortcut
        assert [type(layer) for layer in shortcut] == [nn.Conv, nn.GroupNorm]
        assert shortcut[0].bias is None


@every_model
def test_a_function_makes_the_layers(make):
    """This is Wu & He's layer normalization of images. The function need not be picklable."""
    features = []

    def norm(n):
        features.append(n)
        return nn.GroupNorm(1, n)

    model = make(norm=norm)
    made = inside(model, nn.GroupNorm)
    assert len(made) == len(features) == MODELS[make][1]
    assert sorted(features) == sorted(layer.features for layer in made)
    assert {layer.groups for layer in made} == {1}
    x = batch_of(make)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again(x).data, model(x).data)


def test_a_function_that_makes_no_normalization_somewhere():
    """Layers without a normalization have a bias, as with "none"."""
    model = models.MnistCNN(norm=lambda n: nn.Identity() if n == 64 else nn.BatchNorm(n))
    biased = [layer.bias is not None for layer in inside(model, nn.Conv, nn.Dense)]
    assert biased == [False, True, False, True]


# ----------------------------------------------------------------------------------------- order


def by_hand(position, norm, x, shortcut=None):
    if position == "before":
        y = norm(x)
        return md.maximum(y if shortcut is None else y + shortcut, 0.0)
    return norm(md.maximum(x if shortcut is None else x + shortcut, 0.0))


def mlp(model, position, x):
    return model.fc2(by_hand(position, model.bn1, model.fc1(x.reshape(len(x), -1))))


def mnist_cnn(model, position, x):
    x = md.max_pool(by_hand(position, model.bn1, model.conv1(x)), 2)
    x = md.max_pool(by_hand(position, model.bn2, model.conv2(x)), 2)
    return model.fc2(by_hand(position, model.bn3, model.fc1(x.reshape(len(x), -1))))


def vgg8(model, position, x):
    inner = [
        layer for layer in model.features if type(layer) in (nn.Conv, nn.BatchNorm, nn.GroupNorm)
    ]
    for k in range(6):
        x = by_hand(position, inner[2 * k + 1], inner[2 * k](x))
        x = md.max_pool(x, 2) if k % 2 else x
    return model.fc(x.reshape(len(x), -1))


def resnet20(model, position, x):
    x = by_hand(position, model.bn, model.conv(x))
    for block in model.blocks:
        shortcut = x if block.shortcut is None else block.shortcut[1](block.shortcut[0](x))
        y = by_hand(position, block.bn1, block.conv1(x))
        x = by_hand(position, block.bn2, block.conv2(y), shortcut)
    return model.fc(x.mean(axis=(1, 2)))


def mobile(model, position, x):
    x = by_hand(position, model.bn, model.conv(x))
    for block in model.blocks:
        x = by_hand(position, block.bn1, block.depthwise(x))
        x = by_hand(position, block.bn2, block.pointwise(x))
    return model.fc(x.mean(axis=(1, 2)))


def lenet(model, position, x):
    x = md.max_pool(by_hand(position, model.bn1, model.conv1(x)), 2)
    x = md.max_pool(by_hand(position, model.bn2, model.conv2(x)), 2)
    x = by_hand(position, model.bn3, model.fc1(x.reshape(len(x), -1)))
    return model.fc3(by_hand(position, model.bn4, model.fc2(x)))


def wide_resnet(model, position, x):
    x = model.conv(x)
    for block in model.blocks:
        a = by_hand(position, block.bn1, x)
        shortcut = x if block.shortcut is None else block.shortcut(a)
        x = block.conv2(by_hand(position, block.bn2, block.conv1(a))) + shortcut
    return model.fc(by_hand(position, model.bn, x).mean(axis=(1, 2)))


BY_HAND = {
    models.MLP: mlp,
    models.MnistCNN: mnist_cnn,
    models.LeNet: lenet,
    models.VGG8: vgg8,
    models.ResNet20: resnet20,
    models.Mobile: mobile,
    models.WRN16x4: wide_resnet,
}


@every_model
@pytest.mark.parametrize("norm", ["batch", "group"])
@both_positions
def test_order_of_operations(make, norm, position):
    model = shaken(seeded(make, norm=norm, norm_position=position)).astype(np.float64)
    x = md.tensor(uniform(4, *MODELS[make][0], dtype=np.float64))
    expected = BY_HAND[make](model, position, x).data
    close(model(x).data, expected, 100)
    other = BY_HAND[make](model, "after" if position == "before" else "before", x).data
    assert np.abs(expected - other).max() > 1e-3 * np.abs(expected).max()


# -------------------------------------------------------------------------------------- training


@every_kind
@both_positions
def test_a_train_step(make, norm, position):
    """A small step against the gradient lowers the loss by as much as the gradient predicts."""
    model = seeded(make, norm=norm, norm_position=position)
    x, labels = batch_of(make), np.arange(4)
    logits = model(x)
    assert logits.shape == (4, 10)
    loss = md.cross_entropy(logits, labels)
    loss.backward()
    steepness = 0.0
    for name, p in model.named_parameters():
        assert p.grad is not None and np.isfinite(p.grad).all(), name
        steepness += float(np.square(p.grad, dtype=np.float64).sum())
    part = 2e-3 * loss.item()
    optim.SGD(model.parameters(), lr=part / steepness).step()
    after = md.cross_entropy(model(x), labels).item()
    assert 0.7 * part < loss.item() - after < 1.3 * part


@every_kind
def test_only_batch_normalization_depends_on_the_batch(make, norm):
    model = seeded(make, norm=norm)
    x = batch_of(make)
    together, alone = model(x).data, model(x[:2]).data
    model.eval()
    predicted = model(x[:2]).data
    scale = np.abs(predicted).max()
    if norm == "batch":
        assert np.abs(together[:2] - alone).max() > 1e-2 * scale
        assert np.abs(together[:2] - predicted).max() > 1e-2 * scale
    else:
        close(together[:2], alone, 10)
        close(together[:2], predicted, 10)


# ------------------------------------------------------------------------------------ zero gamma


@pytest.mark.parametrize("norm", ["batch", "layer", "group", "instance", nn.RMSNorm])
def test_zero_gamma(norm):
    model = seeded(models.ResNet20, norm=norm, zero_gamma=True)
    gammas = {name: p.data for name, p in model.named_parameters() if name.endswith("gamma")}
    zero = [name for name, gamma in gammas.items() if not gamma.any()]
    assert zero == [f"blocks.{k}.bn2.gamma" for k in range(9)]
    x = batch_of(models.ResNet20)
    y = md.relu(model.bn(model.conv(x)))
    for block in model.blocks:
        shortcut = y if block.shortcut is None else block.shortcut(y)
        y = block(y)
        assert np.array_equal(y.data, md.relu(shortcut).data)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    md.cross_entropy(model(x), np.arange(4)).backward()
    optimizer.step()
    for block in model.blocks:  # except for channels that the ReLU sets to zero
        assert np.count_nonzero(block.bn2.gamma.data) > len(block.bn2.gamma) / 2


def test_without_zero_gamma_every_gamma_is_one():
    assert all((layer.gamma.data == 1).all() for layer in inside(models.ResNet20(), nn.BatchNorm))


# ---------------------------------------------------------------------------------------- errors


@every_model
def test_bad_arguments_are_refused(make):
    name = make.__name__
    choices = [f'"{norm}"' for norm in KINDS]
    for wrong in ("bath", "Batch", ""):
        with refuses(ValueError, f"{name}: norm must be", repr(wrong), *choices):
            make(norm=wrong)
    for wrong in ("Before", "behind", None):
        error, given = TypeError if wrong is None else ValueError, repr(wrong)
        with refuses(error, f"{name}: norm_position must be", given, '"before"', '"after"'):
            make(norm_position=wrong)
    for wrong, given in ((None, "None"), (8, "8"), (nn.BatchNorm(8), "BatchNorm(8")):
        with refuses(TypeError, f"{name}: norm must be", f"got {given}", *choices):
            make(norm=wrong)
    with refuses(TypeError, f"{name}: norm must return a layer", "features it returned a NoneType"):
        make(norm=lambda features: None)


def test_the_mlp_has_no_positions_for_an_instance_normalization():
    with pytest.warns(UserWarning, match="MLP: nothing is normalized.*positions") as caught:
        model = models.MLP(norm="instance")
    assert caught[0].filename == __file__
    assert type(model.bn1) is nn.Identity and model.fc1.bias is not None


@pytest.mark.parametrize("hidden", ["12", 0, 2.5])
def test_a_wrong_size_is_named_with_every_norm(hidden):
    for norm in ("batch", "group"):
        with refuses((TypeError, ValueError), "MLP: hidden", repr(hidden)):
            models.MLP(hidden=hidden, norm=norm)


def test_zero_gamma_needs_a_gamma_before_the_sum():
    for norm in ("none", lambda features: nn.BatchNorm(features, affine=False)):
        with refuses(ValueError, "ResNet20: zero_gamma", "gamma"):
            models.ResNet20(norm=norm, zero_gamma=True)
    with refuses(ValueError, "ResNet20: zero_gamma", 'norm_position="before"'):
        models.ResNet20(norm_position="after", zero_gamma=True)
