"""These tests find experiments by id."""

import pytest

from minidl.lab.registry import all_experiments, chosen
from minidl.lab.verdict import Verdict


def test_every_claim_of_the_specification_is_there():
    ids = [f"E{number:02}" for number in range(1, 35)]
    assert list(all_experiments()) == sorted([id for id in ids if id != "E30"] + ["E30a", "E30b"])


@pytest.mark.parametrize("id", all_experiments())
def test_an_experiment_says_what_it_is(id):
    experiment = all_experiments()[id]
    for text in (
        experiment.title,
        experiment.claim,
        experiment.notes,
        experiment.source,
        experiment.setup,
        experiment.rule,
        experiment.paper,
        experiment.explanation,
    ):
        assert text.strip() == text and text
    assert experiment.claim.endswith(".")
    assert isinstance(experiment.expected, Verdict)
    assert set(experiment.quick) - {"pool"} <= set(experiment.full)
    assert experiment.seeds >= 3 and experiment.quick_seeds >= 2
    assert 0 < experiment.minutes < 10
    assert set(experiment.needs) <= {"mnist", "cifar10"}


def test_chosen():
    assert [e.id for e in chosen(["e18"])] == ["E18"]
    assert [e.id for e in chosen(["E18", "e18", " E18"])] == ["E18"]
    assert len(chosen(["all"])) == len(chosen(["ALL"])) == len(all_experiments())
    assert [e.id for e in chosen(["E30"])] == ["E30a", "E30b"]


@pytest.mark.parametrize("given", ["E99", "18", ""])
def test_an_unknown_one_is_refused(given):
    with pytest.raises(ValueError, match="there is no experiment"):
        chosen([given])
