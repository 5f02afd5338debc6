"""This tool runs the kernel tests with checks of memory accesses and of undefined behaviour (GCC,
Linux).

    python -m tools.sanitize                    both checks, all instruction sets
    python -m tools.sanitize --isa v4 v3 --jobs 2
    python -m tools.sanitize --fuzz 10          instead, random cases of kernels for ten minutes

A copy of the tree in build/sanitize is built with AddressSanitizer, UndefinedBehaviorSanitizer and
Cython's bounds checks, so that the kernels in use are not replaced. Its test files run one by one
on each instruction set, as many at a time as there are CPUs. Files that have passed are noted, and
are not run again until the sources change, so that a run which was interrupted continues where it
was.
"""

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TREE = ROOT / "build" / "sanitize"
PASSED = ROOT / "build" / "sanitize.json"
COPIED = (
    "minidl",
    "minidl_ext",
    "tests",
    "fuzz",
    "setup.py",
    "build_steps.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
TESTED = ("tests/minidl_ext", "tests/kernels")

# The check of alignment is left out, because it fails in headers that are not ours: the structures
# of NumPy and Python are read through char pointers. Kernels check the alignment of their own
# arrays when they begin. Run-time types (vptr) are not checked either, because kernels have none.
FLAGS = (
    "-fsanitize=address,undefined",
    "-fno-sanitize=alignment",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.sanitize",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--isa", nargs="*", help="levels to run (all that this CPU supports)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--fuzz",
        type=float,
        metavar="MINUTES",
        help="run the fuzzer of kernels for so long on each level, no tests",
    )
    parser.add_argument("words", nargs="*", help="only test files with one of these in the path")
    args = parser.parse_args()
    copy_tree()
    build(args.isa or ["all"])
    levels = args.isa or supported()
    if args.fuzz is not None:
        command = [sys.executable, "-m", "fuzz", "kernels", "--minutes", str(args.fuzz)]
        return max(sandboxed(command, {"MINIDL_ISA": isa}, shown=True).returncode for isa in levels)
    files = [
        path
        for folder in TESTED
        for path in sorted((TREE / folder).rglob("test_*.py"))
        if not args.words or any(word in str(path.relative_to(TREE)) for word in args.words)
    ]
    passed, sources, noting = noted(), digest(), threading.Lock()
    todo = [
        (isa, path)
        for path in files
        for isa in levels
        if passed.get(key(isa, path)) != mark(sources, path)
    ]
    print(
        f"minidl: {len(files) * len(levels) - len(todo)} passed before, {len(todo)} to run",
        flush=True,
    )

    def run(item: tuple[str, Path]) -> bool:
        isa, path = item
        done = tested(isa, path)
        good = done.returncode == 0
        print(f"minidl: {isa} {path.relative_to(TREE)}: {'ok' if good else 'FAILED'}", flush=True)
        if good:
            with noting:
                passed[key(isa, path)] = mark(sources, path)
                PASSED.write_text(json.dumps(passed, indent=1))
        else:
            print(done.stdout[-6000:] + done.stderr[-6000:], flush=True)
        return good

    with ThreadPoolExecutor(args.jobs) as pool:
        return int(not all(list(pool.map(run, todo))))


def copy_tree() -> None:
    """Bring the copy up to date. Files that did not change keep their times, so that the build sees
    this.
    """
    for name in COPIED:
        for source in [ROOT / name] if (ROOT / name).is_file() else (ROOT / name).rglob("*"):
            if source.is_dir() or source.suffix in (".so", ".pyc"):
                continue
            target = TREE / source.relative_to(ROOT)
            if not target.exists() or target.read_bytes() != source.read_bytes():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    for target in [path for name in COPIED[:4] for path in (TREE / name).rglob("*.p*")]:
        if target.is_file() and not (ROOT / target.relative_to(TREE)).exists():
            target.unlink()  # a file that is no longer in the tree


def build(levels: list[str]) -> None:
    """Compile the copy's kernels for these levels, as far as they have changed."""
    environment = {
        **os.environ,
        "CFLAGS": " ".join(FLAGS),
        "MINIDL_DEBUG": "1",
        "MINIDL_BUILD_ISA": ",".join(levels),
        "PYTHONPATH": "",
    }
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=TREE,
        env=environment,
        check=True,
    )


def supported() -> list[str]:
    """Return the levels that were built and that this CPU runs, the best first."""
    code = "import minidl_ext as m; print(*[x for x in m.SUPPORTED if x in m.AVAILABLE])"
    done = sandboxed([sys.executable, "-c", code], {})
    return done.stdout.split()[::-1]


def tested(isa: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Return the finished tests of a file on a level. Output is not captured, because an abort
    would lose it.
    """
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-s",
        "-p",
        "no:cacheprovider",
        "-x",
        str(path.relative_to(TREE)),
    ]
    return sandboxed(command, {"MINIDL_ISA": isa, "OMP_NUM_THREADS": "2"})


def sandboxed(
    command: list[str], variables: dict[str, str], shown: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy, with the sanitizers' libraries loaded before all others."""
    libraries = [
        subprocess.run(
            [os.environ.get("CC", "gcc"), f"-print-file-name={name}"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    environment = {
        **os.environ,
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONPATH": str(TREE),
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
        **variables,
    }
    return subprocess.run(command, cwd=TREE, env=environment, capture_output=not shown, text=True)


def digest() -> str:
    """Return a digest of what all tests depend on: kernels, twins and their build."""
    files = [
        path
        for pattern in ("minidl_ext/**/*.p*", "minidl_ext/**/*.h", "minidl/**/*.py")
        for path in sorted(TREE.glob(pattern))
    ]
    content = b"".join(path.read_bytes() for path in [*files, TREE / "setup.py"])
    return hashlib.sha256(content + repr((FLAGS, platform.python_version())).encode()).hexdigest()


def mark(sources: str, path: Path) -> str:
    """Return a digest by which a passed test file is noted: of itself, of what it imports, and of
    `sources`.
    """
    folders = [TREE / "tests" / "support", *(TREE / x for x in path.relative_to(TREE).parents)]
    helpers = b"".join(
        p.read_bytes()
        for folder in folders
        for p in sorted(folder.glob("*.py"))
        if not p.name.startswith("test_")
    )
    return hashlib.sha256(sources.encode() + helpers + path.read_bytes()).hexdigest()


def key(isa: str, path: Path) -> str:
    return f"{isa} {path.relative_to(TREE)}"


def noted() -> dict[str, str]:
    """Return the files that have passed, by level."""
    try:
        return dict(json.loads(PASSED.read_text()))
    except (OSError, ValueError):
        return {}


if __name__ == "__main__":
    sys.exit(main())
