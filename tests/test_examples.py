"""These tests run the examples, and check what they do to images and learning rates."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import minidl as md
from examples import cifar10
from minidl import data, models
from tests.support.data_files import cifar_files

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def made_up(tmp_path):
    """Return a folder with a CIFAR-10 of noise: 160 images to train, 35 to test."""
    for name, content in cifar_files(30).items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def test_normalize():
    rng = np.random.default_rng(0)
    images = rng.random((5, 4, 6, 3), dtype=np.float32)
    expected = (images - cifar10.MEAN) / cifar10.STD
    result = cifar10.normalize(images)
    np.testing.assert_allclose(result, expected, rtol=1e-6)
    assert result.dtype == np.float32


def test_every_augmented_image_is_a_shift_of_it_or_of_its_mirror_image():
    images = np.random.default_rng(0).random((300, 8, 6, 3), dtype=np.float32)
    pad = cifar10.PAD
    padded = np.pad(cifar10.normalize(images.copy()), ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    found = []
    for got, one in zip(cifar10.augment(images, np.random.default_rng(1)), padded, strict=True):
        ways = [
            (top, left, mirrored)
            for mirrored, source in enumerate((one, one[:, ::-1]))
            for top in range(2 * pad + 1)
            for left in range(2 * pad + 1)
            if np.array_equal(source[top : top + 8, left : left + 6], got)
        ]
        assert len(ways) == 1
        found += ways
    top, left, mirrored = np.transpose(found)
    assert set(top) == set(left) == set(range(2 * pad + 1))
    assert 100 < mirrored.sum() < 200


def test_augment_is_a_function_of_its_generator():
    images = np.random.default_rng(0).random((16, 32, 32, 3), dtype=np.float32)
    a, b, c = (cifar10.augment(images.copy(), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(a, b) and not np.array_equal(a, c)
    assert a.shape == images.shape and a.dtype == np.float32 and a.flags.c_contiguous


@pytest.mark.parametrize("steps", [1, 2, 7, 100])
def test_one_cycle(steps):
    rates = list(cifar10.one_cycle(0.4, steps))
    top = max(1, steps // 5) - 1
    assert len(rates) == steps
    assert rates[top] == max(rates) == 0.4
    assert rates == sorted(rates[: top + 1]) + sorted(rates[top + 1 :], reverse=True)
    assert min(rates) > 0
    if steps == 100:
        np.testing.assert_allclose(np.diff(rates[:20]), 0.02)
        assert rates[-1] < 1e-3


def test_cifar10_on_made_up_images(made_up, capsys):
    path = made_up / "model.safetensors"
    history = cifar10.main(
        ["--data", str(made_up), "--epochs", "2", "--batch-size", "64", "--save", str(path)]
    )
    _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["1", "2", "saved", "test"]
    for row in history:
        assert 1 < row["loss"] < 6
        assert 0 <= row["train"] <= 1 and 0 <= row["waiting"] < 1 and row["images/s"] > 0
    model = models.ResNet20()
    model.load_state_dict(md.load(path))
    test = data.CIFAR10(made_up, split="test")
    scores = model.predict(cifar10.normalize(test.images.astype(np.float32) / 255))
    assert md.accuracy(scores, test.labels) == pytest.approx(history[-1]["test"])


def test_cifar10_with_another_normalization(made_up):
    path = made_up / "model.safetensors"
    cifar10.main(["--data", str(made_up), "--epochs", "1", "--norm", "group", "--save", str(path)])
    assert set(md.load(path)) == set(models.ResNet20(norm="group").state_dict())


def test_cifar10_with_a_wrong_option(capsys):
    with pytest.raises(SystemExit):
        cifar10.main(["--epochs", "0"])
    assert "--epochs must be at least 1, got 0" in capsys.readouterr().err


def test_cifar10_quickly_on_the_real_images(tmp_path):
    folder = os.environ.get("MINIDL_DATA")
    if not folder or not os.path.isdir(os.path.join(folder, "cifar10")):
        pytest.skip("MINIDL_DATA names no folder with cifar10/")
    head, row, _, last = run_example("cifar10.py", tmp_path, "--quick")
    assert dict(zip(head.split(), row.split(), strict=True))["epoch"] == "1"
    assert float(row.split()[1]) < 3
    assert float(last.split()[-1]) > 0.1  # the accuracy of guessing among ten classes
    assert set(md.load(tmp_path / "cifar10.safetensors")) == set(models.ResNet20().state_dict())


def run_example(name, folder, *options):
    """Run an example as a program in a folder of its own, and return what it prints."""
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    if "MINIDL_DATA" in env:
        env["MINIDL_DATA"] = os.path.abspath(env["MINIDL_DATA"])
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *options],
        env=env,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_mnist_for_one_epoch(tmp_path, norm):
    *_, saved, last = run_example(
        "mnist.py",
        tmp_path,
        "--epochs",
        "1",
        "--model",
        "mlp",
        *(["--norm", norm] if norm != "batch" else []),
    )
    assert saved == "saved mnist.safetensors and mnist.png"
    assert float(last.split()[-1]) > 0.95
    state = models.MLP(norm=norm).state_dict()
    assert set(md.load(tmp_path / "mnist.safetensors")) == set(state)


def test_autoencoder_quickly(tmp_path):
    gray, *errors, saved = run_example("autoencoder.py", tmp_path, "--quick")
    assert len(errors) == 4
    assert float(errors[-1].split()[-1]) < float(gray.split()[-1])
    assert saved == "saved autoencoder.png"
    assert (tmp_path / "autoencoder.png").stat().st_size > 1000


def test_regression_quickly(tmp_path):
    """Huber's loss weighs the outliers less."""
    squared, huber = (
        float(line.split()[-3]) for line in run_example("regression.py", tmp_path, "--quick")
    )
    assert huber < 0.06 < squared


def test_custom_function_quickly(tmp_path):
    checked, accuracy = run_example("custom_function.py", tmp_path, "--quick")
    assert checked == "the gradient agrees with central differences"
    assert float(accuracy.split()[-1]) > 0.8


def test_precise_bn_quickly(tmp_path):
    head, row, _, layers, *gaps = run_example("precise_bn.py", tmp_path, "--quick")
    assert head.split()[:3] == ["batch", "running", "precise"]
    size, running, precise, batch = map(float, row.split())
    assert size == 8 and 0.5 < running < precise <= 1 and 0.6 < batch <= 1
    assert layers == "The layers at the end, batch size 8:" and len(gaps) == 7
