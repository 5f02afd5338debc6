"""These tests check the report: the page, the Markdown and the plots."""

import dataclasses
import re
import xml.etree.ElementTree

import pytest

from minidl.lab import page, runner, store
from minidl.lab.experiment import Judgement
from minidl.lab.registry import chosen
from minidl.lab.verdict import Interval, Verdict


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("lab")
    runner.run(chosen(["E18"]), made, quick=True, seeds=2, progress=False)
    page.write_report(made)
    return made


def test_page_says_what_an_experiment_is(folder):
    text = (folder / "report.html").read_text()
    (experiment,) = chosen(["E18"])
    for part in (
        experiment.title,
        experiment.claim,
        "refuted, provisional",
        "<svg",
        "a quick run",
        "minidl lab run E18",
        "interval over the seeds",
    ):
        assert part in text


def test_page_needs_no_network(folder):
    text = (folder / "report.html").read_text()
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert "url(http" not in text and "@import" not in text


def test_plot_is_a_picture_of_its_own(folder):
    root = xml.etree.ElementTree.parse(folder / "plots" / "E18.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert int(root.get("width")) > 300
    assert "prefers-color-scheme: dark" in root.find("{*}style").text
    assert not re.search("#(2151a1|c15121|616263)", (folder / "plots" / "E18.svg").read_text())


def test_markdown_has_the_figures(folder):
    text = (folder / "report.md").read_text()
    assert "| E18 | " in text and "REFUTED (provisional)" in text
    assert re.search(r"\| growth a layer, batch, width 128, batch 32 \| 1\.\d+ \| 1\.\d+ to", text)


def test_both_pages_have_the_settings_and_what_is_not_tested(folder):
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text()
        for part in (
            "depth 30; widths 128; batches 32, 128; small 8; 2 seeds",
            "What the lab does not test",
            "average of six networks",
            "This is a quick run" if name == "report.md" else "This is <b>a quick run",
        ):
            assert part in text, (name, part)


def test_the_page_begins_with_what_holds_and_lists_surprises_by_id(folder, monkeypatch):
    (experiment,) = chosen(["E18"])
    monkeypatch.setattr(experiment, "expected", Verdict.SUPPORTED)
    found = page.collect_all(str(folder))
    text = page.html(found, {}, True)
    short, surprises, verdicts, claim = (
        text.index(f'id="{name}"') for name in ("in-short", "surprises", "verdicts", "e18")
    )
    assert short < surprises < verdicts < claim
    listed = text[surprises:verdicts]
    assert '<a href="#e18">E18</a> refuted' in listed and len(listed) < 400
    assert "The expected verdict was supported" in text[claim:] and "Not examined" not in text
    assert "expected another verdict on E18 (REFUTED)" in page.markdown(found, True)


def test_an_ignored_file_is_listed(folder):
    path = folder / "seeds" / "E18-7.json"
    path.write_text("{")
    page.write_report(folder)
    for name in ("report.html", "report.md"):
        assert re.search("Ignored files:(</b>)? E18-7.json is damaged", (folder / name).read_text())
    path.unlink()


def test_a_sentence_of_the_summary_names_verdicts_that_contradict_it(folder):
    found = [
        dataclasses.replace(one, judgement=Judgement(Verdict.SUPPORTED, "", {}))
        for one in page.collect_all(str(folder))
    ]
    assert "E18 is supported" in page.markdown(found, True)
    assert "<b>This run disagrees:</b> E18 is supported." in page.html(found, {}, True)


def test_results_of_another_kind_are_not_mixed_in(folder):
    with pytest.raises(ValueError, match="has results of quick settings"):
        runner.run(chosen(["E18"]), folder, quick=False, seeds=1, progress=False)


def test_nothing_run_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="no experiment has been run"):
        page.write_report(tmp_path)
    with store.working(str(tmp_path), quick=False):
        pass
    with pytest.raises(ValueError, match="no experiment has been run"):
        page.write_report(tmp_path)


def test_a_cell_may_hold_what_parts_cells():
    assert page._row("a|b", "c\nd") == r"| a\|b | c d |"


@pytest.mark.parametrize("part", ["judge", "plot"])
def test_a_fault_of_one_experiment_is_reported(folder, monkeypatch, part):
    (experiment,) = chosen(["E18"])

    def fault(seeds):
        raise ZeroDivisionError("of a test")

    monkeypatch.setattr(experiment, part, fault)
    page.write_report(folder)
    text = (folder / "report.html").read_text()
    assert "ZeroDivisionError: of a test" in text
    assert ("It crashed." in text) == (part == "judge")
    monkeypatch.undo()
    page.write_report(folder)
    assert "ZeroDivisionError" not in (folder / "report.html").read_text()


@pytest.mark.parametrize(
    "figure, shown",
    [
        (1.23456, "1.23"),
        (0.0, "0"),
        (1e-12, "1.0e-12"),
        (123456.0, "123,456"),
        (12345, "12,345"),
        (2e9, "2.0e+09"),
        (3500.0, "3,500"),
        ("text", "text"),
        (True, "yes"),
        (float("nan"), "–"),
        (float("inf"), "infinite"),
        (Interval(0.5, 0.25, 1, 3), "0.5"),
        (Interval(3.6e-15, -0.2, 0.2, 2), "0"),
        ([1.0, 2.5], "1, 2.5"),
        (list(range(9)), "0, 1, 2, 3, 4, 5, 6, 7, ..."),
    ],
)
def test_value(figure, shown):
    assert page.value(figure) == shown


def test_bounds():
    assert page.bounds(Interval(0.5, 0.25, 1.0, 3)) == "0.25 to 1"
    assert page.bounds(Interval(0.5, float("nan"), float("nan"), 1)) == ""
    assert page.bounds(0.5) == ""
    close = Interval(1.2061, 1.2041, 1.2081, 3)
    assert (page.value(close), page.bounds(close)) == ("1.2061", "1.2041 to 1.2081")


@pytest.mark.parametrize(
    "seconds, text", [(0.2, "under a second"), (12, "12 s"), (300, "5 min"), (9000, "2.5 h")]
)
def test_took(seconds, text):
    assert page.took(seconds) == text
