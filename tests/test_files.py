"""These tests check md.save, and what md.load returns: any state, the format, complete files or
none, errors.
"""

import concurrent.futures
import os
import stat

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import models, nn, optim
from tests.support.arrays import uniform
from tests.support.marks import small_batches

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float32",
    "float64",
]


def round_trip(state, folder):
    path = folder / "state.safetensors"
    md.save(path, state)
    return md.load(path)


def assert_same(found, expected):
    """Check that two values are equal in value, type, dtype, shape and nesting, where NaN equals
    NaN.
    """
    if isinstance(expected, md.Tensor):
        expected = expected.data
    assert type(found) is type(expected)
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype.newbyteorder("=") and found.shape == expected.shape
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same(a, b)
    elif isinstance(expected, float):
        np.testing.assert_array_equal(found, expected)
        assert np.signbit(found) == np.signbit(expected)
    else:
        assert found == expected


# ----------------------------------------------------------------------------- what comes back


@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
@pytest.mark.parametrize("shape", [(), (1,), (3, 4), (0,), (2, 0, 3), (2, 1, 3, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays(dtype, shape, nested, tmp_path):
    a = np.asarray(np.arange(np.prod(shape, dtype=int)) % 2 + 1, dtype).reshape(shape)
    state = {"a": a, "zero": np.zeros(shape, dtype)}
    found = round_trip({"in": state, "n": 1} if nested else state, tmp_path)
    assert_same(found["in"] if nested else found, state)


def test_arrays_keep_special_values_and_bits(tmp_path):
    rng = np.random.default_rng(0)
    state = {
        "f": np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32),
        "bits": rng.integers(0, 2**32, 1000, np.uint32).view(np.float32),
        "d": rng.normal(size=100),
    }
    found = round_trip(state, tmp_path)
    for name, value in state.items():
        assert found[name].tobytes() == value.tobytes()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4).T,
        np.asfortranarray(uniform(3, 4)),
        uniform(6, 4)[::2, ::-1],
        np.broadcast_to(np.float32(3), (2, 2)),
        np.arange(3, dtype=">f4"),
        np.arange(3, dtype=">i8"),
    ],
    ids=["transposed", "Fortran", "strided", "broadcast", "big-endian float", "big-endian int"],
)
def test_arrays_of_any_memory_order(array, tmp_path):
    assert_same(round_trip({"a": array}, tmp_path), {"a": array})


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"epoch": 3, "loss": 0.1, "name": "MnistCNN", "best": True, "none": None},
        {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "zero": -0.0},
        {"big": 2**100, "text": 'quotes " and \n and \u2211', "": "empty key"},
        {"list": [1, [2, (3, "x")], {}], "tuple": (), "deep": {"a": {"b": {"c": np.ones(2)}}}},
        {"betas": (0.9, 0.999), "params": [0, 1], "w": np.ones((2, 2)), "array": {"array": "w"}},
        [np.ones(2), {"a": np.zeros(3)}, None],
        {"a.b": np.zeros(2), "a": {"b": np.ones(3)}},  # one name for two arrays
        {"0": np.zeros(2), "x": [np.ones(1)], "x.0": np.full(4, 2.0)},
        {"__metadata__": np.ones(2)},  # a name that the format itself uses
        {"minidl": np.ones(2), "value": 3},
        {"x.y": np.zeros(1), "x.y#2": np.ones(2), "x": {"y": np.full(3, 2.0)}},
        {"x.y": np.zeros(1), "x": {"y": np.ones(2)}, "x.y#1": np.full(3, 2.0)},
        {"": np.zeros(1), "#0": np.ones(2), "#1": {"": np.full(3, 2.0)}, "a\0b": np.ones(4)},
        {"": {"a": np.zeros(1)}, "a": np.ones(2), ".a": {"": {"": np.full(3, 2.0)}}},
        {"k" * 100_000: np.zeros(1), "\u2211": {"\U0001f600": np.ones(2)}},
    ],
    ids=lambda state: str(state)[:60],
)
def test_states_of_any_nesting(state, tmp_path):
    assert_same(round_trip(state, tmp_path), state)


leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.floats(width=32), max_size=4).map(lambda v: np.array(v, np.float32)),
    st.integers(-100, 100).map(np.asarray),
)
keys = st.one_of(
    st.sampled_from(
        ["a", "b", "a.b", "a.b#1", "a#1", "#", "", ".", "0", "0.0", "array", "__metadata__"]
    ),
    st.text("a.#0", max_size=4),
    st.text(max_size=4),
)
states = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, max_size=4),
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(state=st.dictionaries(keys, states, max_size=4))
def test_any_state(state, tmp_path_factory):
    assert_same(round_trip(state, tmp_path_factory.mktemp("state")), state)


def test_scalars_of_numpy_become_numbers(tmp_path):
    found = round_trip({"lr": np.float32(0.5), "n": np.int64(3), "b": np.bool_(True)}, tmp_path)
    assert_same(found, {"lr": 0.5, "n": 3, "b": True})


def test_tensors_and_loaded_arrays_are_independent(tmp_path):
    p = nn.Parameter(uniform(2, 3))
    found = round_trip({"p": p, "q": md.ones(2) * 3}, tmp_path)
    assert_same(found, {"p": p.data, "q": np.full(2, 3, np.float32)})
    found["p"][...] = 0  # writable, and not the parameter's array
    assert p.data.any()


@small_batches
@pytest.mark.parametrize("make", [models.MLP, models.MnistCNN])
def test_a_trained_model_and_its_optimizer(make, tmp_path):
    model = make()
    optimizer = optim.Adam(model.parameters())
    md.cross_entropy(model(uniform(4, 28, 28, 1)), np.arange(4)).backward()
    optimizer.step()
    md.save(tmp_path / "model", model.state_dict())
    md.save(
        tmp_path / "all",
        {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3},
    )
    saved = md.load(tmp_path / "all")
    other = make()
    again = optim.Adam(other.parameters())
    for state in (md.load(tmp_path / "model"), saved["model"]):
        other.load_state_dict(state)
        assert_same(other.state_dict(), model.state_dict())
    again.load_state_dict(saved["optimizer"])
    assert_same(again.state_dict(), optimizer.state_dict())
    x = uniform(3, 28, 28, 1, seed=1)
    np.testing.assert_array_equal(other.predict(x), model.predict(x))


# ------------------------------------------------------------------- what is nested, what is text


def chain(depth, kind, end=None):
    """Return `end` in `depth` dicts, lists or tuples."""
    for _ in range(depth):
        end = {"k": end} if kind is dict else kind([end])
    return end


@pytest.mark.parametrize("kind", [dict, list, tuple])
def test_deep_states(kind, tmp_path):
    state = chain(100, kind, np.ones(2))
    assert_same(round_trip(state, tmp_path), state)
    for depth in (101, 5_000, 100_000):
        state = chain(depth, kind, np.ones(2))
        with pytest.raises(ValueError, match="save: the state is nested more than 100 deep"):
            md.save(tmp_path / "state.safetensors", state)
    assert_same(md.load(tmp_path / "state.safetensors"), chain(100, kind, np.ones(2)))


@pytest.mark.parametrize("make", [lambda: [1], lambda: {"a": 1}, lambda: {"a": [[2], {}]}])
def test_states_that_hold_themselves(make, tmp_path):
    state = make()
    inner = state["a"][1] if isinstance(state, dict) and isinstance(state["a"], list) else state
    if isinstance(inner, dict):
        inner["me"] = state
    else:
        inner.append(state)
    with pytest.raises(ValueError, match=r"save: a (list|dict) holds itself"):
        md.save(tmp_path / "state", state)
    shared = [np.ones(2)]
    assert_same(round_trip([shared, shared], tmp_path), [shared, shared])


@pytest.mark.parametrize(
    "state",
    [{"\udc80": 1}, {"a": "x\ud83d"}, {"a": {"\ud83d\ude00": np.ones(1)}}, {"\udc80": np.ones(1)}],
    ids=ascii,
)
def test_text_that_is_not_unicode(state, tmp_path):
    with pytest.raises(ValueError, match="is not Unicode text"):
        md.save(tmp_path / "state", state)
    assert os.listdir(tmp_path) == []


def test_what_does_not_fit_the_format(tmp_path):
    for state in ({"a": 10**5000}, {"k" * 100_000_001: np.ones(1)}):
        with pytest.raises(ValueError, match="save: this state does not fit"):
            md.save(tmp_path / "state", state)


# ---------------------------------------------------------------------------------- the format


def test_a_flat_state_is_a_plain_safetensors_file(tmp_path):
    model = models.MLP()
    path = tmp_path / "mlp.safetensors"
    md.save(str(path), model.state_dict())
    assert_same(safetensors.numpy.load_file(path), model.state_dict())
    with safetensors.safe_open(str(path), framework="np") as file:
        assert not file.metadata()


def test_arrays_of_a_nested_state_are_named_in_the_file(tmp_path):
    path = tmp_path / "state"
    md.save(path, {"model": {"fc.weight": np.ones(2)}, "moments": [np.zeros(3)], "epoch": 1})
    found = safetensors.numpy.load_file(path)
    assert_same(found, {"model.fc.weight": np.ones(2), "moments.0": np.zeros(3)})


def test_files_of_others_are_dicts_of_arrays(tmp_path):
    path = tmp_path / "other"
    state = {"w": uniform(3, 2), "n": np.asarray(4)}
    safetensors.numpy.save_file(state, path, {"format": "pt", "note": "not ours"})
    assert_same(md.load(path), state)


# ------------------------------------------------------------------------------- whole or none


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen", "fchmod"])
@pytest.mark.parametrize(
    "error", [OSError("disk full"), KeyboardInterrupt()], ids=["error", "interrupt"]
)
def test_a_failing_write_leaves_the_old_file_and_nothing_else(step, error, tmp_path, monkeypatch):
    path = tmp_path / "state"
    md.save(path, {"a": np.ones(2)})
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(type(error)):
            md.save(path, {"a": np.zeros(1000)})
        if step != "fchmod":
            with pytest.raises(type(error)):
                md.save(tmp_path / "new", {"a": np.zeros(1000)})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["state"]
    md.save(path, {"a": np.zeros(3)})
    assert_same(md.load(path), {"a": np.zeros(3)})


def test_what_cannot_be_saved_leaves_the_old_file(tmp_path):
    path = tmp_path / "state"
    md.save(path, {"a": np.ones(2)})
    for bad in ({"a": {1, 2}}, {"a": np.array([None])}):
        with pytest.raises(TypeError):
            md.save(path, bad)
    assert_same(md.load(path), {"a": np.ones(2)})
    assert os.listdir(tmp_path) == ["state"]


def test_the_contents_are_on_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def noting(*arguments, name=name, real=real):
            order.append(name)
            return real(*arguments)

        monkeypatch.setattr(os, name, noting)
    md.save(tmp_path / "state", {"a": np.ones(2)})
    assert order[:2] == ["fsync", "replace"]


@pytest.mark.skipif(os.name != "posix", reason="links and permissions of POSIX")
def test_links_stay_and_modes_are_kept(tmp_path):
    """`replace_file` keeps them."""
    real, link = tmp_path / "real", tmp_path / "link"
    md.save(real, {"a": np.ones(2)})
    real.chmod(0o600)
    link.symlink_to("real")
    md.save(link, {"a": np.zeros(2)})
    assert link.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o600
    assert_same(md.load(real), {"a": np.zeros(2)})
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(OSError, match=r"expected a (regular )?file, found a (folder|FIFO)"):
            md.save(path, {})


def test_threads_that_save_to_one_path_leave_one_state_whole(tmp_path):
    states = [{"a": np.full(1000, i), "b": np.full(1000, i)} for i in range(4)]

    def save(state):
        for _ in range(5):
            md.save(tmp_path / "state", state)
            found = md.load(tmp_path / "state")
            assert np.all(found["a"] == found["b"]) and found["a"].min() == found["a"].max()

    with concurrent.futures.ThreadPoolExecutor(len(states)) as pool:
        list(pool.map(save, states))
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize(
    "value, words",
    [
        ({1, 2}, "set"),
        (b"x", "bytes"),
        (1j, "complex"),
        (print, "builtin_function_or_method"),
        (object(), "object"),
        (nn.Dense(1, 1), r"a Dense .*; of it state_dict\(\) can be saved"),
        (np.array([None]), "object"),
        (np.array(["x"]), "str"),
        (np.array(["2020"], "M8[s]"), "datetime64"),
        (np.ones(2, complex), "complex128"),
        (np.ones(2, np.longdouble), "float|longdouble"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_what_cannot_be_saved_is_named(value, words, nested, tmp_path):
    state = {"model": {"odd": value}} if nested else {"odd": value}
    with pytest.raises(TypeError, match=words) as info:
        md.save(tmp_path / "state", state)
    assert ("model.odd" if nested else "odd") in str(info.value)
    with pytest.raises(TypeError, match="path comes first"):
        md.save(state, tmp_path / "state")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", [1, None, ("a", "b")])
def test_keys_must_be_strings(key, tmp_path):
    with pytest.raises(TypeError, match="keys must be strings"):
        md.save(tmp_path / "state", {"a": {key: np.ones(2)}})


def test_a_folder_that_is_missing_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        md.save(tmp_path / "missing" / "state", {})
