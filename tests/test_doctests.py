"""The examples in docstrings: each runs and prints what it says, and every public name has one."""

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
    """minidl and all modules inside."""
    yield md
    for found in pkgutil.walk_packages(md.__path__, "minidl."):
        yield importlib.import_module(found.name)


def own(module):
    """(name, object) of the functions and classes that a module defines."""
    for name, value in sorted(vars(module).items()):
        value = inspect.unwrap(value) if callable(value) else value  # what a decorator wraps
        if (
            inspect.isfunction(value) or inspect.isclass(value)
        ) and value.__module__ == module.__name__:
            yield name, value


def examples():
    """A doctest per module, function, class and method that has an example."""
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
    assert md.get_num_threads() == threads  # an example leaves no traces


def public():
    """(module, name) of each public function and class."""
    for module in PUBLIC:
        names = getattr(module, "__all__", [name for name, _ in own(module) if name[0] != "_"])
        for name in names:
            if callable(getattr(module, name)):
                yield module.__name__, name


@pytest.mark.parametrize(("module", "name"), list(public()))
def test_every_public_name_has_an_example(module, name):
    text = getattr(importlib.import_module(module), name).__doc__ or ""
    assert ">>> " in text, f"the docstring of {module}.{name} needs a short example"
