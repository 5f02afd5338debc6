"""These tests check the values, gradients and running statistics of batch_norm."""

import numpy as np
import pytest

import minidl as md
from tests.support.arrays import close, uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.marks import both_backends, both_floats

MEAN, VAR = np.array([0.5, -1.0, 2.0]), np.array([1.0, 0.25, 4.0])


def train(x, gamma=None, beta=None, eps=1e-5):
    """Compute Ioffe & Szegedy 2015, over all axes but the last."""
    axes = tuple(range(x.ndim - 1))
    y = (x - x.mean(axes)) / np.sqrt(x.var(axes) + eps)
    return (1 if gamma is None else gamma) * y + (0 if beta is None else beta)


def infer(x, gamma=None, beta=None, eps=1e-5):
    y = (x - MEAN) / np.sqrt(VAR + eps)
    return (1 if gamma is None else gamma) * y + (0 if beta is None else beta)


def trained(x, gamma=None, beta=None, **options):
    return md.batch_norm(x, gamma, beta, training=True, **options)


def inferred(x, gamma=None, beta=None, **options):
    return md.batch_norm(x, gamma, beta, MEAN, VAR, **options)


def fused(f):
    """Return relu(f(x) + residual)."""
    return lambda x, residual, *factors: md.relu(f(x, *factors) + residual)


def relu(x):
    return np.maximum(x, 0)


BOTH = (("train", trained, train), ("infer", inferred, infer))

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(f"{name} {shape}", ours, reference, shape, (3,), (3,))
            for name, ours, reference in BOTH
            for shape in ((5, 3), (2, 4, 3), (2, 3, 2, 3), (2, 1, 2, 2, 3))
        ),
        *(
            case(f"{name} without gamma and beta", ours, reference, (5, 3))
            for name, ours, reference in BOTH
        ),
        *(
            case(f"{name} without beta", ours, reference, (5, 3), (3,))
            for name, ours, reference in BOTH
        ),
        *(
            case(f"{name} without gamma", ours, reference, (5, 3), None, (3,))
            for name, ours, reference in BOTH
        ),
        *(
            case(f"{name} eps={eps}", ours, reference, (6, 3), (3,), (3,), eps=eps)
            for name, ours, reference in BOTH
            for eps in (0, 1e-3, 1.0)
        ),
        *(
            case(
                f"{name} and relu",
                lambda *a, f=ours: md.relu(f(*a)),
                lambda *a, f=reference: relu(f(*a)),
                (7, 3),
                (3,),
                (3,),
            )
            for name, ours, reference in BOTH
        ),
        *(
            case(
                f"{name}, a residual and relu",
                fused(ours),
                lambda x, s, *a, f=reference: relu(f(x, *a) + s),
                (7, 3),
                (7, 3),
                (3,),
                (3,),
            )
            for name, ours, reference in BOTH
        ),
        case("two values a channel", trained, train, (2, 3), (3,), (3,), eps=1.0),
        case("one channel", trained, train, (2, 3, 3, 1), (1,), (1,)),
        case("infer one value", inferred, infer, (1, 3), (3,), (3,)),
        case("infer nothing", inferred, infer, (0, 4, 3), (3,), (3,)),
        *(
            case(
                f"large {channels} channels",
                trained,
                train,
                (6, 2),
                (2,),
                (2,),
                large=[(rows, channels), (channels,), (channels,)],
            )
            for rows, channels in ((50_001, 3), (5003, 17), (33, 2001))
        ),
        *(
            case(
                f"large {name} fused",
                lambda x, s, g, b, f=ours: md.relu(f(x, g, b) + s),
                lambda x, s, g, b, f=reference: relu(f(x, g, b) + s),
                (5, 3),
                (5, 3),
                (3,),
                (3,),
                large=[(7, 61, 67, 3), (7, 61, 67, 3), (3,), (3,)],
            )
            for name, ours, reference in BOTH
        ),
    ]
)

X = md.zeros(4, 3)
F64 = np.zeros(3)

test_errors = errors_of(
    [
        (lambda: trained(md.zeros(3)), ValueError, "batch_norm: x must be (..., C)", "(3,)"),
        (
            lambda: trained(X, md.ones(4)),
            ValueError,
            "batch_norm: gamma must have shape (3,)",
            "(4, 3)",
            "got (4,)",
        ),
        (
            lambda: trained(X, None, md.ones(3, 1)),
            ValueError,
            "batch_norm: beta must have shape (3,)",
            "got (3, 1)",
        ),
        (
            lambda: md.batch_norm(X, None, None, np.zeros(2), F64),
            ValueError,
            "batch_norm: running_mean must have shape (3,)",
            "got (2,)",
        ),
        (
            lambda: md.batch_norm(X, None, None, F64, np.zeros(4)),
            ValueError,
            "batch_norm: running_var must have shape (3,)",
            "got (4,)",
        ),
        (
            lambda: md.batch_norm(X, None, None),
            ValueError,
            "batch_norm: running_mean and running_var are needed unless training",
        ),
        (lambda: md.batch_norm(X, None, None, F64), ValueError, "running_var are needed"),
        (lambda: trained(X, eps=-1e-3), ValueError, "batch_norm: eps must be", ">= 0", "-0.001"),
        (lambda: trained(X, eps=np.nan), ValueError, "batch_norm: eps must be", ">= 0", "nan"),
        (
            lambda: trained(md.zeros(1, 3)),
            ValueError,
            "batch_norm: x of shape (1, 3) has 1 value",
            "eval()",
            "drop_last",
        ),
        (lambda: trained(md.zeros(1, 1, 1, 3)), ValueError, "batch_norm: x of shape (1, 1, 1, 3)"),
        (lambda: trained(md.zeros(0, 3)), ValueError, "batch_norm: x of shape (0, 3) has 0 value"),
        (lambda: trained(md.zeros(4, 0)), ValueError, "batch_norm: x of shape (4, 0) has 0 value"),
        (
            lambda: trained(X, md.ones(3, dtype=np.float64)),
            TypeError,
            "batch_norm: mixed dtypes",
            "x float32",
            "gamma float64",
        ),
        (lambda: trained(X.astype(np.int64)), TypeError, "batch_norm: x must be float32", "int64"),
        (lambda: trained(X, md.tensor([1, 1, 1])), TypeError, "batch_norm: gamma must be float32"),
        (lambda: trained(X, None, "text"), TypeError, "batch_norm: beta must be a tensor", "str"),
    ]
)


@both_floats
@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1.0, 1e9])
def test_running_statistics_of_tiny_and_of_large_values(scale, dtype):
    """With the whole weight on the new batch they are its statistics, whatever they were before."""
    x = (np.random.default_rng(0).standard_normal((500, 3)) * scale).astype(dtype)
    mean, var = np.full(3, 5, dtype), np.ones(3, dtype)
    md.batch_norm(x, None, None, mean, var, training=True, momentum=1.0, eps=0.0)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(0), rtol=1e-6, atol=1e-7 * scale)
    np.testing.assert_allclose(var, x.astype(np.float64).var(0, ddof=1), rtol=1e-6)


@both_backends
@both_floats
@pytest.mark.parametrize("momentum", [0.1, 0.5, 1.0, 0.0])
def test_running_statistics_over_several_steps(momentum, dtype, backend):
    """They are updated in place. The weight of the new batch is `momentum`, and the variance is the
    unbiased one.
    """
    mean, var = np.zeros(3, dtype), np.ones(3, dtype)
    expected_mean, expected_var = np.zeros(3), np.ones(3)
    for step in range(4):
        x = uniform(6, 2, 3, dtype=dtype, seed=step, high=3)
        with md.use_backend(backend):
            md.batch_norm(md.tensor(x), None, None, mean, var, training=True, momentum=momentum)
        rows = x.reshape(-1, 3).astype(np.float64)
        expected_mean = (1 - momentum) * expected_mean + momentum * rows.mean(0)
        expected_var = (1 - momentum) * expected_var + momentum * rows.var(0, ddof=1)
        assert mean.dtype == var.dtype == dtype
        close(mean, expected_mean)
        close(var, expected_var)


@pytest.mark.parametrize(
    "how",
    [lambda a: a.astype(">f4"), lambda a: np.repeat(a, 2)[::2]],
    ids=["byte order", "strides"],
)
def test_running_statistics_of_any_memory(how):
    x, plain = uniform(8, 3), [np.zeros(3, np.float32), np.ones(3, np.float32)]
    others = [how(a) for a in plain]
    for stats in (plain, others):
        md.batch_norm(x, None, None, *stats, training=True)
    np.testing.assert_allclose(others, plain, rtol=1e-6)


def test_either_running_statistic_may_be_missing():
    x = md.tensor(uniform(6, 3))
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    y = md.batch_norm(x, None, None, mean, None, training=True)
    z = md.batch_norm(x, None, None, None, var, training=True)
    close(mean, 0.1 * x.data.mean(0))
    close(var, 0.9 + 0.1 * x.data.astype(float).var(0, ddof=1))
    np.testing.assert_array_equal(y.data, z.data)


def test_inference_uses_running_statistics_and_leaves_them_alone():
    mean, var = uniform(3, seed=1), uniform(3, seed=2, low=1, high=2)
    before = mean.copy(), var.copy()
    x = uniform(6, 3)
    y = md.batch_norm(md.tensor(x), None, None, mean, var).data
    np.testing.assert_array_equal(mean, before[0])
    np.testing.assert_array_equal(var, before[1])
    close(y, (x - mean.astype(float)) / np.sqrt(var + 1e-5))


def test_training_does_not_read_running_statistics():
    x = md.tensor(uniform(6, 3))
    nan = np.full(3, np.nan, np.float32)
    np.testing.assert_array_equal(
        md.batch_norm(x, None, None, nan, nan.copy(), training=True).data, trained(x).data
    )


def test_a_refused_call_leaves_running_statistics_alone():
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    for x, gamma in (
        (md.zeros(1, 3), None),
        (md.ones(4, 3), md.ones(2)),
        (md.ones(4, 3), md.ones(3, dtype=np.float64)),
    ):
        with pytest.raises((TypeError, ValueError)):
            md.batch_norm(x, gamma, None, mean, var, training=True)
    assert mean.tolist() == [0, 0, 0]
    assert var.tolist() == [1, 1, 1]


@both_backends
@both_floats
@pytest.mark.parametrize("center", [0.1, 0.0, 1e4])
def test_a_constant_channel_gives_beta_and_finite_gradients(center, dtype, backend):
    x = md.tensor(uniform(40, 3, dtype=dtype), requires_grad=True)
    x.data[:, 1] = center
    gamma = md.tensor(np.ones(3, dtype), requires_grad=True)
    beta = md.tensor(np.array([1.0, 2.0, 3.0], dtype), requires_grad=True)
    with md.use_backend(backend):
        y = trained(x, gamma, beta)
        dx, dgamma, dbeta = md.grad(y, [x, gamma, beta], uniform(40, 3, seed=1))
    np.testing.assert_allclose(y.data[:, 1], 2.0, rtol=1e-6)
    assert np.isfinite(dx).all()
    assert np.isfinite(dgamma).all()
    np.testing.assert_allclose(dbeta, uniform(40, 3, seed=1).sum(0), rtol=1e-4)


@both_backends
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_stays_in_its_channel(bad, backend):
    x = md.tensor(uniform(50, 4), requires_grad=True)
    clean = md.tensor(uniform(50, 4), requires_grad=True)
    x.data[7, 2] = bad
    mean, var = np.zeros(4, np.float32), np.ones(4, np.float32)
    others = [0, 1, 3]
    with np.errstate(all="ignore"), md.use_backend(backend):
        y = md.batch_norm(x, None, None, mean, var, training=True)
        expected = trained(clean)
        (y * y * y).sum().backward()
        (expected * expected * expected).sum().backward()
    assert np.isnan(y.data[7, 2])
    assert np.isfinite(mean[others]).all()
    assert np.isfinite(var[others]).all()
    assert not np.isfinite(mean[2])
    assert not np.isfinite(var[2])
    close(y.data[:, others], expected.data[:, others])
    close(x.grad[:, others], clean.grad[:, others])


@both_backends
@pytest.mark.parametrize("center", [1e2, 1e3, 1e4])
def test_statistics_far_from_zero(center, backend):
    """With |mean| / std up to 1e4, the variance is right to 1e-4, the result to rounding."""
    x = (uniform(20_000, 3, low=-1.7, high=1.7, dtype=np.float64) + center).astype(np.float32)
    mean, var = np.zeros(3), np.zeros(3)
    with md.use_backend(backend):
        y = md.batch_norm(md.tensor(x), None, None, mean, var, training=True, momentum=1.0).data
    exact = x.astype(np.float64)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=1e-7)
    np.testing.assert_allclose(var, exact.var(0, ddof=1), rtol=1e-4)
    assert np.abs(y - train(exact)).max() < 1e-5


@both_backends
@pytest.mark.parametrize("a", [0.125, 10.0, 1000.0])
def test_scale_invariance(a, backend):
    """BN((aW)u) = BN(Wu), the gradient of u is the same, and that of W is 1/a (section 3.3)."""
    u = md.tensor(uniform(8, 5, dtype=np.float64), requires_grad=True)
    dy = uniform(8, 4, dtype=np.float64, seed=2)
    results = []
    for scale in (1.0, a):
        w = md.tensor(scale * uniform(5, 4, dtype=np.float64, seed=1), requires_grad=True)
        with md.use_backend(backend):
            y = trained(u @ w, eps=0)
            du, dw = md.grad(y, [u, w], dy)
        results.append((y.data, du, dw * scale))
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


@both_backends
def test_gradients_of_x_are_orthogonal_to_ones_and_to_the_result(backend):
    """A shift or a scaling of x does not change the result, so neither has a gradient."""
    x = md.tensor(uniform(30, 4, dtype=np.float64), requires_grad=True)
    with md.use_backend(backend):
        y = trained(x, eps=0)
        dx = md.grad(y, x, uniform(30, 4, dtype=np.float64, seed=1))
    np.testing.assert_allclose(dx.sum(0), 0, atol=1e-12)
    np.testing.assert_allclose((dx * y.data).sum(0), 0, atol=1e-11)


def test_arrays_and_lists_as_factors():
    x = uniform(4, 3)
    y = md.batch_norm(x, np.ones(3, np.float32), np.zeros(3, np.float32), training=True)
    assert not y.requires_grad
    close(y.data, train(x.astype(float)))


@pytest.mark.parametrize("bad", [md.zeros(3), [0.0] * 3, np.zeros(3, np.int64)])
def test_running_statistics_must_be_arrays_that_can_be_updated(bad):
    with pytest.raises(TypeError, match="batch_norm: running_mean must be a NumPy array"):
        md.batch_norm(md.ones(4, 3), None, None, bad, np.ones(3, np.float32), training=True)


@pytest.mark.parametrize(
    "error, options",
    [
        (ValueError, {"momentum": float("nan")}),
        (ValueError, {"momentum": -3.0}),
        (ValueError, {"eps": float("inf")}),
        (TypeError, {"unbiased": "no"}),
    ],
)
def test_options_that_are_floats_but_no_sensible_ones(error, options):
    mean, var = np.zeros(3, np.float32), np.ones(3, np.float32)
    with pytest.raises(error, match=f"batch_norm: {next(iter(options))} must be"):
        md.batch_norm(md.ones((4, 3)), None, None, mean, var, training=True, **options)
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(var, 1)


def test_limits_of_a_later_batch_move_nothing():
    mean, var, count = np.zeros(3, np.float32), np.ones(3, np.float32), np.array(0)
    with pytest.raises(ValueError, match="r_max"):
        trained(
            md.tensor(uniform(8, 3)),
            running_mean=mean,
            running_var=var,
            ghost_batch=4,
            num_batches=count,
            renorm=lambda k: (1.0, 0.0) if k == 0 else (0.5, 0.0),
        )
    assert count == 0
    np.testing.assert_array_equal(mean, 0)
    count.flags.writeable = False
    with pytest.raises(ValueError, match="num_batches is read-only"):
        trained(md.tensor(uniform(8, 3)), running_mean=mean, running_var=var, num_batches=count)
