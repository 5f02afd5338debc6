"""This tool builds the site into build/site, with Sphinx: `make site`.

Its pages are README.md, CHANGELOG.md, CONTRIBUTING.md and those of docs/, in the form in which
GitHub shows them, and the reference (`tools.site_reference`). They are copied into
build/site-source, where links are changed to lead to pages of the site. docs/index.md says which
pages there are, and in what order. A warning of Sphinx is an error. The interactive page
(`tools.play_page`) and the lab's report are not written by Sphinx. They replace pages that Sphinx
has written, so that the search and the lists have them like the others.
"""

from __future__ import annotations

import os
import re
import sys
from functools import partial
from pathlib import Path

from . import play_page, site_reference

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LAB = ROOT / "docs" / "lab"
# By their places: what Sphinx reads, and the page that replaces what it writes.
WHOLE = {
    "play.md": (play_page.stand_in, play_page.page),
    "lab.md": (
        partial((LAB / "report.md").read_text, encoding="utf-8"),
        partial((LAB / "report.html").read_text, encoding="utf-8"),
    ),
}
FENCE = re.compile(r"(^```.*?^```$)", re.M | re.S)
LINK = re.compile(r"(\]\()([^)\s#]*)(#[^)\s]*)?(\))")


def pages() -> dict[str, str]:
    """Return the place in the site of each page of the project."""
    places = {
        "README.md": "index.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
        "docs/api.md": "reference/index.md",
        "docs/index.md": "index.md",
        "docs/play/index.html": "play.md",
        "docs/lab/report.html": "lab.md",
        "docs/lab/report.md": "lab.md",
    }
    for path in sorted((ROOT / "docs").glob("*.md")):
        places.setdefault(f"docs/{path.name}", path.name)
    return places


def source(page: str, files: set[str]) -> str:
    """Return a page's text for the site, and add to `files` what it links to that is not a page."""
    parts = FENCE.split((ROOT / page).read_text(encoding="utf-8"))
    parts[::2] = [LINK.sub(lambda found: relinked(found, page, files), part) for part in parts[::2]]
    return site_reference.linked("".join(parts))


def relinked(found: re.Match[str], page: str, files: set[str]) -> str:
    """Return a link of a page as it must be at the place of the page in the site."""
    before, target, anchor, after = found[1], found[2], found[3] or "", found[4]
    if "://" in target or not target:
        return found[0]
    path = os.path.normpath(os.path.join(os.path.dirname(page), target))
    if path == "docs/api.md" and anchor:
        return f"{before}{anchor}{after}"  # Sphinx knows which page has the anchor
    place = pages().get(path)
    if place is None:
        files.add(path)
        place = f"files/{path}"
    start = os.path.dirname(pages()[page])
    return f"{before}{os.path.relpath(place, start or '.')}{anchor}{after}"


def contents(text: str) -> list[tuple[str, list[str]]]:
    """Return (caption, pages) for each part of docs/index.md, from its lists of links."""
    sections = re.split(r"^## (.*)$", text, flags=re.M)[1:]
    return [
        (caption, re.findall(r"^- \[[^\]]*\]\(([^)#]*)\)", body, re.M))
        for caption, body in zip(sections[::2], sections[1::2], strict=True)
    ]


def front(files: set[str]) -> str:
    """Return the first page: the README, the list of pages, and the same list for the sidebar."""
    index = source("docs/index.md", files)
    listed = re.sub(r"^# .*\n", "## All pages\n", index, count=1)
    listed = re.sub(r"^## (?!All pages)", "### ", listed, flags=re.M)
    trees = [
        "\n".join(
            [
                "```{toctree}",
                ":hidden:",
                f":caption: {caption}",
                "",
                *(place.removesuffix(".md") for place in places),
                "```",
            ]
        )
        for caption, places in contents(index)
    ]
    return "\n\n".join([source("README.md", files), listed, *trees]) + "\n"


def sources() -> tuple[dict[str, str], set[str]]:
    """Return all pages of the site by place, and the files that they link to by their paths in the
    project.
    """
    files: set[str] = set()
    made = {
        place: source(page, files)
        for page, place in pages().items()
        if place not in ("index.md", "reference/index.md", *WHOLE)
    }
    made |= {place: site_reference.linked(text) for place, text in site_reference.pages().items()}
    made["index.md"] = front(files)
    made |= {place: stand_in() for place, (stand_in, _) in WHOLE.items()}
    return made, files


def write(folder: Path) -> None:
    """Write the sources of the site into a folder. Files that did not change are left as they are,
    so that Sphinx does not read them again.
    """
    made, files = sources()
    wanted = {folder / place: text.encode() for place, text in made.items()}
    wanted |= {folder / "files" / path: (ROOT / path).read_bytes() for path in files}
    wanted |= {
        folder / path.relative_to(ROOT / "docs"): path.read_bytes()
        for path in (ROOT / "docs" / "conf.py", *(ROOT / "docs" / "_static").iterdir())
    }
    for path in folder.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()
    for path, content in wanted.items():
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def loaded_from_elsewhere(site: Path) -> list[str]:
    """Return what pages of the built site would load from other hosts when they are opened."""
    found = []
    for path in sorted(site.rglob("*.html")):
        text = path.read_text(encoding="utf-8")
        found += [
            f"{path.relative_to(site)}: {tag}"
            for tag in re.findall(
                r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"'](?:https?:)?//[^>]*>",
                text,
            )
            if 'rel="canonical"' not in tag
        ]
    return found


def main(options: list[str]) -> int:
    """Build the site, and return the exit status. Options are passed to sphinx-build."""
    from sphinx.cmd.build import build_main

    pages_of_site, site = BUILD / "site-source", BUILD / "site"
    write(pages_of_site)
    failed = build_main(
        [
            "-q",
            "-W",
            "--keep-going",
            "-b",
            "html",
            "-d",
            str(BUILD / "site-doctrees"),
            *options,
            str(pages_of_site),
            str(site),
        ]
    )
    for place, (_, page) in WHOLE.items():
        (site / place).with_suffix(".html").write_text(page(), encoding="utf-8")
    outside = loaded_from_elsewhere(site)
    for line in outside:
        print(f"minidl: the site must need no network: {line}", file=sys.stderr)
    if not (failed or outside):
        print(f"minidl: the site is in {os.path.relpath(site / 'index.html')}")
    return failed or bool(outside)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
