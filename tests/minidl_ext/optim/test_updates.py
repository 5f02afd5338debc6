"""These tests check parameter updates: beside the twins in float64 over several steps, with all
options, and with bad lists.
"""

import numpy as np
import pytest

from minidl.kernels.reference.optim import updates as twin
from minidl_ext.optim import updates as native
from tests.support.kernels import FLOATS, THREADS, bits, eps, misaligned, strided, swapped, values

# Pieces have 16384 values. The group has parameters of every size, and one shape without axes.
SHAPES = ((), (1,), (3,), (16, 17), (0, 4), (3, 3, 1, 32), (16_384,), (16_385,), (200, 251))
SGD = (
    {},
    {"weight_decay": 0.01},
    {"momentum": 0.9},
    {"momentum": 0.9, "weight_decay": 0.01},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
)
ADAM = (
    {},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "decoupled": True},
    {"beta1": 0.0, "beta2": 0.5, "eps": 1e-3},
)
RMSPROP = (
    {},
    {"weight_decay": 0.1},
    {"momentum": 0.9},
    {"centered": True},
    {"centered": True, "momentum": 0.5, "weight_decay": 0.01, "alpha": 0.9, "eps": 1e-3},
)
ADAGRAD = ({}, {"weight_decay": 0.1, "eps": 1e-3})
LARS = (
    {},
    {"momentum": 0.0},
    {"weight_decay": 0.1},
    {"weight_decay": 0.1, "momentum": 0.0},
    {"trust": 0.1, "eps": 0.5},
)
CASES = [
    (name, options)
    for name, table in (
        ("sgd_update", SGD),
        ("adam_update", ADAM),
        ("rmsprop_update", RMSPROP),
        ("adagrad_update", ADAGRAD),
        ("lars_update", LARS),
    )
    for options in table
]
NUMBERS = {
    "sgd_update": {"lr": 0.1},
    "adam_update": {
        "lr": 0.01,
        "beta1": 0.9,
        "beta2": 0.999,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "decoupled": False,
        "step": 1,
    },
    "rmsprop_update": {"lr": 0.01, "alpha": 0.99, "eps": 1e-8},
    "adagrad_update": {"lr": 0.1, "eps": 1e-10},
    "lars_update": {"lr": 2.0, "momentum": 0.9, "trust": 0.01, "eps": 1e-8},
}
# All options are on, and all states are given.
FULL = {
    "sgd_update": {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "adam_update": {"weight_decay": 0.1},
    "rmsprop_update": {"momentum": 0.9, "centered": True, "weight_decay": 0.1},
    "adagrad_update": {"weight_decay": 0.1},
    "lars_update": {"weight_decay": 0.1},
}
STATES = {
    "sgd_update": ("velocities",),
    "adam_update": ("means", "squares"),
    "rmsprop_update": ("squares", "means", "velocities"),
    "adagrad_update": ("sums",),
    "lars_update": ("velocities",),
}
EVERY = pytest.mark.parametrize("name", STATES)


def case(name, shapes=SHAPES, dtype=np.float32, **options):
    """Return keyword arguments: new lists of arrays, and the numbers."""
    options = {**NUMBERS[name], **options}
    needed = {
        "velocities": options.get("momentum", 0) != 0,
        "means": name == "adam_update" or options.pop("centered", False),
    }
    arrays = {
        "params": [values(*s, dtype=dtype) for s in shapes],
        "grads": [values(*s, dtype=dtype, seed=1) for s in shapes],
    }
    for state in STATES[name]:
        arrays[state] = [np.zeros(s, dtype) for s in shapes] if needed.get(state, True) else None
    return {**arrays, **options}


def wide(arguments):
    return {
        key: [a.astype(np.float64) for a in value] if isinstance(value, list) else value
        for key, value in arguments.items()
    }


def lists_of(arguments):
    return {key: value for key, value in arguments.items() if isinstance(value, list)}


@FLOATS
@pytest.mark.parametrize(("name", "options"), CASES, ids=str)
def test_several_steps_are_those_of_the_twin(name, options, dtype):
    ours, theirs = case(name, dtype=dtype, **options), wide(case(name, dtype=dtype, **options))
    for step in range(1, 6):
        for arguments in (ours, theirs):
            if name == "adam_update":
                arguments["step"] = step
            for i, shape in enumerate(SHAPES):
                arguments["grads"][i][...] = values(*shape, dtype=dtype, seed=step)
        gradients = [g.copy() for g in ours["grads"]]
        assert getattr(native, name)(**ours) is None
        getattr(twin, name)(**theirs)
        for given, kept in zip(ours["grads"], gradients, strict=True):
            np.testing.assert_array_equal(given, kept)
    for key, arrays in lists_of(ours).items():
        for got, expected in zip(arrays, theirs[key], strict=True):
            size = max(1, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(
                got, expected, rtol=20 * eps(dtype), atol=20 * eps(dtype) * size
            )


def test_a_step_of_plain_descent():
    p, g = np.float32([1, 2]), np.float32([10, -10])
    native.sgd_update([p], [g], None, 0.5)
    np.testing.assert_array_equal(p, [-4, 7])


def test_the_first_step_of_adam_is_the_learning_rate():
    """m' / sqrt(s') is the sign of the gradient, whatever its size, as long as eps is far below
    it.
    """
    arguments = case("adam_update", ((4,),), np.float64, lr=0.25, eps=1e-30)
    arguments["grads"] = [np.array([1e-8, -3.0, 1e8, 0])]
    before = arguments["params"][0].copy()
    native.adam_update(**arguments)
    np.testing.assert_allclose(arguments["params"][0], before - [0.25, -0.25, 0.25, 0], rtol=1e-12)


@FLOATS
@EVERY
def test_bad_values_stay_where_they_are(name, dtype):
    """The arrays have one axis. Those with more axes share a norm in LARS, which is tested
    below.
    """
    options = {} if name == "adam_update" else FULL[name]
    clean, spoiled = (case(name, ((500,), (40,)), dtype, **options) for _ in range(2))
    spoiled["grads"][0][[7, 499]] = np.nan, np.inf
    for arguments in (clean, spoiled):
        getattr(native, name)(**arguments)
    got, expected = spoiled["params"][0], clean["params"][0]
    assert not np.isfinite(got[[7, 499]]).any()
    np.testing.assert_array_equal(np.delete(got, [7, 499]), np.delete(expected, [7, 499]))
    np.testing.assert_array_equal(spoiled["params"][1], clean["params"][1])


@FLOATS
@EVERY
def test_any_number_of_threads_gives_the_same_bits(name, dtype):
    results = set()
    for threads in THREADS:
        arguments = case(name, dtype=dtype, **FULL[name])
        getattr(native, name)(**arguments, threads=threads)
        results.add(tuple(bits(arrays) for arrays in lists_of(arguments).values()))
    assert len(results) == 1


@EVERY
def test_empty_groups(name):
    assert getattr(native, name)(**case(name, ())) is None
    assert getattr(native, name)(**case(name, ((0,), (3, 0)))) is None


def test_the_first_step_of_adagrad_is_the_learning_rate():
    arguments = case("adagrad_update", ((4,),), np.float64, lr=0.25, eps=1e-30)
    arguments["grads"] = [np.array([1e-8, -3.0, 1e8, 0])]
    before = arguments["params"][0].copy()
    native.adagrad_update(**arguments)
    np.testing.assert_allclose(arguments["params"][0], before - [0.25, -0.25, 0.25, 0], rtol=1e-12)


@FLOATS
@pytest.mark.parametrize("module", (native, twin), ids=("native", "twin"))
def test_a_variance_is_never_negative(module, dtype):
    """For a gradient that does not change, s - m^2 is 0 plus a rounding error of either sign."""
    arguments = case("rmsprop_update", ((300,),), dtype, centered=True, alpha=0.5, eps=1.0)
    for _ in range(100):
        module.rmsprop_update(**arguments)
    ((mean,), (square,)) = arguments["means"], arguments["squares"]
    assert (square - mean * mean).min() < 0
    assert np.isfinite(arguments["params"][0]).all()


@FLOATS
@pytest.mark.parametrize("shape", ((3, 3, 16, 40), (130, 127), (1, 1)))
def test_a_step_of_lars_has_the_length_of_trust_times_the_parameter(shape, dtype):
    arguments = case("lars_update", (shape,), dtype, lr=1.0, trust=0.25, eps=0.0)
    before = arguments["params"][0].copy()
    native.lars_update(**arguments)
    step = np.linalg.norm((before - arguments["params"][0]).astype(np.float64))
    np.testing.assert_allclose(
        step, 0.25 * np.linalg.norm(before.astype(np.float64)), rtol=20 * eps(dtype)
    )


@pytest.mark.parametrize("module", (native, twin), ids=("native", "twin"))
@pytest.mark.parametrize("zero", ("params", "grads"))
def test_lars_scales_nothing_where_a_norm_is_zero(module, zero):
    arguments = case("lars_update", ((2, 3),), np.float64, lr=0.5, weight_decay=0.25)
    arguments[zero][0][...] = 0
    p, g = arguments["params"][0].copy(), arguments["grads"][0].copy()
    module.lars_update(**arguments)
    np.testing.assert_allclose(arguments["params"][0], p - 0.5 * (g + 0.25 * p), rtol=1e-14)


@pytest.mark.parametrize("module", (native, twin), ids=("native", "twin"))
def test_lars_leaves_parameters_of_one_axis_alone(module):
    arguments = case("lars_update", ((), (5,)), np.float64, lr=0.5, weight_decay=0.25)
    expected = [p - 0.5 * g for p, g in zip(arguments["params"], arguments["grads"], strict=True)]
    module.lars_update(**arguments)
    for got, value in zip(arguments["params"], expected, strict=True):
        np.testing.assert_allclose(got, value, rtol=1e-14)


@pytest.mark.parametrize("module", (native, twin), ids=("native", "twin"))
def test_a_bad_value_spoils_one_parameter_of_lars(module):
    clean, spoiled = (case("lars_update", ((20, 30), (4, 4), (200, 100))) for _ in range(2))
    spoiled["grads"][0][7, 7] = np.nan
    for arguments in (clean, spoiled):
        module.lars_update(**arguments)
    assert np.isnan(spoiled["params"][0]).all()
    for got, expected in zip(spoiled["params"][1:], clean["params"][1:], strict=True):
        np.testing.assert_array_equal(got, expected)


# ------------------------------------------------------------------------------ bad arguments


def refused(name, arguments, *words):
    """Check that the call raises an error that names the kernel, and changes nothing."""
    before = {key: [np.array(a) for a in value] for key, value in lists_of(arguments).items()}
    with pytest.raises((TypeError, ValueError)) as info:
        getattr(native, name)(**arguments)
    for word in (name, *words):
        assert word in str(info.value)
    for key, arrays in before.items():
        for array, now in zip(arrays, arguments[key], strict=True):
            np.testing.assert_array_equal(array, now)


def small(name):
    return case(name, ((3,), (2, 5)), **FULL[name])


OPTIONAL = {
    "sgd_update": ("velocities",),
    "lars_update": ("velocities",),
    "rmsprop_update": ("means", "velocities"),
}
ARGUMENTS = [(name, key) for name, states in STATES.items() for key in ("params", "grads", *states)]


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
@pytest.mark.parametrize(
    "spoil",
    (
        strided,
        misaligned,
        swapped,
        lambda a: a.tolist(),
        lambda a: None,
        lambda a: 2.0,
        lambda a: a.astype(np.float16),
        lambda a: a.astype(np.int32),
        lambda a: a.astype(object),
        lambda a: a.astype(np.float64),
        lambda a: a.T.copy(),
        lambda a: a[:1].copy(),
        lambda a: a[None],
    ),
)
def test_bad_arrays_are_refused(name, key, spoil):
    arguments = small(name)
    arguments[key][1] = spoil(arguments[key][1])
    before = arguments["params"][0].copy()
    with pytest.raises((TypeError, ValueError), match=name) as info:
        getattr(native, name)(**arguments)
    assert key in str(info.value) or "params" in str(info.value)
    np.testing.assert_array_equal(arguments["params"][0], before)


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
def test_lists_of_different_length(name, key):
    for change in (lambda x: x[:1], lambda x: [*x, x[0].copy()], lambda x: []):
        arguments = small(name)
        arguments[key] = change(arguments[key])
        refused(name, arguments, "params")


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
def test_no_lists_at_all(name, key):
    for value in (None, 3, iter([])):
        arguments = {**small(name), key: value}
        if value is None and key in OPTIONAL.get(name, ()):
            continue  # without momentum, and not centered
        with pytest.raises(TypeError):
            getattr(native, name)(**arguments)


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
def test_read_only_arrays(name, key):
    arguments = small(name)
    arguments[key][1].flags.writeable = False
    if key == "grads":
        assert getattr(native, name)(**arguments) is None
    else:
        refused(name, arguments, f"{key}[1] is read-only")


@pytest.mark.parametrize(
    ("name", "key", "other"),
    [
        (name, key, other)
        for name, key in ARGUMENTS
        for other in ("params", "grads", *STATES[name])
        if key < other
    ],
)
@pytest.mark.parametrize("offset", (0, 1))
def test_arrays_that_overlap(name, key, other, offset):
    arguments, room = small(name), np.ones(4, np.float32)
    arguments[key][0], arguments[other][0] = room[:3], room[offset : offset + 3]
    refused(name, arguments, "overlap")


@pytest.mark.parametrize("step", (0, -1, 1.5, None))
def test_bad_steps(step):
    with pytest.raises((TypeError, ValueError), match=r"step|integer|float"):
        native.adam_update(**{**small("adam_update"), "step": step})


@pytest.mark.parametrize("name", NUMBERS)
def test_without_weight_decay_an_infinite_parameter_stays(name):
    """A mask has such parameters (-inf), and their gradient is 0. The product 0 * inf must not be
    computed.
    """
    p, g = np.array([-np.inf, 1.0]), np.array([0.0, 0.5])
    states = {state: [np.zeros(2)] for state in STATES[name]}
    getattr(native, name)([p], [g], **states, **NUMBERS[name])
    assert p[0] == -np.inf and p[1] < 1
    assert all(np.isfinite(arrays[0]).all() for arrays in states.values())
