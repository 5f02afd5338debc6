"""These tests check which entry of a state belongs to which entry of a model, and what is left."""

import numpy as np
import pytest

import minidl as md
from minidl import nn
from minidl.torch.matching import fits
from tests.support.arrays import uniform
from tests.support.errors import refuses


def net(classes=3):
    return nn.Sequential(
        nn.Conv(3, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.GlobalAvgPool(), nn.Dense(4, classes)
    )


@pytest.fixture
def theirs():
    model = net()
    for k, p in enumerate(model.parameters()):
        p.data = uniform(*p.shape, seed=k)
    return md.torch.state_dict(model, arrays=True)


def renamed(state, **names):
    """Return a state with other names for layers."""
    return {
        f"{names['_' + name.split('.')[0]]}.{name.partition('.')[2]}": array
        for name, array in state.items()
    }


def same(model, theirs):
    ours = md.torch.state_dict(model, arrays=True)
    return all(np.array_equal(a, b) for a, b in zip(ours.values(), theirs.values(), strict=True))


def test_by_name(theirs):
    model = net()
    report = md.torch.load_state(model, dict(reversed(theirs.items())))
    assert same(model, theirs)
    assert report.loaded["1.num_batches_tracked"] == "1.num_batches"
    assert set(report.loaded) == set(theirs) and report.missing == report.unexpected == []


def test_by_order(theirs):
    model = net()
    given = renamed(theirs, _0="body.c", _1="body.norm", _4="head")
    assert md.torch.load_state(model, given).loaded["head.bias"] == "4.bias"
    assert same(model, theirs)


def test_the_order_of_a_sorted_file_says_nothing(theirs):
    model = net()
    before = model.state_dict()
    given = renamed(theirs, _0="c", _1="b", _4="a")
    with refuses(
        nn.StateError, "sorted by name", "give a mapping", "missing: 0.weight", "c.weight"
    ):
        md.torch.load_state(model, dict(sorted(given.items())))
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())
    md.torch.load_state(model, dict(sorted(given.items())), {"0": "c", "1": "b", "4": "a"})
    assert same(model, theirs)


def test_numbers_that_are_sorted_as_text():
    model = nn.Sequential(*[nn.Dense(2, 2, bias=False) for _ in range(11)])
    theirs = {f"x.{k}.weight": np.full((2, 2), k) for k in range(11)}
    with refuses(nn.StateError, "sorted by name"):
        md.torch.load_state(model, dict(sorted(theirs.items())))
    md.torch.load_state(model, theirs)
    assert [layer.weight.data[0, 0] for layer in model] == list(range(11))


def test_a_prefix(theirs):
    model = net()
    given = {f"module.{name}": array for name, array in sorted(theirs.items())}
    md.torch.load_state(model, given, mapping={"": "module"})
    assert same(model, theirs)


def test_a_mapping_of_layers_and_entries(theirs):
    model = net()
    given = dict(theirs)
    given["head.weight"], given["head.shift"] = given.pop("4.weight"), given.pop("4.bias")
    md.torch.load_state(model, given, {"4": "head", "4.bias": "head.shift"})
    assert same(model, theirs)


def test_the_longest_name_of_a_mapping_counts(theirs):
    given = {f"a.{name}": array for name, array in theirs.items()}
    given["b.weight"], given["b.bias"] = given.pop("a.4.weight"), given.pop("a.4.bias")
    model = net()
    md.torch.load_state(model, given, {"": "a", "4": "b"})
    assert same(model, theirs)


@pytest.mark.parametrize(
    ("mapping", "words"),
    [({"5": "4"}, ("model has nothing named '5'",)), ({"4": "head"}, ("state", "'head'"))],
)
def test_a_mapping_of_what_is_not_there(theirs, mapping, words):
    with refuses(nn.StateError, "mapping", *words):
        md.torch.load_state(net(), theirs, mapping)


def test_everything_that_is_left_is_listed_and_nothing_is_loaded(theirs):
    model = net()
    before = model.state_dict()
    given = {name: array for name, array in theirs.items() if name != "4.bias"}
    given["1.weight"] = np.ones(7)
    given["more.weight"] = np.ones((2, 2))
    with refuses(
        nn.StateError,
        "missing: 1.gamma",
        "4.bias",
        "unexpected:",
        "more.weight",
        "wrong: 1.weight: (4,) expected, got (7,)",
    ):
        md.torch.load_state(model, given)
    assert all(np.array_equal(a, before[name]) for name, a in model.state_dict().items())


def test_the_first_layer_that_does_not_fit_is_named(theirs):
    given = renamed(theirs, _0="a", _1="b", _4="c")
    given["c.weight"] = np.ones((5, 4))
    with refuses(
        nn.StateError,
        "'4' (weight (3, 4), bias (3,)) meets 'c' (weight (5, 4)",
        "missing: 4.weight, 4.bias",
        "unexpected: c.weight, c.bias",
    ):
        md.torch.load_state(net(), given)


def test_another_number_of_layers(theirs):
    model = nn.Sequential(*net()[:2])
    with refuses(nn.StateError, "unexpected: 4.weight, 4.bias"):
        md.torch.load_state(model, theirs)
    with refuses(nn.StateError, "the model has 2 layers that hold something, the state 3"):
        md.torch.load_state(model, renamed(theirs, _0="a", _1="b", _4="c"))


@pytest.mark.parametrize(
    "names", [{"_0": "0", "_1": "1", "_4": "4"}, {"_0": "a", "_1": "b", "_4": "c"}]
)
def test_a_new_head(theirs, names):
    """Without `strict`, layers that do not fit stay as they are."""
    model = net(classes=9)
    before = model[4].weight.data.copy()
    report = md.torch.load_state(model, renamed(theirs, **names), strict=False)
    assert report.missing == ["4.weight", "4.bias"]
    assert report.unexpected == [f"{names['_4']}.weight", f"{names['_4']}.bias"]
    assert np.array_equal(model[0].weight.data.transpose(3, 2, 0, 1), theirs["0.weight"])
    assert np.array_equal(model[4].weight.data, before)


def test_part_of_a_state(theirs):
    model = net()
    part = {name: array for name, array in theirs.items() if name[0] == "0"}
    report = md.torch.load_state(model, part, strict=False)
    assert set(report.loaded) == {"0.weight", "0.bias"} and "4.bias" in report.missing


def test_states_without_a_count_of_batches(theirs):
    model = net()
    model[1].num_batches[...] = 7
    del theirs["1.num_batches_tracked"]
    for given in (theirs, renamed(theirs, _0="a", _1="b", _4="c")):
        assert md.torch.load_state(model, given).missing == ["1.num_batches"]
        assert model[1].num_batches == 7


def test_one_by_one_convolutions_are_dense_layers():
    model = nn.Sequential(nn.Dense(4, 3), nn.Conv(3, 2, 1))
    weights = uniform(3, 4, 1, 1), uniform(2, 3)
    md.torch.load_state(
        model,
        {
            "0.weight": weights[0],
            "0.bias": np.ones(3),
            "1.weight": weights[1],
            "1.bias": np.ones(2),
        },
    )
    assert np.array_equal(model[0].weight.data.T, weights[0][:, :, 0, 0])
    assert np.array_equal(model[1].weight.data[0, 0].T, weights[1])


def test_shapes_that_fit():
    assert fits((8, 3, 1, 5), (8, 3, 5)) and fits((8, 3), (8, 3, 1, 1)) and fits((), ())
    assert not fits((8, 3, 5), (8, 5, 3)) and not fits((1, 8), (8,)) and not fits((4,), (5,))


def shared():
    layer = nn.Dense(4, 4)
    return nn.Sequential(layer, nn.ReLU(), layer)


def test_a_layer_in_two_places():
    model, twice = shared(), shared()
    theirs = md.torch.state_dict(model, arrays=True)
    assert list(theirs) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    once = {name: array for name, array in theirs.items() if name[0] == "0"}
    other = {f"x.{name}": array for name, array in theirs.items()}
    for given in (theirs, once, other, {f"x.{name}": a for name, a in once.items()}):
        md.torch.load_state(twice, given)
        assert np.array_equal(twice[0].weight.data, model[0].weight.data)
        twice[0].weight.data = np.zeros((4, 4), np.float32)
    theirs["2.bias"] = theirs["2.bias"] + 1
    with refuses(nn.StateError, "2.bias", "another place"):
        md.torch.load_state(twice, theirs)


def test_like_another_state(theirs):
    given = renamed(theirs, _0="a", _1="b", _4="c")
    found = md.torch.state_dict(net(), like=given, arrays=True)
    assert list(found) == list(given)
    assert all(found[name].shape == array.shape for name, array in given.items())
    del given["c.bias"]
    with refuses(
        nn.StateError, "like:", "without a place: 4.weight, 4.bias", "without a value: c.weight"
    ):
        md.torch.state_dict(net(), like=given, arrays=True)


def test_other_names_for_what_goes_out():
    names = list(md.torch.state_dict(net(), {"": "module", "4": "head"}, arrays=True))
    assert names[0] == "module.0.weight" and names[-1] == "head.bias"
    with refuses(ValueError, "two entries", "'x.weight'"):
        md.torch.state_dict(
            nn.Sequential(nn.Dense(2, 2), nn.Dense(2, 2)), {"0": "x", "1": "x"}, arrays=True
        )
