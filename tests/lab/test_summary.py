"""These tests check that the sentences of the summary follow the verdicts."""

import dataclasses

import pytest

from minidl.lab import summary
from minidl.lab.experiment import Judgement
from minidl.lab.registry import all_experiments
from minidl.lab.results import Found
from minidl.lab.verdict import Verdict


def found(id, verdict):
    return Found(all_experiments()[id], Judgement(verdict, "", {}), False, [{}], {}, 1.0, "", {})


def test_every_claim_that_is_named_exists_and_is_named_once():
    named = [id for _, rows in summary.GROUPS for _, needs in rows for id in needs]
    assert set(named) <= set(all_experiments())
    assert len(named) == len(set(named))


def test_a_sentence_is_printed_if_all_of_its_claims_were_run():
    ((title, lines),) = summary.summary(
        [
            found("E01", Verdict.SUPPORTED),
            found("E06", Verdict.SUPPORTED),
            found("E13", Verdict.SUPPORTED),
        ]
    )
    assert title == "What it does"
    (line,) = lines
    assert [one.experiment.id for one in line.claims] == ["E01", "E06"]
    assert line.contradicting == []


@pytest.mark.parametrize("verdict", [Verdict.REFUTED, Verdict.INCONCLUSIVE])
def test_a_verdict_that_contradicts_a_sentence_is_named(verdict):
    ((_, (line,)),) = summary.summary([found("E07", verdict)])
    assert [one.experiment.id for one in line.contradicting] == ["E07"]


def test_what_was_not_run_has_no_sentence():
    missing = dataclasses.replace(found("E07", Verdict.INCONCLUSIVE), seeds=[])
    assert summary.summary([missing]) == []
