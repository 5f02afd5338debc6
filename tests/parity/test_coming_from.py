"""These tests check that what docs/coming-from.md says about PyTorch and Keras is true, and that
its programs run.
"""

import os
import tempfile

import numpy as np
import pytest
import torch

from tests.support import pages

# Keras reads it at its import, and writes a file into that folder.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_HOME"] = tempfile.mkdtemp()
keras = pytest.importorskip("keras")

PAGE = pages.ROOT / "docs" / "coming-from.md"
TEXT = PAGE.read_text(encoding="utf-8")
TABLES = TEXT[TEXT.index("## Tensors") : TEXT.index("## Every name")]
# These are in Keras's column, but are not expressions.
WORDS = {"training="}


@pytest.mark.parametrize("library", ["torch", "keras"])
def test_the_programs_of_the_page_run(library, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names, ran = {}, 0
    for language, more, text in pages.blocks(PAGE):
        if (language, more) == ("python", library):
            exec(compile(text, PAGE.name, "exec"), names)
            ran += 1
    assert ran == {"torch": 2, "keras": 1}[library]
    if library == "torch":
        assert capsys.readouterr().out.endswith("True\n")  # both models give the same


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = torch.nn.Linear(8, 4)
    x, y = torch.rand(2, 3, requires_grad=True), torch.rand(2, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return {
        "torch": torch,
        "nn": torch.nn,
        "optim": torch.optim,
        "F": torch.nn.functional,
        "x": x,
        "y": y,
        "loss": (x * x).sum(),
        "model": model,
        "optimizer": optimizer,
        "params": list(model.parameters()),
        "logits": torch.rand(6, 4),
        "labels": torch.arange(6) % 3,
        "pairs": [(0, 0), (1, 1)],
    }


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("code", pages.table_cells(TABLES, 0))
def test_the_column_of_pytorch(code, names):
    if code == "model(x)":
        names["x"] = torch.rand(2, 8)
    if code == "x.item()":
        names["x"] = torch.tensor(1.0)
    if "net.pt" in code:
        torch.save({}, "net.pt")
    if code in (
        "resume",
        "no_grad",
    ):  # an argument of Lightning's, and a word that is no expression
        return
    eval(code.replace("torch.set_num_threads(2)", "torch.set_num_threads"), names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "code", [code for code in pages.table_cells(TABLES, 1) if code not in WORDS]
)
def test_the_column_of_keras(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4)])
    model.save_weights("net.weights.h5")
    x = keras.ops.array(np.random.default_rng(0).random((2, 3), np.float32))
    eval(code, {"keras": keras, "x": x, "y": x, "model": model})


def test_the_momentum_of_batch_norm():
    """The layer that the page gives as Keras's moves its running statistics as Keras's does."""
    from minidl import nn

    ours = nn.BatchNorm(16, eps=1e-3, momentum=0.01, unbiased=False)
    theirs = keras.layers.BatchNormalization()
    x = np.random.default_rng(0).normal(3, 2, (32, 16)).astype(np.float32)
    same = np.asarray(keras.ops.convert_to_numpy(theirs(x, training=True)))
    np.testing.assert_allclose(ours(x).data, same, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        ours.running_mean, keras.ops.convert_to_numpy(theirs.moving_mean), rtol=1e-5
    )
    np.testing.assert_allclose(
        ours.running_var, keras.ops.convert_to_numpy(theirs.moving_variance), rtol=1e-5
    )
