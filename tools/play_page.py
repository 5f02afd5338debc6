"""This tool makes the interactive page, docs/play/, one file of the site that needs no other.

docs/play/index.html can be opened as it is, with its style and its scripts in files beside it. Here
these are put into the page, and its links are changed to lead to pages of the site.
"""

from __future__ import annotations

import html
import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent / "docs" / "play" / "index.html"
STYLE = re.compile(r'<link rel="stylesheet" href="([^"]+)">')
SCRIPT = re.compile(r'<script src="([^"]+)"></script>')
CASE = re.compile(r'<li><a href="#([\w-]+)"[^>]*>([^<]*)</a>\s*<p>(.*?)</p></li>', re.S)


def page() -> str:
    """Return the page with all that it needs."""
    text = SOURCE.read_text(encoding="utf-8")
    text = STYLE.sub(lambda found: f"<style>\n{_beside(found[1])}</style>", text)
    text = SCRIPT.sub(lambda found: f"<script>\n{_beside(found[1])}</script>", text)
    return re.sub(r'href="\.\./([\w-]+)\.md(#[^"]*)?"', r'href="\1.html\2"', text)


def stand_in() -> str:
    """Return what Sphinx reads in the place of the page: a text that the search finds, and a
    heading for each case. The anchor of the heading is the address that starts the case.
    """
    text = SOURCE.read_text(encoding="utf-8")
    (title,) = re.findall(r"<h1>(.*?)</h1>", text)
    parts = [f"# {title}"]
    parts += [
        f"## {heading}\n\n{' '.join(said.split())}" for _, heading, said in CASE.findall(text)
    ]
    return html.unescape("\n\n".join(parts)) + "\n"


def _beside(path: str) -> str:
    return (SOURCE.parent / path).read_text(encoding="utf-8")
