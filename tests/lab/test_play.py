"""These tests compare the numbers of the interactive page (docs/play), which JavaScript computes,
with minidl: the same initial weights and batches must give the same losses, gradients, running
statistics and test outputs.
"""

import json

import numpy as np
import pytest

import minidl as md
from minidl import nn
from tests.support.marks import small_batches
from tests.support.processes import ROOT

quickjs = pytest.importorskip("quickjs", reason="runs the page's JavaScript (extra 'test')")

TOLERANCE = 1e-9  # relative to the largest value of each array
SETTINGS = {
    "data": "spirals",
    "norm": "batch",
    "depth": 3,
    "activation": "relu",
    "batch": 16,
    "rate": 0.1,
    "scale": 1,
    "sorted": False,
    "seed": 0,
}
NORMS = {
    "none": None,
    "batch": nn.BatchNorm,
    "layer": nn.LayerNorm,
    "batch-test": lambda width: nn.BatchNorm(width, track_stats=False),
    "group": lambda width: nn.GroupNorm(4, width),
}
ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}

# The batch, loss and gradients of each step, and the state after it; the test outputs at the end.
TRACE = """
const trace = (settings, steps, offset, contrast) => {
  const run = new Runs.Run(settings), arrays = (what) => run.network.parameters.map(
    (parameter) => Array.from(parameter[what]));
  const running = () => run.network.layers.filter((layer) => layer.running).flatMap(
    (layer) => [Array.from(layer.running.mean), Array.from(layer.running.variance)]);
  const result = {start: arrays("data"), steps: []};
  run.every = Infinity;                 // a record is made at the end
  for (let k = 0; k < steps; k++) {
    const {x, labels} = run.batch;
    run.step();
    result.steps.push({x: Array.from(x), labels: Array.from(labels), ...run.recent[k],
                       grads: arrays("grad"), data: arrays("data"), running: running()});
  }
  run.shift(offset, contrast);
  const logits = run.network.forward(run.shifted, run.mode);
  return {...result, last: run.last, test: Array.from(run.shifted), logits: Array.from(logits),
          testLabels: Array.from(run.test.labels)};
};
"""


@pytest.fixture(scope="module")
def page():
    """Return a function that runs the page's scripts: `page("code", **names)` returns the value of
    the code, as JSON gives it.
    """
    context = quickjs.Context()
    for name in ("play", "points", "run"):
        context.eval((ROOT / "docs" / "play" / f"{name}.js").read_text(encoding="utf-8"))
    context.eval(TRACE)

    def evaluated(code, **names):
        given = "".join(f"const {name} = {json.dumps(value)};" for name, value in names.items())
        return json.loads(context.eval(f"(() => {{ {given} return JSON.stringify({code}); }})()"))

    return evaluated


def network(settings, classes):
    """Return the page's network as a model of minidl."""
    layers, inputs = [], 2
    norm = NORMS[settings["norm"]]
    for _ in range(settings["depth"]):
        layers += [
            nn.Dense(inputs, 16, bias=not settings["norm"].startswith("batch")),
            *([norm(16)] if norm else []),
            ACTIVATIONS[settings["activation"]](),
        ]
        inputs = 16
    return nn.Sequential(*layers, nn.Dense(inputs, classes)).astype(np.float64)


def near(found, expected, what):
    found, expected = np.asarray(found).ravel(), np.asarray(expected).ravel()
    assert found.shape == expected.shape, what
    worst = np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-300)
    assert worst <= TOLERANCE, f"{what}: {worst:.1e}"


CASES = [{"norm": norm} for norm in NORMS] + [
    {"norm": "none", "activation": "tanh", "scale": 0.1},
    {"norm": "batch", "activation": "sigmoid", "depth": 5, "seed": 3},
    {"norm": "batch", "batch": 2, "rate": 1, "data": "moons"},
    {"norm": "layer", "activation": "tanh", "scale": 3, "data": "rings"},
    {"norm": "group", "activation": "sigmoid", "sorted": True, "data": "moons"},
]


@small_batches
@pytest.mark.parametrize("changed", CASES, ids=lambda case: " ".join(map(str, case.values())))
def test_training_is_minidls(page, changed):
    settings = {**SETTINGS, **changed}
    trace = page("trace(settings, 6, 0.3, 1.5)", settings=settings)
    model = network(settings, classes=2 if settings["data"] == "moons" else 3)
    parameters = list(model.parameters())
    assert len(parameters) == len(trace["start"])
    for parameter, start in zip(parameters, trace["start"], strict=True):
        parameter.data = np.reshape(np.array(start, np.float64), parameter.shape)
    optimizer = md.optim.SGD(parameters, lr=settings["rate"])
    model.train()
    for step in trace["steps"]:
        x, labels = np.reshape(step["x"], (-1, 2)), np.array(step["labels"])
        assert len(labels) == settings["batch"]
        logits = model(x)
        loss = md.cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        near(step["loss"], loss.data, "loss")
        assert step["accuracy"] == pytest.approx((logits.data.argmax(axis=1) == labels).mean())
        for parameter, grad in zip(parameters, step["grads"], strict=True):
            near(grad, parameter.grad, "gradient")
        optimizer.step()
        for parameter, values in zip(parameters, step["data"], strict=True):
            near(values, parameter.data, "parameter")
        if settings["norm"] == "batch":
            expected = [
                array
                for layer in model
                if isinstance(layer, nn.BatchNorm)
                for array in (layer.running_mean, layer.running_var)
            ]
            assert len(expected) == len(step["running"]) == 2 * settings["depth"]
            for values, array in zip(step["running"], expected, strict=True):
                near(values, array, "running statistics")
    model.eval()
    labels, last = np.array(trace["testLabels"]), trace["last"]
    with md.no_grad():
        outputs = model(np.reshape(trace["test"], (-1, 2)))
    near(trace["logits"], outputs.data, "test outputs")
    near(last["testLoss"], md.cross_entropy(outputs, labels).data, "test loss")
    assert last["testAccuracy"] == pytest.approx((outputs.data.argmax(axis=1) == labels).mean())
    near(last["loss"], np.mean([step["loss"] for step in trace["steps"]]), "recorded loss")


def test_the_same_settings_give_the_same_numbers(page):
    code = "trace(settings, 2, 0, 1)"
    first = page(code, settings=SETTINGS)
    assert page(code, settings=SETTINGS) == first
    assert page(code, settings={**SETTINGS, "seed": 1})["start"] != first["start"]


def test_networks_that_differ_in_their_normalization_are_paired(page):
    """They have the same data, batches and initial weights (which are the 2-dimensional
    parameters).
    """
    batch, none = (
        page("trace(settings, 2, 0, 1)", settings={**SETTINGS, "norm": norm})
        for norm in ("batch", "none")
    )
    assert batch["test"] == none["test"]
    assert [step["x"] for step in batch["steps"]] == [step["x"] for step in none["steps"]]
    weights = [
        [array for array in trace["start"] if len(array) in (32, 256, 48)]
        for trace in (batch, none)
    ]
    assert weights[0] == weights[1] and len(weights[0]) == 4


@pytest.mark.parametrize("scale", [0.01, 10])
def test_first_weights_are_hes_times_the_scale(page, scale):
    start = page("trace(settings, 0, 0, 1)", settings={**SETTINGS, "depth": 6, "scale": scale})
    hidden = [array for array in start["start"] if len(array) == 256]
    assert np.std(hidden) == pytest.approx(scale * np.sqrt(2 / 16), rel=0.05)
    assert abs(np.mean(hidden)) < 0.03 * scale


def test_an_epoch_has_each_point_once(page):
    """This holds as far as complete batches go. If the points are sorted, each batch has one
    class.
    """
    code = """(() => {
      const set = Points.points("spirals", new Points.Random(0));
      const batches = new Points.Batches(set, 32, sorted, new Points.Random(1));
      const index = new Map(Array.from(set.labels, (_, k) => [set.x[2 * k], k]));
      return Array.from({length: 12}, () => {
        const {x, labels} = batches.next();
        return Array.from(labels, (label, k) => [index.get(x[2 * k]), label]);
      });
    })()"""
    for ordered in (False, True):
        epoch = page(code, sorted=ordered)
        assert sorted(k for batch in epoch for k, _ in batch) == list(range(384))
        assert all((len({label for _, label in batch}) == 1) == ordered for batch in epoch)


def test_random_numbers(page):
    uniform, normal = page("""[0, 1].map((kind) => {
      const random = new Points.Random(5);
      return Array.from({length: 20000}, () => (kind ? random.normal() : random.uniform()));
    })""")
    assert min(uniform) > 0 and max(uniform) < 1
    assert np.mean(uniform) == pytest.approx(0.5, abs=0.01)
    assert np.var(uniform) == pytest.approx(1 / 12, rel=0.03)
    assert abs(np.corrcoef(uniform[1:], uniform[:-1])[0, 1]) < 0.02
    assert np.mean(normal) == pytest.approx(0, abs=0.02)
    assert np.std(normal) == pytest.approx(1, rel=0.02)
    assert np.mean(np.abs(normal) < 1) == pytest.approx(0.6827, abs=0.01)


@pytest.mark.parametrize("norm", ["none", "batch", "batch-test"])
def test_the_field_is_what_the_network_says_of_the_plane(page, norm):
    """It is computed with the statistics that the test points use, if there are any."""
    field, places, expected = page(
        """(() => {
      const run = new Runs.Run(settings), size = 20, places = [];
      for (let k = 0; k < 4; k++) run.step();
      const field = Array.from(run.field(size));
      for (let row = 0; row < size; row++) for (let column = 0; column < size; column++) {
        places.push(-2.4 + 4.8 * (column + 0.5) / size, 2.4 - 4.8 * (row + 0.5) / size);
      }
      run.network.forward(run.shifted, run.mode);
      const logits = run.network.forward(Float64Array.from(places),
                                         run.mode === "batch" ? "last" : "running");
      return [field, places, Array.from(Play.probabilities(logits, 3))];
    })()""",
        settings={**SETTINGS, "norm": norm},
    )
    assert len(field) == 3 * 400 and len(places) == 800
    np.testing.assert_allclose(field, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(np.reshape(field, (-1, 3)).sum(axis=1), 1)


def test_the_first_look_changes_nothing(page):
    running, steps = page(
        """(() => {
      const {network, steps, history} = new Runs.Run(settings);
      const {mean, variance} = network.layers[1].running;
      return [[Array.from(mean), Array.from(variance)], [steps, history.length]];
    })()""",
        settings=SETTINGS,
    )
    assert running == [[0] * 16, [1] * 16]
    assert steps == [0, 1]


def test_a_history_keeps_its_length(page):
    """Records are thinned out, so that the steps that remain are equally far from each other."""
    steps = page(
        """(() => {
      const run = new Runs.Run(settings);
      run.tested = () => ({testLoss: 0, testAccuracy: 0});
      for (let k = 0; k < 1500; k++) run.step();
      return run.history.map((one) => one.step);
    })()""",
        settings={**SETTINGS, "batch": 2, "depth": 1, "norm": "none", "rate": 0},
    )
    assert steps == list(range(0, 1501, 20))


def test_a_training_that_diverges_stops(page):
    found = page(
        """(() => {
      const run = new Runs.Run(settings);
      for (let k = 0; k < 40; k++) run.step();
      return [run.diverged, run.steps, run.history.length];
    })()""",
        settings={**SETTINGS, "norm": "none", "rate": 10, "scale": 10},
    )
    assert found[0] and found[1] < 40


def test_other_test_inputs(page):
    """They are the same points, moved, and the last record is computed from them."""
    first, later, x, shifted = page(
        """(() => {
      const run = new Runs.Run(settings), first = {...run.last};
      run.shift(0.5, 2);
      return [[first, run.history.length], [run.last, 1], Array.from(run.test.x),
              Array.from(run.shifted)];
    })()""",
        settings=SETTINGS,
    )
    assert first[1] == 1 and first[0]["loss"] == later[0]["loss"]
    assert first[0]["testLoss"] != later[0]["testLoss"]
    np.testing.assert_allclose(shifted, np.multiply(x, 2) + 0.5, rtol=1e-15)


def test_histogram_and_root_mean_square(page):
    shares = page("Array.from(Runs.histogram([-9, -0.9, 0.1, 0.2, 0.9, 5, NaN, 0.3], 4, -1, 1))")
    assert shares == [0.25, 0, 0.375, 0.25]
    assert page("Runs.rms(Float64Array.from([3, -4]))") == pytest.approx(np.sqrt(12.5))
