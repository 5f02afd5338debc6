"""These tests check the site's sources: links between pages, and the reference. `make site` builds
the site.
"""

import os
import re

import pytest

import minidl as md
from minidl import nn
from tools import api_reference, build_site, site_reference


@pytest.fixture(scope="module")
def made():
    return build_site.sources()


def test_links_lead_to_pages_of_the_site_and_to_files(made):
    sources, files = made
    assert {"index.md", "start.md", "changelog.md", "reference/minidl-nn.md"} < set(sources)
    assert files and all((build_site.ROOT / path).exists() for path in files)
    known = {*sources, *(f"files/{path}" for path in files)}
    for place, text in sources.items():
        folder = place.rpartition("/")[0]
        for target in re.findall(r"\]\(([^)#\s]+)", build_site.FENCE.sub("", text)):
            if "://" not in target:
                path = f"{folder}/{target}" if folder else target
                assert os.path.normpath(path) in known, f"{place} links to {target}"


def test_the_reference_has_the_anchors_of_api_md(made):
    """Links to docs/api.md#anchor therefore lead to the entry on the site as well."""
    sources, _ = made
    targets = [
        target for text in sources.values() for target in re.findall(r"^\((.*)\)=$", text, re.M)
    ]
    page = build_site.FENCE.sub("", (build_site.ROOT / "docs/api.md").read_text(encoding="utf-8"))
    anchors = api_reference.Anchors()
    known = [anchors.add(heading) for heading in re.findall(r"^#+ (.*)$", page, re.M)]
    assert sorted(targets) == sorted(set(known) - {"api-reference", "index"})


def test_every_public_name_has_one_entry(made):
    sources, _ = made
    entries = [
        f"{module}.{name}"
        for text in sources.values()
        for name, module in re.findall(r"^`{6}\{py:\w+\} (\w+).*\n:module: ([\w.]+)$", text, re.M)
    ]
    assert sorted(entries) == sorted(site_reference.names().values())
    assert len(set(entries)) == len(entries)


def test_an_entry():
    text = site_reference.entry("minidl.nn", "BatchNorm", nn.BatchNorm)
    assert text.startswith("``````{py:class} BatchNorm(features, eps=1e-05, ")
    assert "```text\ny = gamma (x - mean) / sqrt(var + eps) + beta\n```" in text
    assert "`````{py:method} freeze_stats(" in text
    assert "Functions of these names are methods too: {py:func}`.abs <minidl.abs>`, " in (
        site_reference.entry("minidl", "Tensor", md.Tensor)
    )


@pytest.mark.parametrize(
    ("text", "linked"),
    [
        (
            "see `md.relu`, `nn.Conv`",
            "see {py:obj}`md.relu <minidl.relu>`, {py:obj}`nn.Conv <minidl.nn.Conv>`",
        ),
        ("`md.relu()` of it", "{py:obj}`md.relu() <minidl.relu>` of it"),
        ("`md.nothing`, `relu`, `md.relu(x)`", "`md.nothing`, `relu`, `md.relu(x)`"),
        ("# of `md.relu`", "# of `md.relu`"),
        ("[`md.relu`](api.md)", "[`md.relu`](api.md)"),
        (
            "```python\n`md.relu`\n```\n`md.relu`",
            "```python\n`md.relu`\n```\n{py:obj}`md.relu <minidl.relu>`",
        ),
    ],
)
def test_names_are_links(text, linked):
    assert site_reference.linked(text) == linked


def test_names_are_those_of_the_package():
    for name, place in site_reference.names().items():
        value = md
        for part in place.split(".")[1:]:
            value = getattr(value, part)
        assert callable(value), name


def test_unchanged_files_are_left_alone(tmp_path):
    build_site.write(tmp_path)
    (tmp_path / "old.md").write_text("")
    (tmp_path / "start.md").write_text("changed")
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")}
    build_site.write(tmp_path)
    assert not (tmp_path / "old.md").exists()
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.md")}
    assert [path.name for path in after if after[path] != before[path]] == ["start.md"]


@pytest.mark.parametrize(
    ("tag", "found"),
    [
        ('<script src="https://x.org/a.js"></script>', True),
        ('<img src="//x.org/a.png">', True),
        ('<link rel="stylesheet" href="http://x.org/a.css">', True),
        ('<a href="https://x.org/">x</a>', False),
        ('<script src="_static/a.js"></script>', False),
    ],
)
def test_what_would_be_loaded_from_elsewhere_is_found(tag, found, tmp_path):
    (tmp_path / "page.html").write_text(f"<html>{tag}</html>")
    assert bool(build_site.loaded_from_elsewhere(tmp_path)) is found
