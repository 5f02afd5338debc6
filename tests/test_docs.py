"""The documents: the API reference is up to date, links lead somewhere, guides run."""

import re
from pathlib import Path

import numpy as np
import pytest

from tools import api_reference

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))


def anchors(path):
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    made = api_reference.Anchors()
    return {made.add(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def test_the_api_reference_is_what_the_docstrings_say():
    written = api_reference.PAGE.read_text(encoding="utf-8")
    assert written == api_reference.page(), "docs/api.md is out of date: run `make docs`"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files_and_headings(document):
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in link:
            file, _, anchor = link.partition("#")
            path = document.parent / file if file else document
            assert path.exists(), f"{document.name} links to {link}"
            assert not anchor or anchor in anchors(path), f"{document.name} links to {link}"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The folder that a reader of the guides has: three classes of ten pictures."""
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for name in ("cat", "dog", "bird"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(10):
            pixels = rng.integers(0, 256, (40, 50, 3), np.uint8)
            image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("guide", sorted((ROOT / "docs").glob("guide-data.md")),
                         ids=lambda path: path.name)
def test_the_snippets_of_a_guide_run_and_print_what_they_say(guide, photos, capsys):
    """One after the other, as a reader would; `print(...)  # text` prints that text first."""
    namespace, compared = {}, 0
    for snippet in re.findall(r"^```python\n(.*?)^```", guide.read_text(encoding="utf-8"),
                              re.M | re.S):
        exec(compile(snippet, guide.name, "exec"), namespace)
        printed = capsys.readouterr().out
        for said in re.findall(r"print\(.*\) {2,}# ([(\[A-Z].*?)(?:: .*)?$", snippet, re.M):
            assert said in printed
            compared += 1
    assert compared > 3
