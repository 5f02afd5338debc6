"""This tool writes the last tables of docs/coming-from.md from the texts of errors: `make docs`.

`minidl.foreign_names` knows what names of PyTorch and Keras are called in minidl. The page lists
all of them, so that one can look a name up without making the mistake first.
"""

from __future__ import annotations

import re
from pathlib import Path

from minidl import foreign_names

from . import marked_tables

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from.md"
# These parts of an error's text are code: names of a module with the arguments of a call, and
# expressions and assignments of x.
CODE = re.compile(
    r"""
    \bx(?:\.data(?:\[\.\.\.\])?)?\ [-+*]?=\ \w+(?:\ [-+*]\ y)?       # x.data[...] = 0
    | \bx\ (?:[-+*/@<>]|\*\*|[=!<>]=)\ \w+(?:\ \+\ \w+)?             # x @ weight + bias
    | \bx\[\w+\] | -x\b
    | \b(?:md|nn|optim|data|np|T|x|model|layer|loss|minidl|self)\.\w[\w.]*
      (?:\((?:[^()]|\([^()]*\))*\))*                                  # md.sqrt((x * x).sum())
      (?:\ =\ \w[\w.]*)?                                             # self.name = layer
    """,
    re.X,
)


def table(names: dict[str, str], owner: str = "") -> str:
    rows = [
        f"| `{name}` | {instead(text, owner)} |"
        for name, text in sorted(names.items(), key=lambda item: item[0].lower())
    ]
    return "\n".join(["| elsewhere | here |", "|---|---|", *rows])


def instead(text: str, owner: str) -> str:
    """Return the text of an error with its code in backquotes. A bare name gets the same owner."""
    if re.fullmatch(r"\w+(\(.*\))?", text):
        return f"`{text}`" if text.startswith("tuple(") else f"`{owner}{text}`"
    return CODE.sub(lambda found: f"`{found[0]}`", text)


TABLES = {
    "tensor": lambda: table(foreign_names.TENSOR, "x."),
    "functions": lambda: table(foreign_names.FUNCTIONS),
    "layers": lambda: table(foreign_names.LAYERS),
    "of layers": lambda: table(foreign_names.OF_LAYERS, "layer."),
    "optimizers": lambda: table(foreign_names.OPTIMIZERS),
    "of optimizers": lambda: table(foreign_names.OF_OPTIMIZERS, "optimizer."),
    "data": lambda: table(foreign_names.DATA | foreign_names.TRANSFORMS),
    "training": lambda: table(foreign_names.TRAIN | foreign_names.MODELS),
    "arguments": lambda: table(foreign_names.ARGUMENTS),
}


def page() -> str:
    """Return the page as it should be."""
    return marked_tables.filled(PAGE.read_text(encoding="utf-8"), TABLES)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
