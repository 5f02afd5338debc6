"""These tests check that compiled models come back from files with the same bits, and that a file
is neither trusted nor executed.
"""

import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import minidl as md
from minidl import models, nn
from tests.support.compiled_models import conv, draw, leaves, module, settled
from tests.support.errors import refuses
from tests.support.processes import printed
from tests.support.threads import threads

X = draw(3, 9, 7, 8)


def round_trip(model, path, *examples):
    """Return the model that comes back from a file, after a comparison of bits."""
    compiled = md.compile(model, *examples)
    compiled.save(path)
    loaded = md.Compiled.load(path)
    assert (loaded.steps, repr(loaded)) == (compiled.steps, repr(compiled))
    for size in (1, 3):
        inputs = [np.resize(x, (size, *x.shape[1:])) for x in examples]
        ours, expected = loaded(*inputs), compiled(*inputs)
        assert type(ours) is type(expected)
        for a, b in zip(leaves(ours), leaves(expected), strict=True):
            np.testing.assert_array_equal(a, b)
    return loaded


MODELS = {
    "convolutions": settled(
        nn.Sequential(
            conv(), nn.BatchNorm(16), nn.MaxPool(2), nn.Flatten(), nn.Dense(192, 5), md.softmax
        )
    ),
    "recurrent": module(lambda x, layer: layer(x.reshape(-1, 63, 8))[1], nn.LSTM(8, 5)),
    "structure": lambda x: {"a": [x, (x * 2, md.argmax(x, axis=-1))], "b": md.ones(len(x), 2)},
    "slices": lambda x: x[..., 1:3, None, ::-1] + x[np.array([0, -1])][0, 0, 0, 0],
    "choices": lambda x: md.where(x > 0.5, x, -np.inf) + md.clip(x, None, np.float32(1)),
    "dtypes": lambda x: (x > 0).astype(np.int64) + x.astype(np.float64),
    "weights": module(lambda x, a: a(x), nn.weight_standardization(conv())),
    "joints": module(
        lambda x, a, b: md.concatenate([a(x), md.gelu(b(x)), x], axis=-1), conv(), conv(8, 5, 1)
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_same_bits_again(name, tmp_path):
    round_trip(MODELS[name], tmp_path / "model.safetensors", X)


@pytest.mark.parametrize("name", ["mnist-cnn", "resnet20", "mobile"])
def test_models(name, tmp_path):
    size = 28 if name == "mnist-cnn" else 32
    model = settled(models.create(name))
    round_trip(model, tmp_path / "model.safetensors", draw(2, size, size, 1 + 2 * (size == 32)))


def test_what_a_file_says_goes_with_it(tmp_path):
    """The file keeps a fixed batch size, doubles, several inputs and the precision, and any reader
    finds the weights.
    """
    path = tmp_path / "model.safetensors"
    with pytest.warns(UserWarning, match="batch axis is fixed"):
        compiled = md.compile(lambda x: x.reshape(3, 2, 4, 63) * 2, X)
    compiled.save(path)
    with refuses(ValueError, "(3, 9, 7, 8)"):
        md.Compiled.load(path)(X[:2])
    round_trip(nn.Dense(8, 3).astype(np.float64), path, X.astype(np.float64))
    round_trip(
        lambda x, t: x * 2 + t[:, :1].reshape(-1, 1, 1, 1), path, X, np.arange(6).reshape(3, 2)
    )
    md.set_precision("high")
    try:
        compiled = md.compile(nn.Sequential(conv(16, 16)), draw(1, 8, 8, 16))
    finally:
        md.set_precision("default")
    compiled.save(path)
    assert "winograd" not in md.Compiled.load(path).steps[-1]
    with safe_open(path, "np") as file:
        arrays = [file.get_tensor(name) for name in file.keys()]  # noqa: SIM118
    assert sorted(a.shape for a in arrays) == [(3, 3, 16, 16), (16,)]


def test_other_threads_read_it(tmp_path):
    path = tmp_path / "model.safetensors"
    md.compile(MODELS["convolutions"], X).save(path)
    with threads(1):
        one = md.Compiled.load(path)(X)
    with threads(3):
        np.testing.assert_array_equal(md.Compiled.load(path)(X), one)


def test_operations_of_users_are_refused_by_name(tmp_path):
    class Twice(md.Function):
        def forward(self, x):
            return x * 2

        def backward(self, dy):
            return dy * 2

    compiled = md.compile(lambda x: Twice.apply(x), X)
    with refuses(TypeError, "Compiled.save: the operation Twice is no part of minidl"):
        compiled.save(tmp_path / "model.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_other_files(tmp_path):
    path = tmp_path / "model.safetensors"
    with pytest.raises(FileNotFoundError):
        md.Compiled.load(path)
    with pytest.raises(IsADirectoryError):
        md.Compiled.load(tmp_path)
    for wrong in (3, None):
        with refuses(TypeError, "Compiled.load: path"):
            md.Compiled.load(wrong)
        with refuses(TypeError, "Compiled.save: path"):
            md.compile(nn.Dense(8, 3), X).save(wrong)
    models.save(path, models.create("mlp"))
    with refuses(ValueError, "is no compiled model"):
        md.Compiled.load(path)
    path.write_bytes(b"x" * 100)
    with refuses(ValueError, "is not a safetensors file"):
        md.Compiled.load(path)


# -------------------------------------------------------------------------------- files that lie


def described(path):
    with safe_open(path, "np") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, json.loads(file.metadata()["minidl_compiled"])


def written(path, arrays, text):
    text = text if isinstance(text, str) else json.dumps(text)
    save_file(arrays, path, {"minidl_compiled": text})


def edits():
    """Yield changes of what a file says, each of which makes it wrong."""

    def of(change):
        def changed(arrays, about):
            change(arrays, about)
            return about

        return changed

    return {
        "another operation": of(lambda a, d: d["operations"][0].update(function="shape.Transpose")),
        "no operation": of(lambda a, d: d["operations"][0].update(function="conv.conv")),
        "no module": of(lambda a, d: d["operations"][0].update(function="os.system")),
        "a module above": of(lambda a, d: d["operations"][0].update(function="..atomic.replacing")),
        "an operation less": of(lambda a, d: d["operations"].pop(0)),
        "operations turned": of(lambda a, d: d["operations"].reverse()),
        "another shape": of(lambda a, d: d["values"][-1].update(shape=[{"size": [0, 1]}, 6])),
        "a shape that does not grow": of(lambda a, d: d["values"][-1].update(shape=[1, 5])),
        "a shape that grows faster": of(
            lambda a, d: d["values"][0].update(shape=[{"size": [0, 2]}, 9, 7, 8])
        ),
        "another dtype": of(lambda a, d: d["values"][-1].update(dtype="float64")),
        "no dtype": of(lambda a, d: d["values"][-1].update(dtype="object")),
        "a larger image": of(
            lambda a, d: d["values"][0].update(shape=[{"size": [0, 1]}, 10, 7, 8])
        ),
        "a huge image": of(
            lambda a, d: d["values"][0].update(shape=[{"size": [0, 1]}, 2**40, 2**40, 8])
        ),
        "another stride": of(
            lambda a, d: d["operations"][0]["options"]["dict"].__setitem__(
                0, ["stride", {"tuple": [2, 2]}]
            )
        ),
        "an array less": of(lambda a, d: a.pop(min(a))),
        "an array of another shape": of(
            lambda a, d: a.update(
                {name: array[:-1] for name, array in a.items() if array.ndim == 4}
            )
        ),
        "an array of another dtype": of(
            lambda a, d: a.update(
                {name: array.astype(np.float64) for name, array in a.items() if array.ndim == 4}
            )
        ),
        "a result that is no value": of(lambda a, d: d.update(returned={"ref": 10**9})),
        "an input that is a constant": of(lambda a, d: d.update(inputs=[int(min(a))])),
        "no input": of(
            lambda a, d: d.update(inputs=[], operations=[], returned={"ref": int(min(a))})
        ),
        "an output made twice": of(
            lambda a, d: d["operations"][1].update(outputs=d["operations"][0]["outputs"])
        ),
        "another version": of(lambda a, d: d.update(format=2)),
        "no version": of(lambda a, d: d.pop("format")),
        "another batch": of(lambda a, d: d.update(batch=-1)),
        "no flag": of(lambda a, d: d.update(exact="yes")),
    }


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "model.safetensors"
    md.compile(MODELS["convolutions"], X).save(path)
    return path


@pytest.mark.parametrize("name", edits())
def test_a_file_that_lies_is_refused(name, good, tmp_path):
    arrays, about = described(good)
    path = tmp_path / "model.safetensors"
    written(path, arrays, about)
    md.Compiled.load(path)
    written(path, arrays, edits()[name](arrays, about))
    with pytest.raises((ValueError, MemoryError)) as info:
        md.Compiled.load(path)
    assert info.type is MemoryError or str(path) in str(info.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "3",
        "null",
        "{",
        '{"format": 1}',
        "[" * 5000,
        '{"format": 1' + "1" * 5000 + "}",
        '"format"',
    ],
)
def test_metadata_that_is_none(text, tmp_path):
    path = tmp_path / "model.safetensors"
    written(path, {"x": X}, text)
    with refuses(ValueError, str(path)):
        md.Compiled.load(path)


def test_any_edit_is_refused_or_computed_as_it_says(good, tmp_path):
    """Thousands of edits of a file's description are tried. A file that loads gives arrays of the
    shapes that it names, computed by the operations that it lists.
    """
    told = printed(
        f"""
import json, random, sys, warnings
import numpy as np
import minidl as md
from safetensors import safe_open
from safetensors.numpy import save_file

ODD = (-2**63, -3, -1, 0, 1, 2, 3, 7, 16, 2**31, 2**40, 2**70, 0.5, 1e308, True, False, None, "",
       "x", "float32", "int64", [], {{}}, [1, 2], {{"ref": 0}}, {{"ref": 3}}, {{"size": [0, 1]}},
       {{"size": [2, 0]}}, {{"tuple": []}}, {{"tuple": [1, 1]}}, {{"float": "nan"}},
       {{"ufunc": "add"}},
       {{"dtype": "float64"}}, {{"slice": [None, None, None]}}, {{"ellipsis": True}},
       {{"array": [1, 2], "dtype": "int64", "shape": [2]}}, "activation.ReLU", "shape.Reshape",
       "math.Add", "pool.MaxPool")

def places(x, found):
    items = x.items() if isinstance(x, dict) else enumerate(x) if isinstance(x, list) else ()
    for key, item in items:
        found.append((x, key))
        places(item, found)
    return found

def changed(about, rng):
    for _ in range(rng.choice((1, 1, 2, 3))):
        holder, key = rng.choice(places(about, []))
        kind = rng.random()
        if kind < 0.1 and isinstance(holder, list):
            holder.insert(key, holder[key])
        elif kind < 0.2:
            del holder[key]
        elif kind < 0.5:
            other, k = rng.choice(places(about, []))
            holder[key] = json.loads(json.dumps(other[k]))
        elif kind < 0.7 and type(holder[key]) is int:
            holder[key] += rng.choice((-1, 1, 2))
        else:
            holder[key] = rng.choice(ODD)
    return about

with safe_open({str(good)!r}, "np") as file:
    arrays = {{name: file.get_tensor(name) for name in file.keys()}}
    text = file.metadata()["minidl_compiled"]
path, x = {str(tmp_path / "edited.safetensors")!r}, np.ones((3, 9, 7, 8), np.float32)
warnings.simplefilter("ignore")
np.seterr(all="ignore")
loaded = refused = same = 0
for seed in range(1500):
    save_file(arrays, path, {{"minidl_compiled": json.dumps(changed(json.loads(text),
                                                                  random.Random(seed)))}})
    try:
        compiled = md.Compiled.load(path)
        loaded += 1
    except (ValueError, MemoryError):
        refused += 1
        continue
    try:
        y = compiled(x)
    except (ValueError, TypeError):
        continue
    with md.use_backend("numpy"):
        expected = compiled(x)
    if isinstance(y, np.ndarray) and np.isfinite(expected).all():
        assert np.abs(y - expected).max() <= 1e-5 * np.abs(expected).max(), seed
    same += 1
print(loaded, refused, same)
""",
        OMP_NUM_THREADS="2",
    )
    loaded, refused, same = map(int, told)
    assert refused > 800 and same > 20 and loaded - same < loaded / 2
