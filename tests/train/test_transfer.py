"""These tests check fine-tuning: weights for other classes and sizes, heads, freezing."""

import numpy as np
import pytest

import minidl as md
from minidl import models, nn, optim
from minidl.train.transfer import freeze_but, head_of, options_of, transferred
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.trainings import same_bits

pytestmark = small_batches

NAMES = [name for name in models.names() if name != "vgg16"]  # a vgg8 with more of the same layers
OPTIONS = {"cifar-fast": {"widths": (8, 8, 8)}, "mlp": {"hidden": 16}}
CLASSES = ["cat", "dog", "owl"]


def saved(name, classes=CLASSES, **options):
    """Save a model with weights and statistics that no model has at its start."""
    options = {"input_shape": (12, 12, 3), **OPTIONS.get(name, {}), **options}
    md.manual_seed(1)
    model = models.create(name, classes=len(classes), **options)
    rng = np.random.default_rng(0)
    model.load_state_dict(
        {
            key: value + rng.random(value.shape).astype(value.dtype)
            for key, value in model.state_dict().items()
        }
    )
    return models.Saved(model.eval(), classes)


def equal(a, b):
    return a.shape == b.shape and a.tobytes() == b.tobytes()


def differing(a, b):
    return {name for name in a if not equal(a[name], b[name])}


@pytest.mark.parametrize("name", NAMES)
def test_all_but_the_head_is_taken(name):
    given = saved(name)
    new = transferred(given, ("fish", "frog"), given.model.input_shape, freeze=False)
    assert type(new) is type(given.model) and new.classes == 2
    assert new.config() == {**given.model.config(), "classes": 2}
    head = differing(given.model.state_dict(), new.state_dict())
    assert head == head_of(new) and 1 <= len(head) <= 2
    for p, q in zip(new.parameters(), given.model.parameters(), strict=True):
        assert p.requires_grad == q.requires_grad
    assert new(uniform(2, *given.model.input_shape)).shape == (2, 2)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_classes_keep_the_head(name):
    given = saved(name)
    assert same_bits(
        transferred(given, tuple(CLASSES), given.model.input_shape, False), given.model
    )


def test_as_many_other_classes_do_not():
    given = saved("resnet20")
    for classes in (("cat", "owl", "dog"), ("a", "b", "c")):
        new = transferred(given, classes, (12, 12, 3), False)
        assert "fc.weight" in differing(given.model.state_dict(), new.state_dict())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("classes", [("fish", "frog"), tuple(CLASSES)])
def test_frozen_but_for_the_head(name, classes):
    """After training steps with decay and momentum, weights and BatchNorm's statistics have the
    same bits.
    """
    given = saved(name)
    new = transferred(given, classes, given.model.input_shape, freeze=True)
    before = new.state_dict()
    optimizer = optim.SGD(new.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)
    new.train()
    for step in range(3):
        optimizer.zero_grad()
        x = uniform(4, *given.model.input_shape, seed=step)
        md.cross_entropy(new(x), np.arange(4) % len(classes)).backward()
        optimizer.step()
    assert differing(before, new.state_dict()) == head_of(new)


def test_dropout_of_a_frozen_body_is_off_and_it_normalizes_as_in_evaluation():
    """What is frozen is a fixed function: the same picture gives the same features."""
    given = saved("vgg8")
    new = transferred(given, ("fish", "frog"), (12, 12, 3), freeze=True)
    x = uniform(4, 12, 12, 3)
    new.train()
    np.testing.assert_array_equal(new(x).data, new(x).data)
    outputs = new(x).data
    np.testing.assert_allclose(outputs, new.eval()(x).data, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "mobile", "cifar-fast", "wrn-16-4"])
def test_pictures_of_another_size(name):
    shape = (20, 16, 3)
    new = transferred(saved(name), ("fish", "frog"), shape, False)
    assert new.input_shape == shape and new(uniform(1, *shape)).shape == (1, 2)


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_weights_that_depend_on_the_size(name):
    given = saved(name)
    with refuses(ValueError, "size", "12 x 12", type(given.model).__name__):
        transferred(given, ("fish", "frog"), (16, 16, 3), False)


def test_other_channels():
    with refuses(ValueError, "3 channels", "the pictures have 1"):
        transferred(saved("resnet20"), ("fish", "frog"), (12, 12, 1), False)


def test_a_user_defined_class():
    given = models.Saved(nn.Sequential(nn.Dense(2, 2)), ["a", "b"])
    with refuses(ValueError, "minidl.models", "Sequential"):
        transferred(given, ("fish", "frog"), (2, 2, 3), False)
    with refuses(ValueError, "minidl.models", "Sequential"):
        options_of(given)


def test_the_model_that_was_given_stays_as_it_was():
    given = saved("resnet20")
    before = {name: value.copy() for name, value in given.model.state_dict().items()}
    new = transferred(given, tuple(CLASSES), (12, 12, 3), freeze=True)
    for p in new.parameters():
        p.data = p.data + 1
    assert not differing(before, given.model.state_dict())
    assert all(p.requires_grad for p in given.model.parameters())


def test_options_are_those_that_the_pictures_do_not_decide():
    given = saved("resnet20", norm="group", norm_position="after")
    found = options_of(given)
    assert found["norm"] == "group" and found["norm_position"] == "after"
    assert "classes" not in found and "input_shape" not in found
    assert transferred(given, ("a", "b"), (12, 12, 3), False).config()["norm"] == "group"


def test_it_draws_from_the_generator_what_a_new_model_draws():
    """Therefore runs are reproducible."""
    given, draws = saved("resnet20"), []
    for _ in range(2):
        md.manual_seed(5)
        new = transferred(given, ("fish", "frog"), (12, 12, 3), False)
        draws.append((new.state_dict()["fc.weight"].tobytes(), md.rand(1).item()))
    assert draws[0] == draws[1]


def test_freeze_but():
    model = models.create("lenet")
    names = head_of(model)
    freeze_but(model, names)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == names
