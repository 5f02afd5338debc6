"""These tests check how the files of a folder are judged: a single seed, ignored files, unexpected
verdicts.
"""

import pytest

from minidl.lab import results, store
from minidl.lab.registry import all_experiments, chosen
from minidl.lab.verdict import Verdict

(E18,) = chosen(["E18"])
NORMS = {
    f"{norm} 128 {size}": [base ** (10 - layer) for layer in range(11)]
    for norm, base in (("batch", 1.2), ("none", 1.0))
    for size in (8, 32, 128)
}


def write(folder, seed, settings=None, **parts):
    """Write the file of a seed of E18 --quick."""
    store.write(
        store.seed_path(str(folder), "E18", seed),
        {
            "settings": settings or E18.settings(True),
            "seconds": 1.0,
            "minidl": "0",
            "machine": {},
            "result": {"norms": NORMS, "batches": [32, 128]},
            **parts,
        },
    )


def collect(folder, experiment=E18):
    return results.collect(str(folder), experiment, quick=True)


def test_one_seed_says_why_it_does_not_decide(tmp_path):
    write(tmp_path, 0)
    one = collect(tmp_path)
    assert one.verdict is Verdict.INCONCLUSIVE
    assert "one seed gives none" in one.judgement.why
    write(tmp_path, 1)
    two = collect(tmp_path)
    assert two.verdict is Verdict.REFUTED and "one seed" not in two.judgement.why


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": {}, "result": {}}'])
def test_a_damaged_file_is_ignored_and_listed(tmp_path, content):
    write(tmp_path, 0)
    write(tmp_path, 1)
    (tmp_path / "seeds" / "E18-2.json").write_text(content)
    found = collect(tmp_path)
    assert len(found.seeds) == 2
    assert found.left_out == ["E18-2.json is damaged"]
    assert found.entry()["left out"] == ["E18-2.json is damaged"]


def test_without_a_usable_seed_the_ignored_files_are_listed(tmp_path):
    write(tmp_path, 0, settings={"depth": 3})
    found = collect(tmp_path)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.judgement.why == "There is no usable seed: E18-0.json was run with other settings."
    assert found.explanation == "" and found.examination == ""


def test_texts_are_those_of_the_run(tmp_path):
    for seed in (0, 1):
        write(tmp_path, seed)
    found = collect(tmp_path)
    assert "An untrained network of 30 layers" in found.setup
    assert found.settings_line.startswith("depth 30; widths 128; batches 32, 128; small 8; 2 seeds")
    assert "10 layers make them 6 times larger" in found.explanation


@pytest.mark.parametrize("quick", [True, False])
def test_a_surprise_is_never_silent(tmp_path, monkeypatch, quick):
    monkeypatch.setattr(E18, "expected", Verdict.SUPPORTED)
    monkeypatch.setattr(E18, "examination", "")
    for seed in range(3):
        write(tmp_path, seed, settings=E18.settings(quick))
    found = results.collect(str(tmp_path), E18, quick)
    assert found.surprising and found.provisional is quick
    assert found.examination.startswith("The expected verdict was supported")
    assert ("provisional" in found.examination) is quick
    monkeypatch.setattr(E18, "examination", "Looked at.")
    assert results.collect(str(tmp_path), E18, quick).examination == "Looked at."


@pytest.mark.parametrize("id", all_experiments())
def test_texts_of_both_kinds_of_settings_are_filled_in(id):
    experiment = all_experiments()[id]
    for quick in (False, True):
        settings = experiment.settings(quick)
        for text in (experiment.setup_of(settings), experiment.rule_of(settings)):
            assert text.strip() == text and text
            assert "{" not in text and "–." not in text
    changed = set(experiment.quick)
    assert (
        not changed
        or experiment.setup_of(experiment.settings(True))
        != experiment.setup_of(experiment.settings(False))
        or changed <= {"scales", "images"}
    )
