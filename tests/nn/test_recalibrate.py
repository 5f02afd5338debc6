"""These tests check that nn.recalibrate sets the statistics of the whole population, and changes
nothing else.

Its report and nn.batch_statistics are in test_recalibrate_report.
"""

import numpy as np
import pytest

import minidl as md
from minidl import data, nn
from tests.support.arrays import close, uniform
from tests.support.errors import refuses
from tests.support.marks import both_backends, both_floats
from tests.support.recalibration import batches, everything, large_gaps, model_of

FLOAT32 = 1e6  # a tolerance for values in float64 that were rounded to float32


# ---------------------------------------------------------------------------------- the values


@both_floats
@both_backends
@large_gaps
def test_the_variance_of_all_values(dtype, backend):
    """It is not the average of the batches' variances, and each batch counts by its size."""
    bn = nn.BatchNorm(3).astype(dtype)
    given = batches(dtype=dtype)
    with md.use_backend(backend):
        report = nn.recalibrate(bn, given)
    rows = np.concatenate(given).astype(np.float64)
    close(bn.running_mean, rows.mean(0), 5)
    close(bn.running_var, rows.var(0), 5)
    assert bn.running_mean.dtype == dtype
    assert (report.gaps[0].values, report.gaps[0].batches) == (32, 3)
    assert bn.num_batches == 0


@large_gaps
def test_digits_at_large_means():
    bn = nn.BatchNorm(3)
    given = [x + np.float32(1e4) for x in batches(shift=0)]
    nn.recalibrate(bn, given)
    rows = np.concatenate(given).astype(np.float64)
    np.testing.assert_allclose(bn.running_var, rows.var(0), rtol=1e-4)


@large_gaps
def test_all_layers_in_one_pass_over_the_data():
    """Each batch passes once through layers that normalize with its own statistics."""
    model, drawn = model_of(), []

    def loader():
        for x in batches():
            drawn.append(len(x))
            yield x

    nn.recalibrate(model, loader())
    assert drawn == [7, 16, 9]
    dense1, bn1, _, dense2, bn2 = (layer for layer in model.astype(np.float64).children())
    h = [dense1(x.astype(np.float64)).data for x in batches()]
    close(bn1.running_mean, np.concatenate(h).mean(0), FLOAT32)
    close(bn1.running_var, np.concatenate(h).var(0), FLOAT32)
    h = [dense2(np.maximum((a - a.mean(0)) / np.sqrt(a.var(0) + 1e-5), 0)).data for a in h]
    close(bn2.running_mean, np.concatenate(h).mean(0), FLOAT32)
    close(bn2.running_var, np.concatenate(h).var(0), FLOAT32)


@large_gaps
def test_what_a_loader_may_yield():
    images = np.random.default_rng(0).integers(0, 256, (20, 3), dtype=np.uint8)
    floats = images.astype(np.float32) / 255
    labels = np.zeros(20, np.int64)
    parts = [slice(0, 8), slice(8, 20)]
    found = []
    for loader in (
        [images[p] for p in parts],
        [(images[p], labels[p]) for p in parts],
        [[floats[p], labels[p]] for p in parts],
        [md.tensor(floats[p]) for p in parts],
        (floats[p] for p in parts),
        data.DataLoader(data.ArrayDataset(images, labels), batch_size=10),
    ):
        bn = nn.BatchNorm(3)
        assert nn.recalibrate(bn, loader).gaps[0].values == 20
        found.append([bn.running_mean, bn.running_var])
    close(found[0][0], floats.mean(0))
    for other in found[1:]:
        close(other[0], found[0][0])
        close(other[1], found[0][1])


@large_gaps
def test_a_number_of_batches():
    for count, rows in ((1, 7), (np.int64(2), 23), (3, 32), (9, 32), (None, 32)):
        bn = nn.BatchNorm(3)
        drawn = iter(batches())
        assert nn.recalibrate(bn, drawn, batches=count).gaps[0].values == rows
        close(bn.running_mean, np.concatenate(batches())[:rows].astype(np.float64).mean(0), 5)
        assert len(list(drawn)) == 3 - min(count or 3, 3)  # no further batches are drawn


@large_gaps
def test_a_mask_counts():
    class Masked(nn.Layer):
        def __init__(self):
            super().__init__()
            self.bn = nn.BatchNorm(3, ghost_batch=2, momentum=None, renorm=True)

        def forward(self, x):
            return self.bn(x, x.data[:, 0] < 1.5)

    model, rows = Masked(), np.concatenate(batches())
    report = nn.recalibrate(model, [*batches(), np.full((4, 3), 9, np.float32)])
    kept = rows[rows[:, 0] < 1.5].astype(np.float64)
    assert (report.gaps[0].values, report.gaps[0].batches) == (len(kept), 2)  # of 4 batches
    close(model.bn.running_mean, kept.mean(0), 5)
    close(model.bn.running_var, kept.var(0), 5)


@large_gaps
def test_a_layer_used_twice_sees_both():
    class Twice(nn.Layer):
        def __init__(self):
            super().__init__()
            self.bn = self.again = nn.BatchNorm(3)

        def forward(self, x):
            return self.bn(x) + self.again(x * 3)

    model, rows = Twice(), np.concatenate(batches()).astype(np.float64)
    report = nn.recalibrate(model, batches())
    assert [(gap.values, gap.batches) for gap in report.gaps] == [(64, 6)]
    close(model.bn.running_var, np.concatenate([rows, 3 * rows]).var(0), 5)


@large_gaps
def test_eval_mode_is_that_of_one_batch_afterwards():
    """If one batch is the population, evaluation mode gives what the statistics of this batch
    give.
    """
    model, x = model_of(nn.Dropout(0.5)), batches((40,))[0]
    model.eval()
    with nn.batch_statistics(model):
        expected = model(x).data
    nn.recalibrate(model, [x])
    close(model(x).data, expected, 10)  # dropout was off


# -------------------------------------------------------------------- what is not to change


@large_gaps
def test_modes_parameters_and_counts_stay():
    model = model_of(nn.Dropout(0.5))
    model(batches()[1])
    model.children()[1].eval()
    state, modes = everything(model)
    nn.recalibrate(model, batches())
    after, modes_after = everything(model)
    assert modes_after == modes
    changed = {name for name in state if after[name] != state[name]}
    assert changed == {
        f"{layer}.{name}" for layer in (1, 5) for name in ("running_mean", "running_var")
    }
    assert all(p.grad is None for p in model.parameters())


@large_gaps
@pytest.mark.parametrize("how", ["freeze", "freeze_stats"])
def test_frozen_layers_normalize_as_they_are(how):
    model = model_of()
    frozen, other = model.children()[1], model.children()[4]
    frozen.running_mean[:], frozen.running_var[:] = 0.5, 4
    before = frozen.state_dict()
    getattr(frozen, how)()
    report = nn.recalibrate(model, batches())
    assert [gap.layer for gap in report.gaps] == ["4"]
    for name, value in frozen.state_dict().items():
        np.testing.assert_array_equal(value, before[name])
    h = np.concatenate([model.children()[0](x).data for x in batches()])
    h = np.maximum((h - 0.5) / np.sqrt(4 + 1e-5), 0).astype(np.float32)
    h = model.children()[3](h).data
    close(other.running_mean, h.astype(np.float64).mean(0), 10)


class Stumbles(nn.Layer):
    """Raises an error at the second batch."""

    def forward(self, x):
        if len(x) == 16:
            raise RuntimeError("stumbled")
        return x


def broken_loader():
    yield batches()[0]
    raise OSError("no such file")


NAN = np.full((7, 3), np.nan, np.float32)


@pytest.mark.parametrize(
    "more, loader, error, words",
    [
        ((), [], ValueError, "no batch"),
        ((), [batches()[0], NAN], ValueError, "layer 1 are not finite"),
        ((), [np.full((7, 3), np.inf, np.float32)], ValueError, "not finite"),
        # Not finite in float32.
        ((), [np.resize(np.float32([0, 1e25]), (7, 3))], ValueError, "not finite"),
        ((Stumbles(),), batches(), RuntimeError, "stumbled"),
        ((), broken_loader, OSError, "no such file"),
        ((), 5, TypeError, "recalibrate: loader must be an iterable"),
        # A single value has no variance.
        ((), [batches()[1][:1], batches()[0]], ValueError, "1 value"),
        ((), [batches()[0], batches()[0][:, :2]], ValueError, "Dense"),
    ],
)
def test_errors_change_nothing(more, loader, error, words):
    model = model_of(nn.Dropout(0.5), *more)
    model.children()[3].eval()
    before = everything(model)
    with refuses(error, words):
        nn.recalibrate(model, loader() if callable(loader) else loader)
    assert everything(model) == before
    x = batches((40,))[0]
    twin = model_of(nn.Dropout(0.5), *more)  # no layer collects statistics any more
    np.testing.assert_array_equal(model.eval()(x).data, twin.eval()(x).data)


def test_bad_arguments_are_refused():
    for model in (
        nn.Dense(3, 4),
        nn.BatchNorm(3, track_stats=False),
        nn.BatchNorm(3).freeze(),
        nn.BatchNorm(3).freeze_stats(),
        nn.LayerNorm(3),
    ):
        with refuses(ValueError, "recalibrate: model has no BatchNorm"):
            nn.recalibrate(model, batches())
    with refuses(TypeError, "recalibrate: model must be a Layer"):
        nn.recalibrate(lambda x: x, batches())
    for count in (0, -1, 1.5, True, "all"):
        with refuses(ValueError if count in (0, -1) else TypeError, "recalibrate: batches must be"):
            nn.recalibrate(nn.BatchNorm(3), batches(), batches=count)


@pytest.mark.filterwarnings("ignore:recalibrate")
def test_a_rest_of_one_value_counts_as_any_other():
    """It is normalized with the statistics so far, since it has no variance of its own."""
    x = uniform(9, 3).astype(np.float64)
    bn = nn.BatchNorm(3).astype(np.float64)
    nn.recalibrate(bn, [x[:4], x[4:8], x[8:]])
    np.testing.assert_allclose(bn.running_mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(bn.running_var, x.var(axis=0), rtol=1e-12)
    seen = []
    model = nn.Sequential(nn.BatchNorm(3)).astype(np.float64)
    model.register_forward_hook(lambda layer, inputs, y: seen.append(y.data))
    nn.recalibrate(model, [x[:8], x[8:]])
    expected = (x[8:] - x[:8].mean(axis=0)) / np.sqrt(x[:8].var(axis=0) + 1e-5)
    np.testing.assert_allclose(seen[1], expected, rtol=1e-10)


@pytest.mark.filterwarnings("ignore:recalibrate")
def test_run_says_what_to_do_with_a_batch():
    """Masks and several inputs are possible: `run` gets what the loader yields."""
    x, mask = uniform(8, 5, 3).astype(np.float64), np.arange(40).reshape(8, 5) % 3 > 0
    x[~mask] = 1e6
    bn = nn.BatchNorm(3).astype(np.float64)
    nn.recalibrate(
        bn,
        [{"x": x[:4], "mask": mask[:4]}, {"x": x[4:], "mask": mask[4:]}],
        run=lambda batch: bn(batch["x"], batch["mask"]),
    )
    np.testing.assert_allclose(bn.running_mean, x[mask].mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(bn.running_var, x[mask].var(axis=0), rtol=1e-12)


def test_a_shared_layer_has_its_first_name_and_all_its_values():
    class Twice(nn.Layer):
        def __init__(self):
            self.bn = nn.BatchNorm(3)
            self.again = self.bn

        def forward(self, x):
            return self.again(self.bn(x))

    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    # Its mean is 0 and its variance 1, as those of the initial running statistics.
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    (gap,) = nn.recalibrate(Twice(), [x]).gaps
    assert (gap.layer, gap.values, gap.batches) == ("bn", 32, 2)
