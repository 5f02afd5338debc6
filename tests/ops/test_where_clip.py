"""These tests check where and clip: values, gradients, broadcasting, errors. Gradients at the
limits are in test_math.
"""

import numpy as np

import minidl as md
from tests.support.arrays import uniform
from tests.support.cases import case, checks_of, errors_of
from tests.support.errors import refuses

MASK = np.array([[True, False, True, False], [False, False, True, True], [True] * 4])
INT = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]])
LARGE = (3, 5, 70_001)  # several pieces of 16,384 elements, all of them incomplete

test_values, test_gradients, test_threads = checks_of(
    [
        case(
            "where",
            lambda a, b: md.where(MASK, a, b),
            lambda a, b: np.where(MASK, a, b),
            (3, 4),
            (3, 4),
        ),
        case(
            "where, all three broadcast",
            lambda a, b: md.where(MASK[:, :1], a, b),
            lambda a, b: np.where(MASK[:, :1], a, b),
            (4,),
            (2, 1, 1),
        ),
        case(
            "where, number right",
            lambda a: md.where(MASK, a, 0),
            lambda a: np.where(MASK, a, 0),
            (3, 4),
        ),
        case(
            "where, number left",
            lambda a: md.where(MASK, -1.5, a),
            lambda a: np.where(MASK, -1.5, a),
            (3, 4),
        ),
        case(
            "where, condition a list",
            lambda a: md.where([True, False], a, 1.0),
            lambda a: np.where([True, False], a, 1.0),
            (3, 2),
        ),
        case(
            "where, condition numbers",
            lambda a: md.where(np.array([0, 2]), a, 1.0),
            lambda a: np.where([False, True], a, 1.0),
            (3, 2),
        ),
        case(
            "where, condition a tensor",
            lambda a, b: md.where(a > b, a, b),
            lambda a, b: np.where(a > b, a, b),
            (3, 4),
            (4,),
        ),
        case(
            "where, nothing",
            lambda a: md.where(np.ones((0, 4), bool), a, 1),
            lambda a: np.where(np.ones((0, 4), bool), a, 1),
            (4,),
        ),
        case("clip both", md.clip, np.clip, (3, 4), -0.5, 1.0),
        case("clip low", md.clip, np.clip, (3, 4), -0.5, None),
        case("clip high", md.clip, np.clip, (3, 4), None, 0.5),
        case(
            "clip to an array",
            lambda x: md.clip(x, uniform(4, low=-1, high=0), 1.5),
            lambda x: np.clip(x, uniform(4, low=-1, high=0), 1.5),
            (3, 4),
        ),
        case(
            "clip to a tensor",
            lambda x: md.clip(x, md.tensor(-0.5), md.tensor([1.0, 0.5])),
            lambda x: np.clip(x, -0.5, [1.0, 0.5]),
            (3, 2),
        ),
        case(
            "clip between tensors",
            md.clip,
            np.clip,
            (3, 4),
            (4,),
            (3, 1),
            large=[LARGE, (70_001,), (5, 1)],
        ),
        case(
            "clip below a tensor",
            lambda x, high: md.clip(x, None, high),
            lambda x, high: np.clip(x, None, high),
            (3, 4),
            (3, 4),
        ),
        case("clip a row between columns", md.clip, np.clip, (4,), (3, 1), (3, 1)),
        case("clip nothing", md.clip, np.clip, (0, 4), -1, 1),
        case("integers: clip", md.clip, np.clip, INT, 3, 9, grad=False),
        case(
            "integers: where",
            lambda x: md.where(MASK, x, 0),
            lambda x: np.where(MASK, x, 0),
            INT,
            grad=False,
        ),
    ]
)

test_errors = errors_of(
    [
        (lambda: md.where(MASK, md.zeros(3), 0), ValueError, "where: shapes (3, 4), (3,) and ()"),
        (lambda: md.where(MASK, "text", 0), TypeError, "where: operand must be a tensor", "str"),
        (lambda: md.clip(md.zeros(2)), ValueError, "clip: give at least one of a_min and a_max"),
        (lambda: md.clip(md.zeros(2), md.zeros(3)), ValueError, "clip", "(2,)", "(3,)"),
        (
            lambda: md.clip(md.zeros(1), md.zeros(2), md.zeros(3)),
            ValueError,
            "clip: shapes (1,), (2,) and (3,) do not broadcast",
        ),
        (
            lambda: md.clip(None, 0, 1),
            TypeError,
            "clip: x must be a tensor or an array",
            "NoneType",
        ),
    ]
)


def test_clip_by_numpys_names():
    x = md.tensor([-2.0, 0.5, 3.0])
    for y in (md.clip(x, a_min=0, a_max=1), md.clip(x, min=0, max=1), x.clip(0, max=1)):
        np.testing.assert_array_equal(y.data, [0, 0.5, 1])
    with refuses(ValueError, "clip", "twice"):
        md.clip(x, 0, min=1)
