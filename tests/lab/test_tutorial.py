"""These tests check that the tutorial and the kept run of the lab agree on each claim."""

import re
from pathlib import Path

import pytest

from minidl.lab import results, store, words
from minidl.lab.registry import all_experiments

DOCS = Path(__file__).parents[2] / "docs"
KEPT = DOCS / "lab"
QUICK = store.read_kind(str(KEPT))
VERDICTS = "supported|refuted|inconclusive"


def said(text):
    """Return (claim, verdict) wherever a text has "E04, refuted", "E13 and E15, supported",
    "refuted (E16)" or "Refuted (E16)".
    """
    text = " ".join(text.split())
    for ids, verdict in re.findall(rf"((?:E\d\d[ab]?(?: and )?)+), ({VERDICTS})", text):
        for id in re.findall(r"E\d\d[ab]?", ids):
            yield id, verdict
    for verdict, id in re.findall(rf"({VERDICTS}) \((E\d\d[ab]?)\)", text, re.IGNORECASE):
        yield id, verdict.lower()


def test_what_is_found_of_a_text():
    text = 'a (E04,\nrefuted), b (E13 and E15, supported). *Inconclusive (E30b): "c"* E07 d'
    assert list(said(text)) == [
        ("E04", "refuted"),
        ("E13", "supported"),
        ("E15", "supported"),
        ("E30b", "inconclusive"),
    ]


def test_the_tutorial_gives_the_verdict_of_nearly_every_claim():
    ids = {id for id, _ in said((DOCS / "batchnorm.md").read_text(encoding="utf-8"))}
    assert len(ids) >= 30 and ids <= set(all_experiments())


def test_each_plot_of_the_tutorial_has_a_caption_with_a_verdict():
    text = (DOCS / "batchnorm.md").read_text(encoding="utf-8")
    shown = re.findall(r"!\[[^\]]*\]\(lab/plots/(E\d\d[ab]?)\.svg\)\s+\*(.*?)\*\n", text, re.S)
    assert len(shown) == text.count("lab/plots/") >= 15
    for id, caption in shown:
        assert id in dict(said(caption)), id


@pytest.mark.skipif(QUICK, reason="docs/lab has quick results, whose verdicts are provisional")
@pytest.mark.parametrize(
    "id, verdict", sorted(set(said((DOCS / "batchnorm.md").read_text(encoding="utf-8"))))
)
def test_verdicts_are_those_of_the_kept_run(id, verdict):
    assert store.read(str(KEPT / store.RESULTS))[id]["verdict"] == verdict.upper()


@pytest.mark.parametrize("id", all_experiments())
def test_texts_find_their_figures_in_the_kept_run(id):
    found = results.collect(str(KEPT), all_experiments()[id], QUICK)
    if found.left_out and not found.seeds:
        pytest.skip("the kept run has other settings")
    assert found.fault == ""
    assert found.explanation and "{" not in found.explanation + found.examination
    if not QUICK:
        assert words.ABSENT not in found.explanation + found.examination
        assert not found.provisional and (found.experiment.examination or not found.surprising)
