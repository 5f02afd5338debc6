"""This module replaces the tables of a page that a program writes, between `<!-- table NAME -->`
and `<!-- end -->`.
"""

import re
from collections.abc import Callable, Mapping

MARKED = re.compile(r"(<!-- table (.*?) -->\n)(.*?)(<!-- end -->)", re.S)


def filled(text: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return the page with new tables. Raises KeyError for a table that nobody writes."""
    return MARKED.sub(lambda found: f"{found[1]}\n{tables[found[2]]()}\n\n{found[4]}", text)
