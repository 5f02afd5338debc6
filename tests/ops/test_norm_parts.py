"""These tests compare batch_norm with a mask, with virtual batches and with renormalization with
the papers' formulas.
"""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import errors_of
from tests.support.kernel_calls import kernels_run
from tests.support.marks import both_backends, both_floats
from tests.support.reference import norm as formulas
from tests.support.threads import threads

CHANNELS = 3
LIMITS = (1.5, 0.75)
OPTIONS = {
    "plain": {},
    "biased": {"unbiased": False, "eps": 1e-3, "momentum": 0.3},
    "plain average": {"momentum": None},
    "mask": {"mask": True},
    "ghosts": {"ghost_batch": 2},
    "ghosts, the last one smaller": {"ghost_batch": 3},
    "ghosts as large as the batch": {"ghost_batch": 5},
    "renorm": {"renorm": LIMITS},
    "renorm without limits": {"renorm": (1e9, 1e9)},
    "renorm that corrects nothing": {"renorm": (1.0, 0.0)},
    "mask, ghosts": {"mask": True, "ghost_batch": 2, "momentum": None},
    "mask, renorm": {"mask": True, "renorm": LIMITS},
    "ghosts, renorm": {"ghost_batch": 2, "renorm": LIMITS, "unbiased": False},
    "limits of each virtual batch": {
        "ghost_batch": 2,
        "renorm": lambda batches: (1 + batches / 20, (batches - 4) / 5),
    },
    "everything": {
        "mask": True,
        "ghost_batch": 2,
        "renorm": LIMITS,
        "momentum": None,
        "unbiased": False,
    },
}
every_option = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
SHAPES = {"3-D": (5, 4, CHANNELS), "4-D": (5, 2, 3, CHANNELS)}


def example(shape=(5, 4, CHANNELS), seed=0):
    """Return x, a residual, gamma, beta, dy, and a mask that leaves out one of three images, image
    2 included.
    """
    x, residual, dy = (uniform(*shape, dtype=np.float64, seed=seed + k) for k in range(3))
    gamma, beta = uniform(3, dtype=np.float64, seed=9, low=0.5, high=2), np.array([0.3, -0.2, 0.1])
    mask = np.arange(np.prod(shape[:-1])).reshape(shape[:-1]) % 3 != 1
    mask[2] = False
    return 2 * x + 1, residual, gamma, beta, dy, mask


def fresh(dtype=np.float64):
    return {
        "mean": np.array([0.5, -0.25, 1], dtype),
        "var": np.array([1, 0.25, 2], dtype),
        "batches": 4,
    }


def run_ours(options, x, gamma, beta, state, mask, training=True):
    options = {**options, "mask": mask if options.get("mask") else None}
    batches = np.array(state["batches"])
    y = md.batch_norm(
        x, gamma, beta, state["mean"], state["var"], training, num_batches=batches, **options
    )
    state["batches"] = int(batches)
    return y


def theirs(options, x, gamma, beta, state, mask, training=True):
    options = {**options, "mask": mask if options.get("mask") else None}
    if "renorm" in options:
        limits = options["renorm"]
        options["renorm"] = limits if callable(limits) else lambda batches: limits
    return formulas.batch_norm(x, gamma, beta, state, training=training, **options)


# Each program has ours and theirs, as functions of bn(x) and a residual.
PROGRAMS = {
    "bn": (lambda p, s: p, lambda p, s: p),
    "relu": (lambda p, s: md.relu(p), lambda p, s: formulas.relu(p)),
    "residual": (lambda p, s: p + s, lambda p, s: p + s),
    "relu of a sum": (lambda p, s: md.relu(p + s), lambda p, s: formulas.relu(p + s)),
    "residual first": (lambda p, s: md.relu(s + p), lambda p, s: formulas.relu(p + s)),
    "used twice": (lambda p, s: md.relu(p + s) * p, lambda p, s: formulas.relu(p + s) * p),
}


# ------------------------------------------------------------------------ values and gradients


@every_option
@both_floats
@both_backends
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_values_gradients_and_statistics(name, shape, options, dtype, backend):
    x, residual, gamma, beta, dy, mask = example(shape)
    ours, reference = PROGRAMS[name]
    state = fresh()
    expected = reference(theirs(options, x, gamma, beta, state, mask), residual)
    grads = formulas.gradients(
        lambda x, s, gamma, beta: reference(theirs(options, x, gamma, beta, fresh(), mask), s),
        dy,
        x,
        residual,
        gamma,
        beta,
    )
    tensors = [md.tensor(a.astype(dtype), requires_grad=True) for a in (x, residual, gamma, beta)]
    mine = fresh(dtype)
    with md.use_backend(backend):
        t, s, *affine = tensors
        y = ours(run_ours(options, t, *affine, mine, mask), s)
        y.backward(dy.astype(dtype))
        close(y.data, expected, 20)
    for tensor, grad in zip(tensors, grads, strict=True):
        got = np.zeros(tensor.shape, dtype) if tensor.grad is None else tensor.grad
        close(got, grad, 50)
    assert mine["batches"] == state["batches"]
    for stat in ("mean", "var"):
        assert mine[stat].dtype == dtype
        close(mine[stat], state[stat], 5)


@every_option
@both_backends
def test_inference_and_its_gradients(options, backend):
    """Running statistics are used, whatever the virtual batches are. Only the mask still counts."""
    x, residual, gamma, beta, dy, mask = example()
    state = fresh()
    tensors = [md.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    with md.use_backend(backend):
        y = md.relu(run_ours(options, *tensors, state, mask, training=False) + residual)
        y.backward(dy)

    def formula(x, gamma, beta):
        return formulas.relu(theirs(options, x, gamma, beta, fresh(), mask, False) + residual)

    close(y.data, formula(x, gamma, beta), 5)
    for tensor, grad in zip(tensors, formulas.gradients(formula, dy, x, gamma, beta), strict=True):
        close(tensor.grad, grad, 10)
    assert state["batches"] == 4
    for stat in ("mean", "var"):
        np.testing.assert_array_equal(state[stat], fresh()[stat])


@pytest.mark.parametrize("options", [OPTIONS["mask, ghosts"], OPTIONS["mask"], OPTIONS["ghosts"]])
@both_backends
def test_central_differences(options, backend):
    x, residual, gamma, beta, _, mask = example()
    with md.use_backend(backend):
        assert md.gradcheck(
            lambda x, s, gamma, beta: md.sigmoid(
                run_ours(options, x, gamma, beta, fresh(), mask) + s
            ),
            [md.tensor(a, requires_grad=True) for a in (x, residual, gamma, beta)],
        )


@pytest.mark.parametrize("options", [OPTIONS["everything"], OPTIONS["renorm"]])
def test_gamma_and_beta_may_be_missing(options):
    x, _, gamma, beta, dy, mask = example()
    for g, b in ((gamma, None), (None, beta), (None, None)):
        ones, zeros = np.ones(3) if g is None else g, np.zeros(3) if b is None else b
        t = md.tensor(x, requires_grad=True)
        y = run_ours(options, t, g, b, fresh(), mask)
        y.backward(dy)
        close(y.data, theirs(options, x, ones, zeros, fresh(), mask), 5)
        close(
            t.grad,
            formulas.gradients(
                lambda x, ones=ones, zeros=zeros: theirs(options, x, ones, zeros, fresh(), mask),
                dy,
                x,
            )[0],
            20,
        )


# ----------------------------------------------------------------- what is computed, and when


@pytest.mark.parametrize("name", ["mask", "ghosts", "everything", "renorm"])
def test_no_pass_over_memory_but_its_own(name, monkeypatch):
    """A residual and a ReLU cost no further pass, forward and backward."""
    x, residual, gamma, beta, dy, mask = example()
    x, residual = (md.tensor(a, requires_grad=True) for a in (x, residual))
    calls = kernels_run(
        monkeypatch,
        "relu",
        "add",
        "relu_backward",
        "batch_norm_apply",
        "masked_norm_apply",
        "batch_norm_backward",
        "masked_norm_backward",
    )
    for f in (lambda p, s: md.relu(p), lambda p, s: md.relu(p + s), lambda p, s: md.relu(s + p)):
        s = residual * 1
        y = f(run_ours(OPTIONS[name], x * 1, gamma, beta, fresh(), mask), s)
        y.data  # noqa: B018
        masked, parts = "mask" in OPTIONS[name], 3 if "ghost_batch" in OPTIONS[name] else 1
        assert calls == parts * ["masked_norm_apply" if masked else "batch_norm_apply"]
        calls.clear()
        y.backward(dy)
        assert calls == parts * ["masked_norm_backward" if masked else "batch_norm_backward"]
        calls.clear()


@pytest.mark.parametrize("use", [lambda p: p, lambda p: md.relu(p)])
def test_the_mask_is_that_of_the_call(use):
    """This holds even if the output is computed later, and in the backward."""
    x, _, gamma, beta, dy, mask = example()
    t = md.tensor(x, requires_grad=True)
    expected = use(run_ours({"mask": True}, t * 1, gamma, beta, fresh(), mask))
    expected.backward(dy)
    grad, values = t.grad, expected.data
    t.grad = None
    for late in (False, True):
        given = mask.copy()
        y = use(run_ours({"mask": True}, t * 1, gamma, beta, fresh(), given))
        if late:
            y.data  # noqa: B018
        given[...] = ~given
        np.testing.assert_array_equal(y.data, values)
        t.grad = None
        y.backward(dy)
        np.testing.assert_array_equal(t.grad, grad)


@pytest.mark.parametrize("name", ["mask", "ghosts", "everything"])
@both_floats
def test_same_bits_on_any_number_of_threads(name, dtype):
    x, dy, residual = (uniform(23, 30, 30, 24, dtype=dtype, seed=k) for k in range(3))
    mask = uniform(23, 30, 30, seed=4) < 0.4
    bits = []
    for n in (1, 2, 3, 4):
        with threads(n):
            tensors = [
                md.tensor(a, requires_grad=True)
                for a in (x, residual, np.ones(24, dtype), np.zeros(24, dtype))
            ]
            t, s, *affine = tensors
            state = {"mean": np.zeros(24), "var": np.ones(24), "batches": 3}
            y = md.relu(run_ours({**OPTIONS[name], "ghost_batch": 5}, t, *affine, state, mask) + s)
            y.backward(dy)
            bits.append(
                [
                    a.tobytes()
                    for a in (
                        y.data,
                        state["mean"],
                        state["var"],
                        *(tensor.grad for tensor in tensors),
                    )
                ]
            )
    assert bits[0] == bits[1] == bits[2] == bits[3]


# ------------------------------------------------------------------------------------- errors

X, STATS = np.ones((4, 2, 3)) * np.arange(4)[:, None, None], (np.zeros(3), np.ones(3))
MASK = np.ones((4, 2), bool)


def bn(x=X, **options):
    return md.batch_norm(x, None, None, *STATS, training=True, **options)


def test_statistics_stay_where_a_virtual_batch_is_too_small():
    one = np.array([[1, 1], [1, 1], [0, 1], [0, 0]], bool)
    for options in (
        {"ghost_batch": 3, "x": X[:, :1]},
        {"ghost_batch": 2, "mask": one},
        {"mask": one & one[3:4] | (np.arange(8) == 5).reshape(4, 2)},
    ):
        count = np.array(7)
        with pytest.raises(ValueError, match=r"at least 2 .*larger batches.*eval\(\)"):
            bn(**options, num_batches=count)
        assert count == 7 and not STATS[0].any() and (STATS[1] == 1).all()


test_errors = errors_of(
    [
        (
            lambda: bn(mask=MASK.astype(int)),
            TypeError,
            "batch_norm: mask must be booleans",
            "int64",
        ),
        (
            lambda: bn(mask=MASK[:3]),
            ValueError,
            "batch_norm: mask must have shape (4, 2)",
            "(3, 2)",
        ),
        (lambda: bn(mask=MASK[..., None]), ValueError, "batch_norm: mask must have", "(4, 2, 1)"),
        (lambda: bn(mask=True), ValueError, "batch_norm: mask must have shape (4, 2)"),
        (lambda: bn(ghost_batch=0), ValueError, "batch_norm: ghost_batch must be an int >= 1", "0"),
        (lambda: bn(mask=MASK, ghost_batch=-2), ValueError, "batch_norm: ghost_batch", "-2"),
        (lambda: bn(mask=MASK, ghost_batch=1.5), TypeError, "batch_norm: ghost_batch", "1.5"),
        (lambda: bn(X[0, 0, 0], ghost_batch=2), ValueError, "batch_norm: x must be (..., C)"),
        (lambda: bn(X[:, :0], ghost_batch=2), ValueError, "batch_norm", "0 value", "at least 2"),
        (lambda: bn(momentum=None), ValueError, "momentum=None", "needs num_batches"),
        (lambda: bn(renorm=(0.5, 1.0)), ValueError, "r_max of renorm must be", ">= 1"),
        (lambda: bn(renorm=(2.0, -1.0)), ValueError, "d_max of renorm must be", ">= 0"),
        (lambda: bn(renorm=3), TypeError, "renorm must be (r_max, d_max)", "3"),
        (lambda: bn(renorm=(2, 1, 0)), TypeError, "renorm must be (r_max, d_max)"),
        (lambda: bn(num_batches=3), TypeError, "num_batches must be", "int"),
        (lambda: bn(num_batches=np.zeros(())), TypeError, "num_batches must be", "float64"),
        (lambda: bn(num_batches=np.zeros(3, int)), TypeError, "num_batches must be", "(3,)"),
        (lambda: bn(renorm=lambda batches: (1.0, 0.0)), ValueError, "renorm needs num_batches"),
        (
            lambda: md.batch_norm(X, None, None, training=True, renorm=(2.0, 1.0)),
            ValueError,
            "renorm needs running_mean",
        ),
    ]
)
