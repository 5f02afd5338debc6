"""These tests check the documents: generated pages are up to date, links work, and everything in
the pages runs.
"""

import importlib.util
import re
from pathlib import Path

import pytest

import minidl as md
from benchmarks import tables
from tests.support import pages
from tools import api_reference, build_site, coming_from, marked_tables

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "CHANGELOG.md", *pages.PAGES)

by_name = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
# `minidl` on the command line
NEED_CLI = {"README.md", "start.md"}
HAVE_CLI = importlib.util.find_spec("minidl.cli") is not None

# What the reader of a page has before its first block.
GIVEN = {
    "eval-mode.md": """
import numpy as np
import minidl as md
from minidl import nn
rng = np.random.default_rng(0)
images, labels = rng.random((600, 8, 8, 1), np.float32), np.arange(600) % 10
model = nn.Sequential(nn.Conv(1, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.Flatten(), nn.Dense(144, 10))
loader = [images[:300], images[300:]]
""",
    "tour.md": """
import minidl as md
from minidl import nn
conv, bn = nn.Conv(1, 4, 3), nn.BatchNorm(4)
x, labels = md.randn(16, 8, 8, 1), [0] * 16
""",
    "CONTRIBUTING.md": """
import minidl as md
from minidl import kernels
from minidl.ops.common import float_tensor
from minidl.ops.operation import Operation
""",
}


def anchors(path):
    """Return the anchors of a document's headings, as GitHub makes them. For a page, return those
    that it links to.
    """
    if path.suffix == ".html":
        return set(re.findall(r'href="#([^"]+)"', path.read_text(encoding="utf-8")))
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    made = api_reference.Anchors()
    return {made.add(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def test_the_api_reference_is_what_the_docstrings_say():
    written = api_reference.PAGE.read_text(encoding="utf-8")
    assert written == api_reference.page(), "docs/api.md is out of date: run `make docs`"


def test_the_tables_of_foreign_names_are_what_errors_say():
    written = coming_from.PAGE.read_text(encoding="utf-8")
    assert written == coming_from.page(), "docs/coming-from.md is out of date: run `make docs`"


@pytest.mark.parametrize("page", tables.PAGES, ids=lambda path: path.name)
def test_tables_of_figures_are_what_was_measured(page):
    written = page.read_text(encoding="utf-8")
    assert "<!-- table" in written
    assert written == marked_tables.filled(written, tables.TABLES), (
        f"{page.name} does not have the figures of benchmarks/results: run "
        "`python -m benchmarks.tables`"
    )


@by_name
def test_links_lead_to_files_and_headings(document):
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            path = document.parent / file if file else document
            assert path.exists(), f"{document.name} links to {link}"
            assert not anchor or anchor in anchors(path), f"{document.name} links to {link}"


def test_every_page_is_listed():
    listed = [
        place
        for _, places in build_site.contents(
            (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
        )
        for place in places
    ]
    there = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "index.md"]
    assert sorted(listed) == sorted(
        [*there, "../CHANGELOG.md", "../CONTRIBUTING.md", "lab/report.html", "play/index.html"]
    )


@pytest.mark.filterwarnings("ignore:recalibrate. the running statistics")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(
            page,
            id=page.name,
            marks=pytest.mark.skipif(
                page.name in NEED_CLI and not HAVE_CLI, reason="minidl.cli is not there"
            ),
        )
        for page in pages.PAGES
        if page.name != "api.md"
    ],
)  # their examples are run by test_doctests.py
def test_a_page_runs(page, tmp_path, monkeypatch):
    if any("photos" in text for _, _, text in pages.blocks(page)):
        pytest.importorskip("PIL.Image")
        if page.name != "start.md":  # it makes its own pictures
            pages.photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    md.manual_seed(0)
    pages.run(page, tmp_path, GIVEN.get(page.name, ""))


@by_name
def test_commands_in_sentences_exist(document):
    for command in pages.inline_commands(document):
        if HAVE_CLI or not command.startswith(("minidl", "pip")):
            pages.check(command)
