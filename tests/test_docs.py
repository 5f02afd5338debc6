"""The documents: the API reference is up to date, and links lead somewhere."""

import re
from pathlib import Path

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
