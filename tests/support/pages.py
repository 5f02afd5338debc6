"""This module runs the pages of the documentation as a reader would: block after block, in an empty
folder.

The fence of a block says what it is:

    python          runs in one namespace a page; `print(...)  # Text` prints that text
    python FILE     is quoted from a file of the sources
    python torch    needs PyTorch (or keras); tests/parity runs it
    pycon           runs and prints what it says, in the same namespace
    sh              commands: those of `minidl` run, others exist and have such options
    text            is shown
"""

import contextlib
import doctest
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
import tomllib
import types
from functools import cache

from tests.support.processes import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\S*)[ ]?(\S*)\n(.*?)^```$", re.M | re.S)
ELSEWHERE = ("torch", "keras")
PRINTED = re.compile(r"print\(.*\) {2,}# ([(\[A-Z].*?)(?:: .*)?$", re.M)
SETTING_UP = ("python3 -m venv", ". .venv/bin/activate")


def blocks(page):
    """Return (language, the rest of the fence, text) for each block of a page."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def run(page, folder, given=""):
    """Run all blocks of a page in a folder, where the reader already has the names in `given`."""
    name = page.stem.replace("-", "_")
    module = types.ModuleType(name)
    sys.modules[name] = module  # so that a class of the page can be imported, as from a file
    try:
        exec(given, module.__dict__)
        for language, more, text in blocks(page):
            if language == "python" and more in ELSEWHERE:
                continue
            if language == "python" and more:
                assert quoted(text, ROOT / more), f"{page.name}: not what {more} says:\n{text}"
            elif language == "python":
                python(text, module.__dict__, page.name)
            elif language == "pycon":
                session(text, module.__dict__, page.name)
            elif language == "sh":
                for command in commands(text):
                    shell(command, folder)
            else:
                assert language == "text", f"{page.name}: what is a block of {language!r}?\n{text}"
    finally:
        del sys.modules[name]


def python(text, names, where):
    """Run a block. Everything that its comments say it prints must be in its output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(text, where, "exec"), names)
    for expected in PRINTED.findall(text):
        assert expected in said.getvalue(), f"{where}: {expected!r} is not printed by\n{text}"


def session(text, names, where):
    """Run a session of the interpreter, which must print what it shows."""
    examples = doctest.DocTestParser().get_doctest(text, {}, where, where, 0)
    examples.globs = names
    said = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append, clear_globs=False)
    assert result.attempted and not result.failed, "".join(said)


def quoted(text, path):
    """Return whether a file has these lines one after the other, with any indentation."""

    def lines(content):
        return [line.strip() for line in content.strip().splitlines()]

    def declared(line):  # pages leave types out
        return re.sub(r": [A-Z]\w*(\[.*?\])?(?=[,)])| -> .*(?=:$)", "", line)

    wanted, there = lines(text), [declared(line) for line in lines(path.read_text())]
    return any(
        there[i : i + len(wanted)] == [declared(line) for line in wanted] for i in range(len(there))
    )


def commands(text):
    """Return the commands of a block, without comments."""
    text = re.sub(r"(^| {2,})#.*$", "", text.replace("\\\n", " "), flags=re.M)
    return [part.strip() for line in text.splitlines() for part in line.split("&&") if part.strip()]


def shell(command, folder):
    """Run a command of minidl. Of other commands, check that the program exists."""
    if command.startswith("minidl "):
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=600,
            env=environment(),
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    elif not command.startswith(SETTING_UP):
        check(command)


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def check(command):
    """Check, without running it, that a program exists and has the options that it is given."""
    words = shlex.split(command)
    while re.match(r"[A-Z_]+=", words[0]):  # settings of the environment
        words.pop(0)
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text()
        targets = [word for word in words[1:] if "=" not in word]
        for target in targets:
            assert re.search(rf"^{target}:.*## ", makefile, re.M), f"{command}: no such target"
    elif words[:2] == ["pip", "install"]:
        extras = re.findall(r"\[([\w,]*)\]", command)
        declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        for extra in ",".join(extras).split(",") if extras else []:
            assert extra in declared["optional-dependencies"], f"{command}: no extra {extra!r}"
    elif words[:2] == ["python", "-m"]:
        assert importlib.util.find_spec(words[2]), f"{command}: no such module"
        options(command, ("-m", words[2]), words[3:])
    elif words[0] == "python":
        assert (ROOT / words[1]).exists(), f"{command}: no such file"
        options(command, (words[1],), words[2:])
    elif words[0] == "minidl":
        options(command, ("-m", *words[:2]), words[2:])
    else:
        raise AssertionError(f"{command}: a command that no test knows")


def options(command, program, words):
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in help_of(program), f"{command}: no option {word}"


@cache
def help_of(program):
    """Return a program's help."""
    done = subprocess.run(
        [sys.executable, *program, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env=environment(),
    )
    return done.stdout


def inline_commands(page):
    """Return the commands within the sentences of a page."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    found = [
        " ".join(command.split())
        for command in re.findall(
            r"`((?:make|python -m|python [\w/]+\.py|pip install|minidl)(?: [^`]+)?)`", text
        )
    ]
    return [
        command
        for command in found
        if not re.search(r"[.]{3}|[A-Z]{4,}(?!=)", command) or command.startswith("make")
    ]


def table_cells(text, column):
    """Return the pieces of code in one column, given by its number, of all tables of a text."""
    cells = [
        re.split(r"(?<!\\)\|", line)[column + 1]
        for line in text.splitlines()
        if line.startswith("| ") or line.startswith("|  ")
    ]
    return [code for cell in cells for code in re.findall(r"`([^`]+)`", cell)]


def photos(folder):
    """Make the folder that a reader of the guides has: three classes of ten pictures, and a cat."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "bird"):
        (folder / "photos" / name).mkdir(parents=True)
        for i in range(10):
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(
                folder / "photos" / name / f"{i}.png"
            )
    Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(folder / "cat.jpg")
