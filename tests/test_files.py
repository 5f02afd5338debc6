"""md.save and md.load: what comes back, the format, whole files or none, foreign and damaged."""

import os
import stat

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl as md
from minidl import models, nn, optim
from tests.harness import small_batches, uniform

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64",
          "float16", "float32", "float64"]


def round_trip(state, folder):
    path = folder / "state.safetensors"
    md.save(path, state)
    return md.load(path)


def assert_same(found, expected):
    """Equal in value, type, dtype, shape and nesting; NaN equals NaN."""
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
    state = {"f": np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32),
             "bits": rng.integers(0, 2**32, 1000, np.uint32).view(np.float32),
             "d": rng.normal(size=100)}
    found = round_trip(state, tmp_path)
    for name, value in state.items():
        assert found[name].tobytes() == value.tobytes()


@pytest.mark.parametrize("array", [
    np.arange(12.0).reshape(3, 4).T, np.asfortranarray(uniform(3, 4)), uniform(6, 4)[::2, ::-1],
    np.broadcast_to(np.float32(3), (2, 2)), np.arange(3, dtype=">f4"), np.arange(3, dtype=">i8"),
], ids=["transposed", "Fortran", "strided", "broadcast", "big-endian float", "big-endian int"])
def test_arrays_of_any_memory_order(array, tmp_path):
    assert_same(round_trip({"a": array}, tmp_path), {"a": array})


@pytest.mark.parametrize("state", [
    {},
    {"epoch": 3, "loss": 0.1, "name": "MnistCNN", "best": True, "none": None},
    {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "zero": -0.0},
    {"big": 2**100, "text": 'quotes " and \n and \u2211', "": "empty key"},
    {"list": [1, [2, (3, "x")], {}], "tuple": (), "deep": {"a": {"b": {"c": np.ones(2)}}}},
    {"betas": (0.9, 0.999), "params": [0, 1], "w": np.ones((2, 2)), "array": {"array": "w"}},
    [np.ones(2), {"a": np.zeros(3)}, None],
    {"a.b": np.zeros(2), "a": {"b": np.ones(3)}},       # one name for two arrays
    {"0": np.zeros(2), "x": [np.ones(1)], "x.0": np.full(4, 2.0)},
    {"__metadata__": np.ones(2)},                       # a word of the format's own
    {"minidl": np.ones(2), "value": 3},
], ids=str)
def test_states_of_any_nesting(state, tmp_path):
    assert_same(round_trip(state, tmp_path), state)


leaves = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.lists(st.floats(width=32), max_size=4).map(lambda v: np.array(v, np.float32)),
    st.integers(-100, 100).map(np.asarray))
keys = st.one_of(st.sampled_from(["a", "b", "a.b", "0", "array", "__metadata__"]),
                 st.text(max_size=4))
states = st.recursive(leaves, lambda inner: st.one_of(
    st.dictionaries(keys, inner, max_size=4), st.lists(inner, max_size=3),
    st.lists(inner, max_size=3).map(tuple)), max_leaves=12)


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
    found["p"][...] = 0         # writable, and not the parameter's
    assert p.data.any()


@small_batches
@pytest.mark.parametrize("make", [models.MLP, models.MnistCNN])
def test_a_trained_model_and_its_optimizer(make, tmp_path):
    model = make()
    optimizer = optim.Adam(model.parameters())
    md.cross_entropy(model(uniform(4, 28, 28, 1)), np.arange(4)).backward()
    optimizer.step()
    md.save(tmp_path / "model", model.state_dict())
    md.save(tmp_path / "all", {"model": model.state_dict(), "optimizer": optimizer.state_dict(),
                               "epoch": 3})
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

@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen", "chmod"])
@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()], ids=["error",
                                                                                   "interrupt"])
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


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_permissions_are_those_of_a_new_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    md.save(tmp_path / "state", {"a": np.ones(2)})
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "state")]
    assert modes[0] == modes[1]


# -------------------------------------------------------------------------------------- errors

@pytest.mark.parametrize("value, words", [
    ({1, 2}, "set"), (b"x", "bytes"), (1j, "complex"), (print, "builtin_function_or_method"),
    (object(), "object"), (nn.Dense(1, 1), "Dense"), (np.array([None]), "object"),
    (np.array(["x"]), "str"), (np.array(["2020"], "M8[s]"), "datetime64"),
    (np.ones(2, complex), "complex128"), (np.ones(2, np.longdouble), "float|longdouble"),
], ids=lambda v: v if isinstance(v, str) else "")
@pytest.mark.parametrize("nested", [False, True], ids=["flat", "nested"])
def test_what_cannot_be_saved_is_named(value, words, nested, tmp_path):
    state = {"model": {"odd": value}} if nested else {"odd": value}
    with pytest.raises(TypeError, match=words) as info:
        md.save(tmp_path / "state", state)
    assert ("model.odd" if nested else "odd") in str(info.value)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("key", [1, None, ("a", "b")])
def test_keys_must_be_strings(key, tmp_path):
    with pytest.raises(TypeError, match="keys must be strings"):
        md.save(tmp_path / "state", {"a": {key: np.ones(2)}})


def test_no_folder_and_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        md.save(tmp_path / "missing" / "state", {})
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(FileNotFoundError, match=path.name):
            md.load(path)


def whole_file(folder):
    path = folder / "whole"
    md.save(path, {"model": {"w": uniform(20, 30)}, "epoch": 3})
    return path.read_bytes()


@pytest.mark.parametrize("damage", [
    lambda b: b"", lambda b: b[:5], lambda b: b[:40], lambda b: b[:-1], lambda b: b[:-1000],
    lambda b: b + b"x", lambda b: b"\x80\x04" + b[2:], lambda b: b"\xff" * 8 + b[8:],
    lambda b: b.replace(b"F32", b"F99"), lambda b: b.replace(b"[20,30]", b"[20,31]"),
    lambda b: b"PK\x03\x04" + bytes(100), lambda b: b"just some text, nothing of ours at all",
    lambda b: bytes(1000),
], ids=["empty", "in the length", "in the header", "a byte less", "less", "a byte more", "pickle",
        "huge header", "dtype", "shape", "zip", "text", "zeros"])
def test_a_damaged_file_is_named(damage, tmp_path):
    path = tmp_path / "damaged.safetensors"
    whole = whole_file(tmp_path)
    assert damage(whole) != whole
    path.write_bytes(damage(whole))
    with pytest.raises(ValueError, match=r"damaged\.safetensors"):
        md.load(path)


@pytest.mark.parametrize("text", [
    "not json", "", "[]", "{}", "1", "null", '"x"', '{"array": "nothing"}', '{"array": []}',
    '{"number": "x"}', '{"list": 3}', '{"tuple": null}', '{"dict": []}', '{"a": 1, "b": 2}',
    '{"other": 3}', '{"dict": {"a": 3}}'])
def test_foreign_metadata_under_our_name(text, tmp_path):
    path = tmp_path / "foreign.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(2)}, path, {"minidl": text})
    with pytest.raises(ValueError, match=r"foreign\.safetensors"):
        md.load(path)
