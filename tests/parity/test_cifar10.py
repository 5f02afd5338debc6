"""These tests check that the example cifar10.py and its twin in PyTorch are the same training."""

import pytest

from benchmarks import cifar10_torch
from examples import cifar10
from tests.support.data_files import cifar_files


def test_the_same_losses_and_accuracies(tmp_path):
    """The rate is low and the images are few, because training amplifies differences of
    rounding.
    """
    for name, content in cifar_files(30).items():
        (tmp_path / name).write_bytes(content)
    options = ["--data", str(tmp_path), "--epochs", "2", "--batch-size", "64", "--lr", "0.001"]
    theirs = cifar10_torch.main(options)
    ours = cifar10.main([*options, "--save", str(tmp_path / "model.safetensors")])
    for our, their in zip(ours, theirs, strict=True):
        assert our["loss"] == pytest.approx(their["loss"], rel=1e-4)
        assert our["train"] == pytest.approx(their["train"], abs=2 / 160)
        assert our["test"] == pytest.approx(their["test"], abs=2 / 35)
