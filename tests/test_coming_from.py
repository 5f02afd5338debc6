"""These tests check docs/coming-from.md: everything that its tables say to write here can be
written, and no name is missing.

What the tables say about PyTorch and Keras is checked in tests/parity/test_coming_from.py.
"""

import re

import numpy as np
import pytest

import minidl as md
from minidl import data, foreign_names, models, nn, optim, train
from minidl.data import transforms as T
from tests.support import pages

TEXT = (pages.ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
TABLES = TEXT[TEXT.index("## Tensors") : TEXT.index("## Every name")]


@pytest.fixture
def names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    model = nn.Dense(8, 4)
    x = md.tensor(rng.random((2, 3), np.float32), requires_grad=True)
    logits, labels = md.tensor(rng.random((6, 4), np.float32)), np.arange(6) % 3
    return {
        "np": np,
        "md": md,
        "nn": nn,
        "optim": optim,
        "data": data,
        "train": train,
        "T": T,
        "models": models,
        "x": x,
        "y": md.tensor(rng.random((2, 3), np.float32)),
        "loss": (x * x).sum(),
        "model": model,
        "params": model.parameters(),
        "optimizer": optim.SGD(model.parameters(), lr=0.1),
        "logits": logits,
        "labels": labels,
        "images": rng.random((6, 8, 8, 1), np.float32),
        "pairs": data.ArrayDataset(rng.random((6, 8, 8, 1), np.float32), labels),
    }


@pytest.mark.parametrize("code", pages.table_cells(TABLES, 2))
def test_the_code_in_a_table_runs(code, names):
    md.save("net.safetensors", {"weight": np.ones(2)})
    if "predict(x)" in code or "compile" in code:
        names["x"] = np.ones((2, 8), np.float32)
    if "setattr" in code:
        names["y"] = md.ones(8)
    if "set_num_threads" in code:
        code = "md.set_num_threads"
    eval(code, names)


TABLE_OF_HINTS = {
    "TENSOR": "tensor",
    "FUNCTIONS": "functions",
    "LAYERS": "layers",
    "OF_LAYERS": "of layers",
    "OPTIMIZERS": "optimizers",
    "OF_OPTIMIZERS": "of optimizers",
    "DATA": "data",
    "TRANSFORMS": "data",
    "TRAIN": "training",
    "MODELS": "training",
    "ARGUMENTS": "arguments",
}


def test_every_table_of_names_is_on_the_page():
    tables = {
        name
        for name, value in vars(foreign_names).items()
        if isinstance(value, dict) and name.isupper()
    }
    assert tables == set(TABLE_OF_HINTS)
    for hinted, table in TABLE_OF_HINTS.items():
        written = re.search(rf"<!-- table {table} -->(.*?)<!-- end -->", TEXT, re.S)[1]
        shown = set(re.findall(r"^\| `(\w+)` \| \S", written, re.M))
        assert set(getattr(foreign_names, hinted)) <= shown


@pytest.mark.parametrize(("page", "owner"), [(TABLES, name) for name in ("nn", "optim")])
def test_the_names_that_errors_do_not_know_are_the_same_here(page, owner):
    """A PyTorch name in the first column is one of ours, too, or its error names ours."""
    ours = {"nn": (nn, foreign_names.LAYERS), "optim": (optim, foreign_names.OPTIMIZERS)}[owner]
    for code in pages.table_cells(page, 0):
        for name in re.findall(rf"^{owner}\.(\w+)", code):
            assert hasattr(ours[0], name) or name in ours[1], name
