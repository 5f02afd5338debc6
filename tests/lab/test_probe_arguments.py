"""These tests check which models and batches a probe can measure: several inputs, batches by
position and by name, and user-defined losses.
"""

import pytest

import minidl as md
from minidl import lab, nn, train
from tests.support.errors import refuses
from tests.support.marks import small_batches
from tests.support.trainings import network, pairs, trainer

pytestmark = small_batches


class Two(nn.Layer):
    """A model with two inputs."""

    def __init__(self):
        super().__init__()
        self.left, self.right, self.out = nn.Dense(6, 8), nn.Dense(6, 8), nn.Dense(8, 3)
        self.norm = nn.LayerNorm(8)

    def forward(self, a, b):
        return self.out(md.tanh(self.norm(x=self.left(a) + self.right(x=b))))


class OfTuple(Two):
    def forward(self, both):
        return super().forward(*both)


class OfDict(Two):
    def forward(self, both):
        return super().forward(both["a"], both["b"])


A, LABELS = pairs(16)[:]
B = pairs(16, seed=1)[:][0]
BATCHES = {
    "three": (A, B, LABELS),
    "a tuple": ((A, B), LABELS),
    "a list": [A, B, LABELS],
    "names": ({"a": A, "b": B}, LABELS),
    "a dict": {"a": A, "b": B, "labels": LABELS},
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_several_inputs(tmp_path, batch):
    md.manual_seed(0)
    model = Two()
    probe = lab.Probe(model, every=1)
    probe.look(batch)
    found = {row["name"]: row for row in probe.history["layers"]}
    expected = md.cross_entropy(model(A, B), LABELS).item()
    assert probe.history["loss"] == [pytest.approx(expected)]
    assert found["norm"]["mean_before"] == [
        pytest.approx((model.left(A) + model.right(B)).data.mean(), abs=1e-6)
    ]
    assert {name for name in found if "drift_mean" in found[name]} == {"left", "right", "out"}
    md.manual_seed(0)
    model = Two()
    probe = lab.Probe(model, every=1)
    for epochs in (1, 2):
        trainer(model, callbacks=[probe, train.Checkpoint(tmp_path)]).fit(
            [batch], epochs=epochs, resume="auto"
        )
    assert probe.history["step"] == [0, 1, 2]
    assert probe.history["loss"][0] == pytest.approx(expected)


@pytest.mark.parametrize(
    "kind, batch",
    [(OfTuple, ((A, B), LABELS)), (OfDict, ({"a": A, "b": B}, LABELS)), (Two, (A, B[:, 0]))],
)
def test_inputs_that_do_not_fit(kind, batch):
    with refuses((TypeError, ValueError), "Probe", "batch", kind.__name__):
        lab.Probe(kind(), batch=batch).look()
    with refuses(TypeError, "Probe", "batch"):
        lab.Probe(OfDict(), batch=(({"a": A, "b": B},), LABELS)).look()


def test_a_list_is_a_batch_or_holds_batches():
    """PyTorch's loaders yield [images, labels]."""
    losses = []
    for given in (
        (A, LABELS),
        [A, LABELS],
        [(A, LABELS), (B, LABELS)],
        [[A, LABELS]],
        [A, LABELS.tolist()],
    ):
        probe = lab.Probe(network(), batch=given, measures="gradients")
        probe.look()
        other = lab.Probe(network(), every=1, measures="gradients")
        other.step(given)
        losses += probe.history["loss"] + other.history["loss"]
    assert len(set(losses)) == 1


def test_a_loss_by_hand():
    model = network()
    seen = []

    def loss(outputs, labels, batch):
        seen.append(batch)
        return md.cross_entropy(outputs, labels)

    lab.Probe(model, batch=(A, LABELS), loss=loss, measures="gradients").look()
    assert seen[0][0] is A
    with refuses(ValueError, "Probe: loss", "one number"):
        lab.Probe(model, batch=(A, LABELS), loss=lambda y, t: y).look()
    with refuses(TypeError, "Probe: loss", "float"):
        lab.Probe(model, batch=(A, LABELS), loss=lambda y, t: 1.0).look()
