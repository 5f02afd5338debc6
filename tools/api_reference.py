"""This tool writes docs/api.md, the reference of the public API, from the docstrings: `make docs`.

The page depends on the sources alone. A paragraph of prose in a docstring becomes Markdown, an
indented one (a formula) a code block, and one that begins with `>>>` an example. Lines of the form
`name: meaning` become a list of arguments, and columns below ruled lines of `=` a table.
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "api.md"
WIDTH = 96

# (module, prefix of its names, whether its names are grouped by the files that define them)
MODULES = (
    ("minidl", "md.", False),
    ("minidl.ops", "md.", True),
    ("minidl.nn", "nn.", True),
    ("minidl.nn.init", "nn.init.", False),
    ("minidl.optim", "optim.", False),
    ("minidl.data", "data.", False),
    ("minidl.data.cache", "data.cache.", False),
    ("minidl.data.transforms", "T.", False),
    ("minidl.models", "models.", False),
    ("minidl.train", "train.", False),
    ("minidl.lab", "lab.", False),
    ("minidl.onnx", "md.onnx.", False),
    ("minidl.torch", "md.torch.", False),
    ("minidl.sklearn", "sklearn.", False),
)

NAMES_OF = [name for name, _, _ in MODULES]

HEAD = """\
# API reference

Written by `make docs` from the docstrings; the examples run in the tests, which begin with:

```python
import numpy as np
import minidl as md
from minidl import data, lab, nn, optim, train
from minidl.data import transforms as T
```

How it all fits together: [design.md](design.md).
"""


def page() -> str:
    """Return the whole page: a head, an index, and a section for each module."""
    index, sections, anchors = [], [], Anchors()
    for module_name, prefix, grouped in MODULES:
        module = importlib.import_module(module_name)
        title = f"`{module_name}`"
        index.append(f"\n**[{title}](#{anchors.add(title)})**\n")
        text = "" if module_name == "minidl" else f"\n{markdown(module.__doc__)}\n"
        sections.append(f"\n## {title}\n{text}")
        for group, names in groups(module, grouped):
            links, index_line = [], ""
            if group:
                heading = f"`{group}`"
                index_line = f"[{group.rpartition('.')[2]}](#{anchors.add(heading)}): "
                doc = importlib.import_module(group).__doc__
                sections.append(f"\n### {heading}\n\n{markdown(doc)}\n")
            for name in names:
                heading = prefix + name
                links.append(f"[{name}](#{anchors.add(heading)})")
                level = "####" if group else "###"
                sections.append(f"\n{level} {heading}\n\n{entry(heading, getattr(module, name))}\n")
            index.append(f"- {index_line}{' · '.join(links)}")
    return f"{HEAD}\n## Index\n" + "\n".join(index) + "\n" + "".join(sections)


class Anchors:
    """The anchors that GitHub gives to headings, where equal ones are numbered."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}

    def add(self, heading: str) -> str:
        slug = re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        count = self.seen.get(slug, 0)
        self.seen[slug] = count + 1
        return f"{slug}-{count}" if count else slug


def groups(module: ModuleType, grouped: bool) -> Iterator[tuple[str, list[str]]]:
    """Return (defining module, names in the order of its source), or one nameless group if the
    names are not grouped.
    """
    names = public_names(module)
    if not grouped:
        yield "", names
        return
    homes = {name: getattr(module, name).__module__ for name in names}
    for home in sorted(set(homes.values())):
        order = list(vars(importlib.import_module(home)))
        yield home, sorted((n for n in names if homes[n] == home), key=order.index)


def public_names(module: ModuleType) -> list[str]:
    """Return the public functions and classes. The operations are listed in minidl.ops alone."""
    own = [
        name
        for name, value in vars(module).items()
        if name[0] != "_" and getattr(value, "__module__", "") == module.__name__
    ]
    names = [name for name in getattr(module, "__all__", own) if callable(getattr(module, name))]
    if module.__name__ == "minidl":
        names = [name for name in names if name not in module.ops.__all__]
    return names


def entry(name: str, value: Any) -> str:
    """Return the signature, the docstring, and the public methods of a class."""
    is_error = inspect.isclass(value) and issubclass(value, Exception)
    lines = textwrap.fill(
        name if is_error else name + signature(value),
        WIDTH,
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    text = f"```python\n{lines}\n```\n\n{markdown(value.__doc__)}"
    methods = list(documented_members(value)) if inspect.isclass(value) else []
    return "\n\n".join([text, *methods])


def documented_members(cls: type) -> Iterator[str]:
    """Return a list item for each public method and property that has a docstring. Functions that
    are methods too are listed by their names alone.
    """
    own, shared = members(cls)
    for name, member in own:
        body = markdown(getattr(cls, name).__doc__)
        yield textwrap.indent(f"`.{call(cls, name, member)}`: {body}", "  ").replace("  ", "- ", 1)
    if shared:
        names = ", ".join(f"`.{name}`" for name in shared)
        yield textwrap.fill(
            f"- Functions of these names are methods too: {names}.", WIDTH, subsequent_indent="  "
        )


def members(cls: type) -> tuple[list[tuple[str, Any]], list[str]]:
    """Return what a class's entry shows: its public methods and properties that have docstrings, by
    name, with those of bases that no other entry describes; and the names of its methods that are
    functions with an entry of their own.
    """
    shown = {
        getattr(module, name)
        for module in map(importlib.import_module, NAMES_OF)
        for name in public_names(module)
    }
    above = [base for base in cls.__mro__[1:] if base in shown]
    bases = [
        base
        for base in cls.__mro__
        if base is cls
        or (
            base.__module__.startswith("minidl.")
            and base.__name__[0] != "_"
            and not any(issubclass(other, base) for other in above)
        )
    ]
    found = [
        item
        for base in bases
        for item in vars(base).items()
        if item[0][0] != "_" and _is_ours(getattr(cls, item[0], None))
    ]
    shared = sorted(name for name, member in found if inspect.isroutine(member) and member in shown)
    own = [
        (name, member)
        for name, member in found
        if name not in shared
        and (is_property(member) or inspect.isroutine(getattr(cls, name, None)))
        and getattr(cls, name).__doc__
    ]
    return own, shared


def _is_ours(member: Any) -> bool:
    """Return whether minidl defines a member; scikit-learn adds some to the estimators."""
    made_by = getattr(member, "__module__", None) or "minidl"
    return is_property(member) or made_by.startswith("minidl")


def is_property(member: Any) -> bool:
    return isinstance(member, (property, cached_property))


def call(cls: type, name: str, member: Any) -> str:
    """Return a method's name and arguments, or a property's name."""
    if is_property(member):
        return name
    return name + signature(getattr(cls, name), bound=not isinstance(member, classmethod))


def signature(value: Any, bound: bool = False) -> str:
    """Return the names and defaults of the arguments. With `bound` the first parameter, self, is
    left out.
    """
    found = inspect.signature(value)
    parameters = [p.replace(annotation=p.empty) for p in found.parameters.values()][bound:]
    text = str(found.replace(parameters=parameters, return_annotation=found.empty))
    text = re.sub(r"<function (\w+) at 0x\w+>", r"md.\1", text)  # a function as a default
    return re.sub(r"<class 'numpy\.(\w+)'>", r"np.\1", text)


def markdown(docstring: str | None) -> str:
    """Convert a docstring to Markdown."""
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(map(paragraph, paragraphs))


ARGUMENT = re.compile(r"((?:[a-z_]\w*, )*[a-z_]\w*): +(?=\S)")  # "low, high: the first rate"


def paragraph(text: str) -> str:
    if text.startswith(">>>"):
        return f"```pycon\n{text}\n```"
    if re.match(r" *=+ =", text):
        return table(textwrap.dedent(text).splitlines())
    if text.startswith("    "):
        return f"```text\n{textwrap.dedent(text)}\n```"
    items = re.split(r"\n(?=\S)", text)
    if all(map(ARGUMENT.match, items)):
        return "\n".join(map(argument, items))
    # Prose that ends in indented lines is followed by a formula without an empty line in between.
    prose, formula = re.fullmatch(r"(.*?)((?:\n {4}.*)*)", text, re.S).groups()  # type: ignore[union-attr]
    block = f"\n\n{paragraph(formula[1:])}" if formula else ""
    return escaped(prose) + block


def argument(text: str) -> str:
    """Return the list item of an argument from its line and the further indented lines that
    continue it.
    """
    _, names, meaning = ARGUMENT.split(re.sub(r"\n +", " ", text), maxsplit=1)
    return f"- {', '.join(f'`{name}`' for name in names.split(', '))}: {escaped(meaning)}"


def table(lines: list[str]) -> str:
    """Convert a table whose columns are below ruled lines of =. Its first row has the headings."""
    spans = [found.span() for found in re.finditer("=+", lines[0])]
    spans[-1] = (spans[-1][0], WIDTH)
    rows = [
        [escaped(line[slice(*span)].strip()) for span in spans]
        for line in lines
        if not line.startswith("=")
    ]
    rows.insert(1, ["---"] * len(spans))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def escaped(text: str) -> str:
    """Escape the characters of prose that have a meaning in Markdown, but not those in
    backquotes.
    """
    parts = re.split(r"(`[^`]*`)", text)
    parts[::2] = [re.sub(r"[*<]|(?<!\w)_|_(?!\w)", r"\\\g<0>", part) for part in parts[::2]]
    return re.sub(r"^([-+=#>])(?=[ =\n])", r"\\\1", "".join(parts), flags=re.M)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
