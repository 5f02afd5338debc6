"""This tool splits docs/api.md into pages of the site, one for each module, from the same
docstrings.

Each function, class and method is a directive of Sphinx, so that the search, the index and links
from other pages know it. `tools.api_reference` makes its text. A public name in backquotes, such as
`md.relu`, is a link everywhere on the site.
"""

from __future__ import annotations

import importlib
import inspect
import re
from functools import cache
from typing import Any

from . import api_reference as api

# The subject of each page, which follows the name of its module.
ABOUT = {
    "minidl": "tensors, graphs, compiled models, files, settings",
    "minidl.ops": "operations",
    "minidl.nn": "layers",
    "minidl.nn.init": "first values of weights",
    "minidl.optim": "optimizers and schedules",
    "minidl.data": "data sets and loaders",
    "minidl.data.cache": "what was decoded once",
    "minidl.data.transforms": "augmentation",
    "minidl.models": "networks and their files",
    "minidl.train": "the trainer",
    "minidl.onnx": "files for other runtimes, and of other frameworks",
    "minidl.lab": "the normalization lab",
    "minidl.torch": "weights from PyTorch, and back",
    "minidl.sklearn": "estimators for scikit-learn",
}

HEAD = """\
# Reference

Every public function and class, from its docstring. The examples run in the tests, which begin
with:

```python
import numpy as np
import minidl as md
from minidl import data, lab, models, nn, optim, train
from minidl.data import transforms as T
```
"""


def pages() -> dict[str, str]:
    """Return the text of each page by its place in the site. The first one is the index of the
    reference.
    """
    made, rows, anchors = {}, [], api.Anchors()
    for module_name, prefix, grouped in api.MODULES:
        name = module_name.replace(".", "-")
        text, count = module_page(module_name, prefix, grouped, anchors)
        made[f"reference/{name}.md"] = text
        rows.append(f"| [`{module_name}`]({name}.md) | {ABOUT[module_name]} | {count} |")
    table = "\n".join(["| module | | names |", "|---|---|---|", *rows])
    tree = "\n".join(
        [
            "```{toctree}",
            ":hidden:",
            "",
            *(page.removeprefix("reference/").removesuffix(".md") for page in made),
            "```",
        ]
    )
    return {"reference/index.md": f"{HEAD}\n{table}\n\n{tree}\n", **made}


def module_page(
    module_name: str, prefix: str, grouped: bool, anchors: api.Anchors
) -> tuple[str, int]:
    """Return a module's page and the number of names on it. Its anchors are those of
    docs/api.md.
    """
    module = importlib.import_module(module_name)
    title = f"`{module_name}`"
    parts = [f"({anchors.add(title)})=", f"# {title}: {ABOUT[module_name]}"]
    if module_name != "minidl":
        parts.append(api.markdown(module.__doc__))
    place = len(parts)  # the place of the table of contents
    contents, count = [], 0
    for group, names in api.groups(module, grouped):
        rows = []
        if group:
            parts.append(f"({anchors.add(f'`{group}`')})=")
            parts.append(f"## {group.rpartition('.')[2]}")
            parts.append(api.markdown(importlib.import_module(group).__doc__))
        for name in names:
            anchor = anchors.add(prefix + name)
            value = getattr(module, name)
            rows.append(f"| [`{name}`](#{anchor}) | {summary(value)} |")
            parts += [f"({anchor})=", entry(module_name, name, value)]
        head = f"| **{group.rpartition('.')[2]}** | |" if group else ""
        contents += [head, *rows] if group else rows
        count += len(names)
    parts.insert(place, "\n".join(["| | |", "|---|---|", *contents]))
    return "\n\n".join(parts) + "\n", count


def summary(value: Any) -> str:
    """Return the first sentence of a docstring, for a cell of a table."""
    paragraph = inspect.cleandoc(value.__doc__ or "").split("\n\n")[0]
    first = re.split(r"(?<=[.;:])(?<!et al\.)(?<!cf\.)\s", " ".join(paragraph.split()))[0]
    return api.escaped(first.rstrip(".;:")).replace("|", "\\|")


def entry(module_name: str, name: str, value: Any) -> str:
    """Return a function, or a class with its methods, as a directive."""
    module_name = "minidl" if module_name == "minidl.ops" else module_name
    body = [api.markdown(value.__doc__)]
    if not inspect.isclass(value):
        kind, call = "function", name + api.signature(value)
    elif issubclass(value, Exception):
        kind, call = "exception", name
    else:
        kind, call = "class", name + api.signature(value)
        own, shared = api.members(value)
        body += [member(value, *item) for item in own]
        if shared:
            links = ", ".join(f"{{py:func}}`.{name} <minidl.{name}>`" for name in shared)
            body.append(f"Functions of these names are methods too: {links}.")
    return directive(kind, call, [f":module: {module_name}"], "\n\n".join(body), "``````")


def member(cls: type, name: str, found: Any) -> str:
    kind = "property" if api.is_property(found) else "method"
    options = [":classmethod:"] if isinstance(found, classmethod) else []
    return directive(
        kind, api.call(cls, name, found), options, api.markdown(getattr(cls, name).__doc__), "`````"
    )


def directive(kind: str, call: str, options: list[str], body: str, fence: str) -> str:
    return "\n".join([f"{fence}{{py:{kind}}} {call}", *options, "", body, fence])


@cache
def names() -> dict[str, str]:
    """Return the place in the reference of each public name as users write it, such as
    `md.relu`.
    """
    return {
        prefix + name: f"{'minidl' if module == 'minidl.ops' else module}.{name}"
        for module, prefix, _ in api.MODULES
        for name in api.public_names(importlib.import_module(module))
    }


def linked(text: str) -> str:
    """Return Markdown in which each public name in backquotes is a link to the reference.

    Headings, code blocks and existing links are left as they are.
    """
    parts = re.split(
        r"(^ *(`{3,}).*?^ *\2$|^#.*?$|\[[^\]\n]*\]\([^)\n]*\)|\{[\w:]+\}`[^`]*`)",
        text,
        flags=re.M | re.S,
    )
    parts[::3] = [
        re.sub(r"(?<![`\w])`((?:md|nn|optim|data|T|models|train)\.[\w.]+)(\(\))?`(?!`)", role, part)
        for part in parts[::3]
    ]
    del parts[2::3]  # remove the fences, which the pattern needs to find the ends of blocks
    return "".join(parts)


def role(found: re.Match[str]) -> str:
    place = names().get(found[1])
    shown = found[1] + (found[2] or "")
    return f"{{py:obj}}`{shown} <{place}>`" if place else found[0]
