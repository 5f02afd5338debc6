"""The examples of docs/guide-models.md: each runs and prints what it says."""

import doctest
import re
import sys
import types
from pathlib import Path

import pytest

import minidl as md

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guide-models.md"


@pytest.mark.filterwarnings("ignore:recalibrate. the running statistics")
def test_the_examples(tmp_path, monkeypatch):
    """In one namespace, that of a module, from which the class of the page can be imported."""
    module = types.ModuleType("guide_models")
    monkeypatch.setitem(sys.modules, "guide_models", module)
    monkeypatch.chdir(tmp_path)
    md.manual_seed(0)
    text = "\n".join(re.findall(r"^```pycon\n(.*?)^```", GUIDE.read_text(encoding="utf-8"),
                                re.M | re.S))
    examples = doctest.DocTestParser().get_doctest(text, {}, GUIDE.name, GUIDE.name, 0)
    examples.globs = module.__dict__
    said = []
    result = doctest.DocTestRunner(verbose=False).run(examples, out=said.append, clear_globs=False)
    assert result.failed == 0 and result.attempted > 20, "".join(said)
