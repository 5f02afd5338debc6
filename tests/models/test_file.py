"""These tests check the file of a trained model: what is written and read, and what is refused."""

import json
import struct
import sys
import types

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import minidl as md
from minidl import models, nn
from minidl.models import file
from tests.support.arrays import uniform
from tests.support.errors import refuses
from tests.support.marks import small_batches

pytestmark = small_batches


class Net(nn.Layer):
    """A user's model, of another module than minidl's."""

    def __init__(self, width, depth=1, tag=None):
        super().__init__()
        self.width, self.depth, self.tag = width, depth, tag
        self.layers = nn.Sequential(*(nn.Dense(4, width) for _ in range(depth)))

    def config(self):
        return {"width": np.int64(self.width), "depth": self.depth, "tag": self.tag}

    def forward(self, x):
        return self.layers[0](x)


class Plain(nn.Layer):
    """A class that takes no arguments, and so needs no config()."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Dense(4, 2)

    def forward(self, x):
        return self.fc(x)


class Silent(nn.Layer):
    def __init__(self, width):
        super().__init__()
        self.fc = nn.Dense(4, width)


def trained(name="lenet", **options):
    md.manual_seed(0)
    model = models.create(name, **options)
    for _ in range(2):
        model(uniform(8, *model.input_shape))  # changes the running statistics
    return model


def same_state(a, b):
    a, b = a.state_dict(), b.state_dict()
    return list(a) == list(b) and all(
        a[n].dtype == b[n].dtype and np.array_equal(a[n], b[n]) for n in a
    )


# ------------------------------------------------------------------------------------ round trips


@pytest.mark.parametrize("name", models.names())
def test_every_model(name, tmp_path):
    model = trained(name, classes=3, norm="group" if name == "mlp" else "batch")
    models.save(tmp_path / "m.safetensors", model, ["a", "b", "c"])
    saved = models.load(tmp_path / "m.safetensors")
    assert type(saved.model) is type(model) and saved.model.config() == model.config()
    assert same_state(saved.model, model)
    assert not saved.model.training and model.training
    x = uniform(5, *model.input_shape)
    np.testing.assert_array_equal(saved.model(x).data, model.predict(x))


def test_everything_that_is_kept(tmp_path):
    preprocess = {"size": 28, "channels": 1, "mean": [0.25], "std": [0.5]}
    info = {"epoch": 3, "accuracy": np.float32(0.5), "history": [1.5, 0.5], "pair": (1, True)}
    info |= {"words": {"a": None}, "place": "ü"}
    path = tmp_path / "model.safetensors"
    models.save(path, trained(), [str(k) for k in range(10)], preprocess, **info)
    saved = models.load(str(path))
    assert saved.classes == [str(k) for k in range(10)]
    assert saved.preprocess == preprocess
    assert saved.info == {**info, "pair": [1, True]}
    models.save(path, trained())
    saved = models.load(path)
    assert (saved.classes, saved.preprocess, saved.info) == ([], None, {})


def test_it_is_a_plain_safetensors_file(tmp_path):
    model, path = trained(), tmp_path / "m.safetensors"
    models.save(path, model, range(10), {"size": (28, 30)}, epoch=1)
    state = model.state_dict()
    for found in (load_file(path), md.load(path)):
        assert found.keys() == state.keys()
        assert all(np.array_equal(found[name], state[name]) for name in state)
    with safe_open(path, framework="np") as opened:
        metadata = opened.metadata()
    assert list(metadata) == ["minidl_model"]
    options = {"classes": 10, "input_shape": [28, 28, 1]}
    options |= {"norm": "batch", "norm_position": "before"}
    assert json.loads(metadata["minidl_model"]) == {
        "format": 1,
        "model": {"name": "lenet"},
        "options": options,
        "dtype": "float32",
        "classes": list(range(10)),
        "preprocess": {"size": [28, 30]},
        "info": {"epoch": 1},
    }


def test_equal_models_make_equal_files(tmp_path):
    for name in ("a", "b"):
        models.save(tmp_path / name, trained(), preprocess={"std": 1, "mean": 0}, epoch=1)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_float64(tmp_path):
    model = trained().astype(np.float64)
    models.save(tmp_path / "m", model)
    assert same_state(models.load(tmp_path / "m").model, model)


def test_the_generator_of_random_numbers_is_left_alone(tmp_path):
    md.manual_seed(7)
    expected = [md.rand(2).data for _ in range(3)]
    md.manual_seed(7)
    model = trained()
    md.manual_seed(7)
    found = [md.rand(2).data]
    models.save(tmp_path / "m", model)
    found.append(md.rand(2).data)
    models.load(tmp_path / "m")
    found.append(md.rand(2).data)
    assert np.array_equal(found, expected)


# ---------------------------------------------------------------------------- classes of one's own


@pytest.mark.parametrize("make", [lambda: Net(3, depth=2, tag=[1, "x"]), Plain])
def test_a_user_defined_class_is_only_imported_if_trusted(make, tmp_path, monkeypatch):
    model, path = make(), tmp_path / "m"
    models.save(path, model)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[type(model).__module__])
    imported = []
    monkeypatch.setattr(
        file.importlib, "import_module", lambda name: imported.append(name) or sys.modules[name]
    )
    with refuses(ValueError, str(path), type(model).__name__, "trust=True", "runs code"):
        models.load(path)
    assert imported == []
    saved = models.load(path, trust=True)
    assert imported == [type(model).__module__]
    assert type(saved.model) is type(model) and same_state(saved.model, model)


def test_a_class_that_has_moved(tmp_path, monkeypatch):
    module = types.ModuleType("somewhere")
    module.Net = type("Net", (Plain,), {"__module__": "somewhere", "__qualname__": "Net"})
    monkeypatch.setitem(sys.modules, "somewhere", module)
    models.save(tmp_path / "m", module.Net())
    for change, words in (
        (lambda: delattr(module, "Net"), "no attribute 'Net'"),
        (lambda: setattr(module, "Net", dict), "not a subclass of Layer"),
        (lambda: setattr(module, "Net", Silent), "missing 1 required"),
        (lambda: monkeypatch.delitem(sys.modules, "somewhere"), "No module named 'somewhere'"),
    ):
        change()
        with refuses(ValueError, f"load: the model of {tmp_path / 'm'}", "somewhere:Net", words):
            models.load(tmp_path / "m", trust=True)


def test_a_subclass_of_a_model_here_is_a_user_defined_class(tmp_path):
    class Mine(models.LeNet):
        pass

    with refuses(ValueError, "save: the class", "Mine", "inside a function"):
        models.save(tmp_path / "m", Mine())
    Mine.__qualname__ = "Mine"
    models.save(tmp_path / "m", Mine())
    with refuses(ValueError, "Mine", "trust=True"):
        models.load(tmp_path / "m")


# --------------------------------------------------------------------------- what is not written


def preprocessed(given):
    return lambda path: models.save(path, trained(), preprocess=given)


WRONG = [
    (lambda p: models.save(p, Silent(3)), TypeError, ["Silent", "config()", "Silent(...)"]),
    (
        lambda p: models.save(p, nn.Sequential(nn.Dense(2, 2))),
        TypeError,
        ["Sequential", "config()"],
    ),
    (lambda p: models.save(p, trained().state_dict()), TypeError, ["model must be a layer"]),
    (
        lambda p: models.save(p, trained(norm=nn.RMSNorm)),
        TypeError,
        ["norm must be a name for the model to be saved"],
    ),
    (lambda p: models.save(p, Net(3, tag={1: 2})), TypeError, ["options.tag", "strings", "1"]),
    (lambda p: models.save(p, Net(3, tag=nn.ReLU)), TypeError, ["options.tag must be"]),
    (lambda p: models.save(p, trained(), "abc"), TypeError, ["classes", "'abc'"]),
    (lambda p: models.save(p, trained(), 10), TypeError, ["classes must be a list of names"]),
    (lambda p: models.save(p, trained(), ["a", 2.5]), TypeError, ["classes[1]", "2.5"]),
    (lambda p: models.save(p, trained(classes=2), ["a", "a"]), ValueError, ["different names"]),
    (lambda p: models.save(p, trained(), ["a", "b"]), ValueError, ["must be 10 names", "got 2"]),
    (lambda p: models.save(p, trained(), loss=np.nan), ValueError, ["info.loss", "finite", "nan"]),
    (lambda p: models.save(p, trained(), model_=[{"x": {1}}]), TypeError, ["info.model_[0].x"]),
    (preprocessed(3), TypeError, ["preprocess must be a dict"]),
    (
        preprocessed({"sizes": 3}),
        ValueError,
        ["preprocess has no sizes", "size, channels, mean, std"],
    ),
    (preprocessed({"size": 0}), ValueError, ["size", "0"]),
    (preprocessed({"channels": 2}), ValueError, ["channels must be 1 or 3", "2"]),
    (preprocessed({"channels": 3}), ValueError, ["channels must be 1", "(28, 28, 1)", "got 3"]),
    (preprocessed({"std": [1, 0, 1]}), ValueError, ["std must be", "> 0"]),
    (preprocessed({"mean": "0"}), TypeError, ["mean must be"]),
    (preprocessed({"channels": 3, "mean": [1, 2]}), ValueError, ["mean must be a number or 3"]),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG, ids=lambda x: str(x)[:40])
def test_a_model_that_could_not_be_loaded_is_not_written(call, error, words, tmp_path):
    with refuses(error, *words):
        call(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_model_that_was_changed_after_it_was_made(tmp_path):
    model = trained()
    model.fc3 = nn.Dense(84, 5)
    shapes = "(84, 10) in that and (84, 5) in this"
    with refuses(
        ValueError, "save: load would build another model", "LeNet(**", "fc3.weight", shapes
    ):
        models.save(tmp_path / "m", model)
    model = Net(3)
    model.width = 0
    with refuses(ValueError, "save: Net(**", "fails"):
        models.save(tmp_path / "m", model)
    model = trained()
    model.head = nn.Dense(2, 2)
    with refuses(ValueError, "head.weight is missing in that"):
        models.save(tmp_path / "m", model)


def test_info_that_holds_itself(tmp_path):
    info = []
    info.append(info)
    with refuses(ValueError, "save: info.a", "contain itself"):
        models.save(tmp_path / "m", trained(), a=info)


def test_errors_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        models.save(tmp_path / "none" / "m", trained())
    with pytest.raises(IsADirectoryError):
        models.save(tmp_path, trained())
    with pytest.raises(FileNotFoundError, match=r"m\.safetensors"):
        models.load(tmp_path / "m.safetensors")
    with pytest.raises(IsADirectoryError):
        models.load(tmp_path)
    with refuses(TypeError, "load: path"):
        models.load(3)
    with refuses(TypeError, "load: trust must be"):
        models.load(tmp_path / "m", trust="yes")


# ------------------------------------------------------------------------------- what is not read


def rewritten(path, change, state=None):
    """Return the file with another description: what `change` returns, or makes of it in place."""
    with safe_open(path, framework="np") as opened:
        description = json.loads(opened.metadata()["minidl_model"])
    changed = change(description)
    text = json.dumps(description if changed is None else changed)
    save_file(md.load(path) if state is None else state, path, {"minidl_model": text})


DAMAGED = {
    "a later format": (lambda d: d.update(format=2), ["format 2", "later version", "up to 1"]),
    "no format": (lambda d: d.__delitem__("format"), ["damaged", "format"]),
    "a word for a format": (lambda d: d.update(format="1"), ["damaged", "format"]),
    "format 0": (lambda d: d.update(format=0), ["damaged", "format 0"]),
    "an entry missing": (lambda d: d.__delitem__("options"), ["damaged", "format 1"]),
    "an entry more": (lambda d: d.update(run="me"), ["damaged", "run"]),
    "no dict": (lambda d: [d], ["damaged"]),
    "another name": (lambda d: d["model"].update(name="lenet6"), ["no model 'lenet6'", "lenet"]),
    "no name": (lambda d: d.update(model={}), ["damaged", "model"]),
    "name and class": (lambda d: d["model"].update({"class": "os:system"}), ["damaged", "model"]),
    "a number for a name": (lambda d: d["model"].update(name=3), ["damaged", "model"]),
    "an option more": (lambda d: d["options"].update(run=1), ["'run'", "lenet"]),
    "another option": (lambda d: d["options"].update(classes=7), ["does not fit", "fc3.weight"]),
    "an option too large": (lambda d: d["options"].update(classes=10**12), ["cannot be built"]),
    "a class": (lambda d: d.update(model={"class": "os:system"}), ["'os:system'", "trust=True"]),
    "another dtype": (lambda d: d.update(dtype="int8"), ["damaged", "dtype", "int8"]),
    "classes of lists": (lambda d: d.update(classes=[[]]), ["damaged", "classes"]),
    "a word for classes": (lambda d: d.update(classes="abc"), ["damaged", "classes"]),
    "fewer classes": (lambda d: d.update(classes=["a"]), ["damaged", "10 names"]),
    "no preprocessing": (lambda d: d.update(preprocess=[1]), ["preprocess"]),
    "a wrong size": (lambda d: d.update(preprocess={"size": -1}), ["size", "-1"]),
    "a word for info": (lambda d: d.update(info="a"), ["damaged", "info"]),
}


@pytest.mark.parametrize(("change", "words"), DAMAGED.values(), ids=DAMAGED)
def test_a_description_that_is_none(change, words, tmp_path):
    path = tmp_path / "m.safetensors"
    models.save(path, trained())
    rewritten(path, change)
    with refuses(ValueError, "load: ", str(path), *words):
        models.load(path)


def test_metadata_that_is_no_json_or_nested_deep(tmp_path):
    path = tmp_path / "m"
    for text, word in (("{", "damaged"), ("[" * 100_000, "nested too deep")):
        save_file({"a": np.zeros(2)}, path, {"minidl_model": text})
        with refuses(ValueError, str(path), word):
            models.load(path)


def test_files_of_another_kind(tmp_path):
    path = tmp_path / "m"
    md.save(path, trained().state_dict())
    with refuses(ValueError, str(path), "not a file that models.save wrote", "md.load"):
        models.load(path)
    md.save(path, {"epoch": 3})
    with refuses(ValueError, str(path), "not a file that models.save wrote"):
        models.load(path)
    md.compile(md.relu, np.ones((1, 2), np.float32)).save(path)
    with refuses(ValueError, str(path), "not a file that models.save wrote", "md.Compiled.load"):
        models.load(path)
    (tmp_path / "m.onnx").write_bytes(b"\x08\x0a\x12\x06minidl")
    with refuses(ValueError, "m.onnx is not a safetensors file", "md.onnx.load"):
        models.load(tmp_path / "m.onnx")
    for content in (b"", b"PK\x03\x04 a zip file", b"\x89PNG" * 10):
        path.write_bytes(content)
        with refuses(ValueError, str(path), "damaged"):
            models.load(path)


def test_damaged_files(tmp_path):
    path = tmp_path / "m"
    models.save(path, trained())
    content = path.read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    for length in (4, 100, header, len(content) - 1):
        path.write_bytes(content[:length])
        with refuses(ValueError, str(path), "damaged"):
            models.load(path)


def test_a_state_that_does_not_fit(tmp_path):
    path = tmp_path / "m"
    models.save(path, trained())
    expected = md.load(path)
    for state in (
        {},
        {**expected, "more": np.zeros(2, np.float32)},
        {**expected, "fc1.weight": np.zeros((2, 2), np.float32)},
        {name: array for name, array in expected.items() if name != "fc1.weight"},
    ):
        rewritten(path, lambda d: None, state)
        with refuses(ValueError, str(path), "does not fit its model"):
            models.load(path)
