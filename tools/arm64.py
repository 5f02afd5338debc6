"""This tool runs the kernel tests on ARM64, from an x86-64 machine with Debian or Ubuntu.

    python -m tools.arm64                               all tests of kernels
    python -m tools.arm64 tests/minidl_ext/norm -x      these, with options of pytest

aarch64-linux-gnu-gcc compiles the kernels, and an emulator (qemu-aarch64-static) runs the tests
with an ARM64 Python, which comes from the same package archive as this system. Nothing is
installed: all files are kept in build/arm64, and the kernels beside those of this machine. Only two
packages must be installed before: apt-get install g++-aarch64-linux-gnu qemu-user-static

An emulated CPU takes 20 to 50 times as long, and the process has a thread more, the emulator's. So
the file of tests that count threads, runtime/test_thread_budget.py, is left out of "all", and tests
of random cases try fewer of them.
"""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "build" / "arm64"
# ARM64's Python, its libraries and headers, in the folders of a root file system.
SYSTEM = HOME / "system"
PYTHON = HOME / "python"  # a program that runs it
COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64-static"
# The C++ compiler is looked for by its own name, because the driver can be there without it.
NEEDED = (COMPILER, "aarch64-linux-gnu-g++", EMULATOR, "apt-get", "dpkg-deb")
ARCHIVED = ("python3", "libpython3-dev", "libgomp1", "libstdc++6")
PACKAGES = ("numpy>=2.0", "pytest>=8", "hypothesis>=6", "setuptools>=77")
TESTED = ("tests/minidl_ext", "tests/kernels")
LEFT_OUT = ("runtime/test_thread_budget.py",)
EXAMPLES = 15  # random cases of a test, of which there are 150 elsewhere


def main() -> int:
    if sys.argv[1:2] in (["-h"], ["--help"]):
        print(__doc__)
        return 0
    if missing := [name for name in NEEDED if not shutil.which(name)]:
        print(
            f"minidl: {', '.join(missing)} not found: this needs Debian or Ubuntu, and apt-get "
            "install g++-aarch64-linux-gnu qemu-user-static",
            file=sys.stderr,
        )
        return 2
    prepare()
    build()
    ignored = [f"--ignore={TESTED[0]}/{name}" for name in LEFT_OUT]
    chosen = sys.argv[1:] or [*TESTED, *ignored]
    command = [PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen]
    tested = environment(MINIDL_TEST_EXAMPLES=str(EXAMPLES))
    return subprocess.run(command, cwd=ROOT, env=tested).returncode


def prepare() -> None:
    """Fetch and unpack Python and the packages that the tests need, if this has not been done."""
    done = HOME / "prepared"
    wanted = " ".join((*ARCHIVED, *PACKAGES))
    if done.exists() and done.read_text() == wanted:
        return
    print(f"minidl: fetching Python for ARM64 into {SYSTEM}", flush=True)
    shutil.rmtree(HOME, ignore_errors=True)
    for archive in fetched():
        run("dpkg-deb", "-x", archive, SYSTEM)
    for name in ("lib", "bin"):  # newer systems have these folders in usr alone
        if not (SYSTEM / name).exists():
            (SYSTEM / name).symlink_to(f"usr/{name}")
    python = next(SYSTEM.glob("usr/bin/python3.[0-9]*"))
    version = python.name.removeprefix("python")
    words = [
        EMULATOR,
        "-0",
        str(PYTHON),
        "-L",
        str(SYSTEM),
        "-E",
        f"PYTHONHOME={SYSTEM}/usr",
        str(python),
    ]
    PYTHON.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    PYTHON.chmod(0o755)
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in range(17, 37)]
    run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={version}",
        f"--abi=cp{version.replace('.', '')}",
        *platforms,
        "--target",
        SYSTEM / "usr/lib/python3/dist-packages",
        *PACKAGES,
    )
    for folder in ("state", "cache"):
        shutil.rmtree(HOME / folder)
    done.write_text(wanted)


def fetched() -> list[Path]:
    """Download the archives of ARM64's Python and of all that it needs. The apt that does so takes
    no package for installed.
    """
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (HOME / folder).mkdir(parents=True)
    (HOME / "status").touch()
    settings = (
        "APT::Architecture=arm64",
        "APT::Architectures=arm64",
        f"Dir::State={HOME}/state",
        f"Dir::State::status={HOME}/status",
        f"Dir::Cache={HOME}/cache",
        "Debug::NoLocking=true",
        "APT::Sandbox::User=",
    )
    apt = ["apt-get", "-qq", *(word for setting in settings for word in ("-o", setting))]
    run(*apt, "update")
    run(*apt, "install", "--download-only", "-y", "--no-install-recommends", *ARCHIVED)
    return sorted(HOME.glob("cache/archives/*.deb"))


def build() -> None:
    """Compile the kernels that have changed, by a setup.py that is told that it runs on ARM64."""
    described = next(SYSTEM.glob("usr/lib/python3.*/_sysconfigdata__*.py"))
    (HOME / "described").mkdir(exist_ok=True)
    shutil.copy(described, HOME / "described")
    headers = next(SYSTEM.glob("usr/include/python3.*/Python.h")).parent
    variables = {
        "CC": f"{COMPILER} -I{headers} -idirafter {SYSTEM}/usr/include",
        "MINIDL_BUILD_ISA": "base",
        "PYTHONPATH": str(HOME / "described"),
        "_PYTHON_SYSCONFIGDATA_NAME": described.stem,
        "_PYTHON_HOST_PLATFORM": "linux-aarch64",
    }
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", env=environment(**variables))


def environment(**variables: str) -> dict[str, str]:
    """Return the environment variables of a command. None of them may be a setting for this
    machine's kernels.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("MINIDL_", "PYTHON"))
    }
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    subprocess.run(command, cwd=ROOT, env=env, check=True)


if __name__ == "__main__":
    sys.exit(main())
