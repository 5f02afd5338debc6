"""Parameter updates: against the twins in float64 over several steps, all options, bad lists."""

import numpy as np
import pytest

from minidl.kernels.reference import optim as twin
from minidl_ext import optim as native
from tests.minidl_ext.common import FLOATS, THREADS, bits, eps, misaligned, strided, swapped, values

# Pieces have 16384 values; a group has parameters of every size, one shape without axes.
SHAPES = ((), (1,), (3,), (16, 17), (0, 4), (3, 3, 1, 32), (16_384,), (16_385,), (200, 251))
SGD = (
    {}, {"weight_decay": 0.01}, {"momentum": 0.9}, {"momentum": 0.9, "weight_decay": 0.01},
    {"momentum": 0.9, "nesterov": True}, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
)
ADAM = (
    {}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled": True},
    {"beta1": 0.0, "beta2": 0.5, "eps": 1e-3},
)
BOTH = pytest.mark.parametrize("name", ("sgd_update", "adam_update"))
STATES = {"sgd_update": ("velocities",), "adam_update": ("means", "squares")}


def case(name, shapes=SHAPES, dtype=np.float32, **options):
    """Keyword arguments: fresh lists of arrays, and the numbers."""
    arrays = {"params": [values(*s, dtype=dtype) for s in shapes],
              "grads": [values(*s, dtype=dtype, seed=1) for s in shapes]}
    if name == "sgd_update":
        with_state = options.get("momentum", 0) != 0
        arrays["velocities"] = [np.zeros(s, dtype) for s in shapes] if with_state else None
        return {**arrays, "lr": 0.1, **options}
    arrays |= {state: [np.zeros(s, dtype) for s in shapes] for state in STATES[name]}
    numbers = {"lr": 0.01, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0,
               "decoupled": False, "step": 1}
    return {**arrays, **numbers, **options}


def wide(arguments):
    return {key: [a.astype(np.float64) for a in value] if isinstance(value, list) else value
            for key, value in arguments.items()}


def lists_of(arguments):
    return {key: value for key, value in arguments.items() if isinstance(value, list)}


@FLOATS
@pytest.mark.parametrize(("name", "options"), [("sgd_update", options) for options in SGD]
                         + [("adam_update", options) for options in ADAM], ids=str)
def test_several_steps_are_the_twin(name, options, dtype):
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
        for got, want in zip(arrays, theirs[key], strict=True):
            np.testing.assert_allclose(got, want, rtol=20 * eps(dtype), atol=20 * eps(dtype))


def test_a_step_of_plain_descent():
    p, g = np.float32([1, 2]), np.float32([10, -10])
    native.sgd_update([p], [g], None, 0.5)
    np.testing.assert_array_equal(p, [-4, 7])


def test_the_first_step_of_adam_is_the_learning_rate():
    """m' / sqrt(s') is the gradient's sign, whatever its size (with eps far below it)."""
    arguments = case("adam_update", ((4,),), np.float64, lr=0.25, eps=1e-30)
    arguments["grads"] = [np.array([1e-8, -3.0, 1e8, 0])]
    before = arguments["params"][0].copy()
    native.adam_update(**arguments)
    np.testing.assert_allclose(arguments["params"][0], before - [0.25, -0.25, 0.25, 0], rtol=1e-12)


@FLOATS
@BOTH
def test_bad_values_stay_where_they_are(name, dtype):
    options = {"momentum": 0.9} if name == "sgd_update" else {}
    clean, spoiled = (case(name, ((500,), (40,)), dtype, **options) for _ in range(2))
    spoiled["grads"][0][[7, 499]] = np.nan, np.inf
    for arguments in (clean, spoiled):
        getattr(native, name)(**arguments)
    got, want = spoiled["params"][0], clean["params"][0]
    assert not np.isfinite(got[[7, 499]]).any()
    np.testing.assert_array_equal(np.delete(got, [7, 499]), np.delete(want, [7, 499]))
    np.testing.assert_array_equal(spoiled["params"][1], clean["params"][1])


@FLOATS
@BOTH
def test_threads_do_not_matter(name, dtype):
    options = {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1} if name == "sgd_update" \
        else {"weight_decay": 0.1}
    results = set()
    for threads in THREADS:
        arguments = case(name, dtype=dtype, **options)
        getattr(native, name)(**arguments, threads=threads)
        results.add(tuple(bits(arrays) for arrays in lists_of(arguments).values()))
    assert len(results) == 1


@BOTH
def test_empty_groups(name):
    assert getattr(native, name)(**case(name, ())) is None
    assert getattr(native, name)(**case(name, ((0,), (3, 0)))) is None


# ------------------------------------------------------------------------------ bad arguments

def refused(name, arguments, *words):
    """The call is an error that names the kernel, and it changes nothing."""
    before = {key: [np.array(a) for a in value] for key, value in lists_of(arguments).items()}
    with pytest.raises((TypeError, ValueError)) as info:
        getattr(native, name)(**arguments)
    for word in (name, *words):
        assert word in str(info.value)
    for key, arrays in before.items():
        for array, now in zip(arrays, arguments[key], strict=True):
            np.testing.assert_array_equal(array, now)


def small(name):
    return case(name, ((3,), (2, 5)), **({"momentum": 0.9} if name == "sgd_update" else {}))


ARGUMENTS = [(name, key) for name, states in STATES.items() for key in ("params", "grads", *states)]


@pytest.mark.parametrize(("name", "key"), ARGUMENTS)
@pytest.mark.parametrize("spoil", (
    strided, misaligned, swapped, lambda a: a.tolist(), lambda a: None, lambda a: 2.0,
    lambda a: a.astype(np.float16), lambda a: a.astype(np.int32), lambda a: a.astype(object),
    lambda a: a.astype(np.float64), lambda a: a.T.copy(), lambda a: a[:1].copy(), lambda a: a[None],
))
def test_bad_arrays(name, key, spoil):
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
        if key == "velocities" and value is None:
            continue                    # no momentum
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


@pytest.mark.parametrize(("name", "key", "other"), [
    (name, key, other) for name, key in ARGUMENTS for other in ("params", "grads", *STATES[name])
    if key < other])
@pytest.mark.parametrize("offset", (0, 1))
def test_arrays_that_overlap(name, key, other, offset):
    arguments, room = small(name), np.ones(4, np.float32)
    arguments[key][0], arguments[other][0] = room[:3], room[offset : offset + 3]
    refused(name, arguments, "overlap")


@pytest.mark.parametrize("step", (0, -1, 1.5, None))
def test_bad_steps(step):
    with pytest.raises((TypeError, ValueError), match=r"step|integer|float"):
        native.adam_update(**{**small("adam_update"), "step": step})
