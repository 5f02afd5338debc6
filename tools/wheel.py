"""This tool builds the wheel: one file with kernels for every instruction-set level and, on Linux,
with the OpenMP runtime.

    python -m tools.wheel           writes dist/*.whl
    python -m tools.wheel --try     and installs it in an environment of its own, where it must
                                    train at each level that this CPU runs, without a compiler

On Linux auditwheel copies GNU OpenMP's library into the wheel, links the kernels to that copy,
strips symbols, and finds the platform tag, which is the oldest C library that has all that the
wheel needs. This depends on the system on which the wheel is built, so cibuildwheel
(pyproject.toml) builds it in a container of an old system. On other systems the wheel is used as
the compiler leaves it.
"""

import argparse
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from . import small_zip

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "wheel"
DIST = ROOT / "dist"
DATA = "minidl/data/files/"  # MNIST's files
LIMIT = 3_000_000  # the largest size of all the rest, in bytes

# The trial: a network with batch normalization learns MNIST's digits within a second or two.
PROGRAM = """
import minidl as md
from minidl import data, models, optim

md.manual_seed(0)
digits, test = data.MNIST(split="train"), data.MNIST(split="test")
loader = data.DataLoader(data.Subset(digits, range(4000)), batch_size=64, shuffle=True, seed=0)
model = models.create("mnist-cnn")
optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
for images, labels in loader:
    loss = md.cross_entropy(model(images), labels)
    model.zero_grad()
    loss.backward()
    optimizer.step()
accuracy = md.accuracy(model.predict(test.images[:1000]), test.labels[:1000])
print(f"{md.kernels.isa}: test accuracy {accuracy:.4f} after {len(loader)} steps")
assert accuracy > 0.9
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.wheel",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--try", action="store_true", dest="tried", help="install and run it")
    args = parser.parse_args()
    wheel = repaired(built())
    small_zip.rewrite(wheel)
    describe(wheel)
    if args.tried:
        attempt(wheel)
    return 0


def built() -> Path:
    """Return the wheel as setup.py makes it."""
    shutil.rmtree(HOME, ignore_errors=True)
    environment = {"MINIDL_BUILD_ISA": "all", **os.environ}
    subprocess.run(
        [sys.executable, "-W", "ignore", "setup.py", "-q", "bdist_wheel", "--dist-dir", HOME],
        cwd=ROOT,
        env=environment,
        check=True,
    )
    return next(HOME.glob("*.whl"))


def repaired(wheel: Path) -> Path:
    """Return the wheel in dist/ that has all that it needs."""
    DIST.mkdir(exist_ok=True)
    if sys.platform != "linux":
        print("minidl: this wheel needs an OpenMP library where it is installed", flush=True)
        return Path(shutil.copy(wheel, DIST))
    folder = HOME / "repaired"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    subprocess.run(
        [sys.executable, "-m", "auditwheel", "repair", "--strip", "--wheel-dir", folder, wheel],
        env={**os.environ, "PATH": path},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return Path(shutil.copy(next(folder.glob("*.whl")), DIST))


def describe(wheel: Path) -> None:
    """Print what is in the wheel, and how large its parts are."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.compress_size for info in archive.infolist()}
    data = sum(size for name, size in sizes.items() if name.startswith(DATA))
    rest = wheel.stat().st_size - data
    libraries = {name: size for name, size in sizes.items() if ".so" in name or ".dylib" in name}
    print(f"minidl: {wheel.relative_to(ROOT)}: {rest / 1e6:.2f} MB, and {data / 1e6:.2f} of MNIST")
    for name, size in sorted(libraries.items()):
        print(f"    {size / 1e6:6.3f} MB  {name}")
    print(f"    {(rest - sum(libraries.values())) / 1e6:6.3f} MB  Python and texts")
    if rest > LIMIT:
        print(
            f"NOTICE: without MNIST this is more than {LIMIT / 1e6:g} MB; does the linker fold "
            "functions of the same code (gold, lld; see setup.py)?"
        )


def attempt(wheel: Path) -> None:
    """Install the wheel where there is no compiler, and train at each level."""
    home = HOME / "environment"
    python = home / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", home], check=True)
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MINIDL_", "PYTHON"))
    }
    bare = {**kept, "PATH": str(home / "bin"), "CC": "no-compiler"}
    subprocess.run(
        [
            python,
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--only-binary=:all:",
            wheel,
        ],
        env=bare,
        check=True,
    )
    subprocess.run([python, "-I", "-m", "minidl", "info"], cwd=home, env=bare, check=True)
    code = "import minidl_ext as m; print(*[x for x in m.AVAILABLE if x in m.SUPPORTED])"
    levels = subprocess.run(
        [python, "-I", "-c", code], cwd=home, env=bare, check=True, capture_output=True, text=True
    ).stdout.split()
    for level in levels:
        subprocess.run(
            [python, "-I", "-c", PROGRAM], cwd=home, check=True, env={**bare, "MINIDL_ISA": level}
        )


if __name__ == "__main__":
    sys.exit(main())
