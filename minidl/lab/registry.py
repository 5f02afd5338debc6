"""Finding the experiments in `minidl.lab.experiments`, and selecting some of them by id."""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Iterable

from . import experiments
from .experiment import Experiment


@functools.cache
def all_experiments() -> dict[str, Experiment]:
    """Return an instance of each experiment by its id, sorted by id."""
    found = {}
    for module in pkgutil.iter_modules(experiments.__path__):
        loaded = importlib.import_module(f"{experiments.__name__}.{module.name}")
        for value in vars(loaded).values():
            if (
                isinstance(value, type)
                and value.__module__ == loaded.__name__
                and issubclass(value, Experiment)
                and hasattr(value, "id")
            ):
                found[value.id] = value()
    return dict(sorted(found.items()))


def chosen(ids: Iterable[str]) -> list[Experiment]:
    """Return the experiments with these ids. "all" selects every experiment, and "E30" both E30a
    and E30b. Raises ValueError for an unknown id."""
    known = all_experiments()
    wanted: dict[str, Experiment] = {}
    for given in ids:
        name = given.strip()
        name = "all" if name.lower() == "all" else name[:1].upper() + name[1:].lower()
        matching = [id for id in known if name in ("all", id, id.rstrip("ab"))]
        if not matching:
            raise ValueError(
                f"lab: there is no experiment {given!r}; the ids are {', '.join(known)}, and all"
            )
        wanted |= {id: known[id] for id in matching}
    return list(wanted.values())
