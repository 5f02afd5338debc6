"""These tests run the examples in docstrings: each prints what it says, and every public name has
one.
"""

import doctest
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

import minidl as md
from minidl import data, lab, models, nn, optim, sklearn, train
from minidl.data import transforms as T

NAMESPACE = {
    "md": md,
    "nn": nn,
    "optim": optim,
    "data": data,
    "T": T,
    "np": np,
    "train": train,
    "lab": lab,
}
PUBLIC = (
    md,
    nn,
    nn.init,
    optim,
    data,
    data.cache,
    T,
    models,
    train,
    lab,
    md.onnx,
    md.torch,
    sklearn,
)


def modules():
    """Return minidl and all modules inside it."""
    yield md
    for found in pkgutil.walk_packages(md.__path__, "minidl."):
        yield importlib.import_module(found.name)


def own(module):
    """Return (name, object) of the functions and classes that a module defines."""
    for name, value in sorted(vars(module).items()):
        value = inspect.unwrap(value) if callable(value) else value  # a decorator may wrap it
        if (
            inspect.isfunction(value) or inspect.isclass(value)
        ) and value.__module__ == module.__name__:
            yield name, value


def examples():
    """Return a doctest for each module, function, class and method that has an example."""
    for module in modules():
        name = module.__name__
        yield from doctest.DocTestFinder(recurse=False, exclude_empty=True).find(
            module, name, globs=NAMESPACE
        )
        for inner, value in own(module):
            yield from doctest.DocTestFinder().find(
                value, f"{name}.{inner}", module, globs=NAMESPACE
            )


EXAMPLES = [example for example in examples() if example.examples]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example(example):
    md.manual_seed(0)
    said = []
    threads = md.get_num_threads()
    result = doctest.DocTestRunner(verbose=False).run(example, out=said.append, clear_globs=False)
    assert result.failed == 0, "".join(said)
    assert md.get_num_threads() == threads  # an example leaves the number of threads as it was


def public():
    """Return (module, name) of each public function and class."""
    for module in PUBLIC:
        names = getattr(module, "__all__", [name for name, _ in own(module) if name[0] != "_"])
        for name in names:
            if callable(getattr(module, name)):
                yield module.__name__, name


@pytest.mark.parametrize(("module", "name"), list(public()))
def test_every_public_name_has_an_example(module, name):
    text = getattr(importlib.import_module(module), name).__doc__ or ""
    assert ">>> " in text, f"the docstring of {module}.{name} needs a short example"
