"""This fuzzer reads damaged data files and model files. It expects the documented error, within
bounded memory and time.

A case is {"format": which file, "base": its options, "mutations": [...]}. The file is made, changed
byte by byte or part by part (`fuzz.file_formats`), and read as a user would read it. The format
"state" is a round trip instead: a random nested state is saved by `md.save` and loaded by
`md.load`.
"""

import os
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import minidl as md
from minidl import data, nn, optim

from .draw import Draw
from .file_formats import FORMATS, changed, content, mutation
from .file_states import random_state, same
from .values import Invalid, value_of
from .watch import Fault, Watch, internal_error, place_of

_folder = tempfile.TemporaryDirectory()


def make(draw: Draw) -> dict[str, Any]:
    """Return a file of a random format with up to four changes, or a state."""
    form = draw.pick(*FORMATS, "state", "state")
    if form == "state":
        return {"format": form, "state": random_state(draw), "mutations": []}
    base = {
        "seed": draw.integer(0, 99),
        "count": draw.pick(1, 2, 3, 10),
        "compress": draw.pick("", "", "gz", "bz2", "xz"),
    }
    count = draw.pick(0, 1, 1, 1, 2, 2, 3, 4)
    return {"format": form, "base": base, "mutations": [mutation(draw, form) for _ in range(count)]}


def title(case: dict[str, Any]) -> str:
    """Return the title that a finding of this case is filed under."""
    return str(case["format"])


def describe(case: dict[str, Any]) -> str:
    """Return a description of the case in one line."""
    return f"{case['format']} {case.get('base') or case.get('state')}: {case['mutations']}"


def run(case: dict[str, Any], watch: Watch) -> str:
    """Run a case. Return "read", or the name of the documented error."""
    form = case["format"]
    if form == "state":
        return _round_trip(value_of(case["state"]))
    with watch.reference():
        raw = changed(content(form, case["base"]), case["mutations"], form)
    with tempfile.TemporaryDirectory(dir=_folder.name) as folder:
        path, read = _placed(form, Path(folder), raw, case["base"]["count"])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read()
                return "read"
            except ValueError as error:  # and its subclasses DataFileError and StateError
                _check(error, path, case)
                return type(error).__name__
            except MemoryError:
                return "MemoryError"
            except TypeError as error:  # raised by what takes a state
                if form not in ("optimizer", "loader", "model") or not str(error):
                    raise internal_error(error) from None
                return "TypeError"
            except OSError as error:
                if error.filename is None and path.name not in str(error):
                    raise Fault(
                        "unnamed error", f"{type(error).__name__}: {error}", place_of(error)
                    ) from None
                return type(error).__name__
            except Exception as error:
                raise internal_error(error) from None


def _check(error: Exception, path: Path, case: dict[str, Any]) -> None:
    """Raise Fault unless the error of a data file names the file. A valid file must be read."""
    if not case["mutations"]:
        raise Fault("refused", f"{type(error).__name__}: {error}")
    if isinstance(error, UnicodeError) or not str(error):
        raise Fault("internal error", f"{type(error).__name__}: {error}", place_of(error))
    if case["format"] in ("idx", "cifar", "tar") and not isinstance(error, data.DataFileError):
        raise Fault("other error", f"{type(error).__name__}: {error}", place_of(error))
    if (
        case["format"] not in ("optimizer", "loader")
        and path.name not in str(error)
        and not isinstance(error, nn.StateError)
    ):
        raise Fault("unnamed error", f"{type(error).__name__}: {error}", place_of(error))


def _placed(form: str, folder: Path, raw: bytes, count: int) -> tuple[Path, Any]:
    """Write the content to its place, images beside labels, and return the file and the function
    that reads it.
    """
    other = {"seed": 1, "count": count, "compress": ""}
    if form == "idx":
        path = folder / "t10k-images-idx3-ubyte"
        labels = content("labels", other)
        (folder / "t10k-labels-idx1-ubyte").write_bytes(labels)
        read = lambda: data.MNIST(folder, split="test")  # noqa: E731
    elif form == "labels":
        path = folder / "t10k-labels-idx1-ubyte"
        images = content("idx", other)
        (folder / "t10k-images-idx3-ubyte").write_bytes(images)
        read = lambda: data.MNIST(folder, split="test")  # noqa: E731
    elif form == "cifar":
        path = folder / "test_batch.bin"
        read = lambda: data.CIFAR10(folder, split="test")  # noqa: E731
    elif form == "tar":
        path = folder / "cifar-10-binary.tar.gz"
        # Of this process alone, so that each case has its own cache.
        os.environ["MINIDL_CACHE"] = str(folder / "cache")
        read = lambda: data.CIFAR10(folder, split="test")  # noqa: E731
    else:
        path = folder / "state.safetensors"
        read = lambda: _load(form, path)  # noqa: E731
    path.write_bytes(raw)
    return path, read


def _load(form: str, path: Path) -> None:
    """Load a state into what it is a state of, and use that."""
    state = md.load(path)
    if form == "model":
        model = nn.Sequential(nn.Dense(3, 4), nn.BatchNorm(4))
        if isinstance(state, dict):
            model.load_state_dict(state)
            model.predict(np.ones((2, 3), np.float32))
    elif form == "optimizer":
        weight = nn.Parameter(np.ones((3, 2), np.float32))
        optimizer = optim.Adam([weight], lr=0.1)
        optimizer.load_state_dict(state)
        weight.grad = np.ones((3, 2), np.float32)
        optimizer.step()
        optimizer.state_dict()
    elif form == "loader":
        pairs = data.ArrayDataset(np.zeros((9, 2, 2, 1), np.uint8), np.arange(9))
        loader = data.DataLoader(pairs, batch_size=2, shuffle=True, seed=1, prefetch=0)
        if isinstance(state, dict):
            loader.load_state_dict(state)
            next(iter(loader), None)


def _round_trip(state: Any) -> str:
    """Save a state and load it. The result must be the same, or saving must be refused with a
    reason.
    """
    path = os.path.join(_folder.name, "round.safetensors")
    try:
        md.save(path, state)
    except (TypeError, ValueError) as error:
        if "save" not in str(error):
            raise Fault(
                "unnamed error", f"{type(error).__name__}: {error}", place_of(error)
            ) from None
        return f"save {type(error).__name__}"
    except Exception as error:
        raise Fault(
            "internal error",
            f"save: {type(error).__name__}: {error}",
            f"{type(error).__name__} {place_of(error)}",
        ) from None
    try:
        loaded = md.load(path)
    except Exception as error:
        raise Fault(
            "unread",
            f"what was saved is not read: {type(error).__name__}: {error}",
            place_of(error),
        ) from None
    if not same(state, loaded):
        raise Fault("difference", f"saved {state!r}, loaded {loaded!r}")
    return "same"


__all__ = ["Invalid", "describe", "make", "run", "title"]
