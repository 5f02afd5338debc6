"""These tests check chains: what one forward pass has computed has one backward pass, if nobody
else needs what is in between.

Each program is run fused and with every step computed at once. The gradients are the same, whoever
asks for what is inside of the chain.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.chains import PROGRAMS, Steps
from tests.support.kernel_calls import kernels_run
from tests.support.threads import in_threads

every_program = pytest.mark.parametrize("name", PROGRAMS)
PLACES = [
    (name, k)
    for name, program in PROGRAMS.items()
    for k in range(len((lambda m, f: (f(m), m.made)[1])(Steps(), program)))
]
every_place = pytest.mark.parametrize(("name", "k"), PLACES)


def run(name, fused=True, fixed=(), training=True):
    m = Steps(fused, fixed, training)
    y = PROGRAMS[name](m)
    return m, y, uniform(*y.shape, seed=20)


def gradients(m):
    return {name: t.grad for name, t in m.leaves.items()}


def agree(one, other):
    assert one.keys() == other.keys()
    for name, g in one.items():
        assert (g is None) == (other[name] is None), name
        if g is not None:
            close(g, other[name], 6)


def backward(name, **settings):
    m, y, dy = run(name, **settings)
    y.backward(dy)
    return gradients(m)


@every_program
@pytest.mark.parametrize("training", (True, False))
def test_chained_and_step_by_step(training, name):
    agree(backward(name, training=training), backward(name, training=training, fused=False))


# The kernels of the backward pass if nobody else asks for anything.
KERNELS = (
    "batch_norm_backward",
    "batch_norm_sums",
    "batch_norm_input_grad",
    "relu_backward",
    "batch_norm_pool_backward",
    "max_pool_backward",
    "pointwise_backward",
    "depthwise_backward",
    "batch_norm_apply",
    "relu",
    "add",
    "gelu",
    "gelu_backward",
    "silu",
    "silu_backward",
    "batch_norm_activation",
    "batch_norm_activation_backward",
    "winograd_input_grad",
    "winograd_weight_grad",
)
ONE_PASS = {
    **{
        name: ["batch_norm_backward"]
        for name in (
            "bn",
            "bn relu",
            "bn relu relu",
            "bn residual",
            "residual bn",
            "bn residual relu",
            "residual bn relu",
            "bn relu residual",
        )
    },
    "bn bn relu": ["batch_norm_backward"] * 2,
    "bn pool": ["batch_norm_pool_backward"],
    "bn relu pool": ["batch_norm_pool_backward"],
    "bn gelu": ["batch_norm_activation_backward"],
    "bn gelu residual": ["batch_norm_activation_backward"],
    "pool bn silu": ["batch_norm_activation_backward", "max_pool_backward"],
    "winograd pool bn gelu": [
        "batch_norm_activation_backward",
        "winograd_input_grad",
        "winograd_weight_grad",
    ],
    "bn gelu winograd pool": [
        "winograd_input_grad",
        "winograd_weight_grad",
        "batch_norm_activation_backward",
    ],
    "bn conv": ["pointwise_backward"],
    "bn relu conv": ["pointwise_backward"],
    "bn relu conv bn": ["batch_norm_sums", "pointwise_backward"],
    "bn relu depthwise": ["depthwise_backward"],
    "bn relu conv bn relu": ["batch_norm_sums", "pointwise_backward"],
}


@pytest.mark.parametrize("name", ONE_PASS)
def test_one_pass(name, monkeypatch):
    _, y, dy = run(name)
    y.data  # noqa: B018
    calls = kernels_run(monkeypatch, *KERNELS)
    y.backward(dy)
    after = (
        ["batch_norm_input_grad"]
        if ONE_PASS[name][-1] in ("pointwise_backward", "depthwise_backward")
        else []
    )
    assert calls == ONE_PASS[name] + after


@every_place
@pytest.mark.parametrize("how", ("retain_grad", "md.grad"))
def test_a_gradient_requested_inside(how, name, k):
    found = []
    for fused in (True, False):
        m, y, dy = run(name, fused)
        t = list(m.made.values())[k]
        if how == "retain_grad":
            t.retain_grad()
            y.backward(dy)
            found.append({**gradients(m), "inside": t.grad})
        else:
            wanted = [t, *m.leaves.values()]
            found.append(dict(enumerate(md.grad(y, wanted, dy))))
    agree(*found)
    if how == "retain_grad":
        agree({**backward(name), "inside": None}, {**found[0], "inside": None})


def test_retained_by_a_tensor_that_is_gone():
    """Then nobody asks for its gradient."""
    m, y, dy = run("bn relu")
    for t in m.made.values():
        t.retain_grad()
    m.made.clear()
    del t
    y.backward(dy)
    agree(gradients(m), backward("bn relu"))


USES = {
    "a product": lambda t: (t * t).sum(),
    "a relu": lambda t: (md.relu(t) * 3).sum(),
    "a sum": lambda t: ((t + t) * t).sum(),
    "a pool": lambda t: (md.max_pool(t, 2) * 2).sum(),
}


@every_place
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("when", ("before", "after"))
def test_a_second_consumer(when, use, name, k):
    """It uses a result inside of the chain, before or after the next step."""
    found = []
    for fused in (True, False):
        extra = []

        class Used(Steps):
            def step(self, name, y, extra=extra):
                y = super().step(name, y)
                if when == "before" and len(self.made) == k + 1:
                    extra.append(USES[use](y))
                return y

        m = Used(fused)
        y = PROGRAMS[name](m)
        if when == "after":
            extra.append(USES[use](list(m.made.values())[k]))
        ((y * uniform(*y.shape, seed=20)).sum() + extra[0]).backward()
        found.append(gradients(m))
    agree(*found)


@every_place
def test_two_outputs_of_which_one_is_inside(name, k):
    found = []
    for fused in (True, False):
        m, y, dy = run(name, fused)
        t = list(m.made.values())[k]
        wanted = list(m.leaves.values())
        found.append(dict(enumerate(md.grad([y, t], wanted, [dy, uniform(*t.shape, seed=21)]))))
    agree(*found)


@every_place
def test_backward_from_inside(name, k):
    """Only what is before it gets a gradient. Afterwards the whole graph, which was kept, gives its
    own.
    """
    found = []
    for fused in (True, False):
        m, y, dy = run(name, fused)
        t = list(m.made.values())[k]
        t.backward(uniform(*t.shape, seed=21), retain_graph=True)
        inside = gradients(m)
        for leaf in m.leaves.values():
            leaf.grad = None
        y.backward(dy)
        found.append({f"inside {name}": g for name, g in inside.items()} | gradients(m))
    agree(*found)


FIXED = [(name, leaf) for name in PROGRAMS for leaf in run(name)[0].leaves]


@pytest.mark.parametrize(("name", "fixed"), FIXED)
@pytest.mark.parametrize("training", (True, False))
def test_what_needs_no_gradient(training, name, fixed):
    """This may be x, the residual, a frozen gamma or beta, or a weight. The other gradients do not
    change.
    """
    one = backward(name, fixed=(fixed,), training=training)
    agree(one, backward(name, fixed=(fixed,), training=training, fused=False))
    assert one.pop(fixed) is None
    agree(one, {key: g for key, g in backward(name, training=training).items() if key != fixed})


@every_program
def test_only_one_leaf_needs_a_gradient(name):
    everything = backward(name)
    for wanted in everything:
        one = backward(name, fixed=[leaf for leaf in everything if leaf != wanted])
        agree({wanted: one.pop(wanted)}, {wanted: everything[wanted]})
        assert set(one.values()) <= {None}


@every_program
def test_the_graph_is_used_twice(name):
    """The second pass gives the same bits, and a third one raises an error."""
    m, y, dy = run(name)
    y.backward(dy, retain_graph=True)
    first = gradients(m)
    y.backward(dy)
    for key, g in gradients(m).items():
        np.testing.assert_array_equal(g, 2 * first[key])
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward(dy)


@every_place
def test_a_graph_that_was_freed_from_inside(name, k):
    """A backward through a part of the graph frees that part. The rest then raises an error, and
    stores nothing.
    """
    m, y, dy = run(name)
    t = list(m.made.values())[k]
    if t is y:
        return
    t.backward(uniform(*t.shape, seed=21))
    before = gradients(m)
    with pytest.raises(RuntimeError, match="retain_graph"):
        y.backward(dy)
    for key, g in gradients(m).items():
        assert g is before[key]


@every_program
def test_two_threads_over_one_graph(name):
    m, y, dy = run(name)
    wanted = list(m.leaves.values())
    alone = md.grad(y, wanted, dy, retain_graph=True)
    found = []

    def work(_):
        found.extend(md.grad(y, wanted, dy, retain_graph=True) for _ in range(5))

    assert in_threads(2, work) == []
    assert len(found) == 10
    for grads in found:
        for g, expected in zip(grads, alone, strict=True):
            np.testing.assert_array_equal(g, expected)


@every_place
def test_reading_a_step_changes_no_results(name, k):
    class Looked(Steps):
        def step(self, name, y):
            y = super().step(name, y)
            if len(self.made) == k + 1:
                repr(y)
            return y

    m = Looked()
    y = PROGRAMS[name](m)
    y.backward(uniform(*y.shape, seed=20))
    agree(gradients(m), backward(name))


@every_place
def test_an_array_assigned_inside(name, k):
    """The next steps read it, and the gradient of a normalization is that of what it was computed
    from.
    """
    found = []
    for fused in (True, False):

        class Assigned(Steps):
            def step(self, name, y):
                y = super().step(name, y)
                if len(self.made) == k + 1:
                    y.data = uniform(*y.shape, seed=22)
                return y

        m = Assigned(fused)
        y = PROGRAMS[name](m)
        y.backward(uniform(*y.shape, seed=20))
        found.append({**gradients(m), "y": y.data})
    agree(*found)


@every_place
def test_part_of_it_without_a_graph(name, k):
    """A step under no_grad cuts the graph, so what is before it gets no gradient."""
    found = []
    for fused in (True, False):

        class Cut(Steps):
            def step(self, name, y):
                y = super().step(name, y)
                return y.detach() * 1 if len(self.made) == k + 1 else y

        m = Cut(fused)
        y = PROGRAMS[name](m)
        if y.requires_grad:
            y.backward(uniform(*y.shape, seed=20))
        found.append({**gradients(m), "y": y.data})
    agree(*found)
