"""These tests compare einsum and its gradients with NumPy's, and check what it refuses."""

import numpy as np
import pytest

import minidl as md
from tests.support.cases import case, checks_of, errors_of

CASES = [
    ("ij,jk->ik", (2, 3), (3, 4)),
    ("ij,jk", (2, 3), (3, 4)),
    ("ba", (2, 3)),
    ("ij->", (2, 3)),
    ("ij->ji", (2, 3)),
    ("ij->j", (2, 3)),
    ("i->i", (3,)),
    ("->", ()),
    (",->", (), ()),
    ("ij,ij->", (2, 3), (2, 3)),
    ("ij,ij->ij", (2, 3), (2, 3)),
    ("i,j->ij", (2,), (3,)),
    ("i,j->", (2,), (3,)),
    (",ij->ij", (), (2, 3)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 2)),
    ("bij,bkj->bki", (2, 3, 4), (2, 2, 4)),
    ("bhid,bhjd->bhij", (2, 2, 3, 4), (2, 2, 2, 4)),
    ("ijk,kl,jm->ilm", (2, 3, 4), (4, 2), (3, 2)),
    ("ab,bc,cd->ad", (2, 3), (3, 4), (4, 2)),
    ("a,ab,abc->abc", (2,), (2, 3), (2, 3, 4)),
    ("i,i,i->i", (3,), (3,), (3,)),
    ("ii", (3, 3)),
    ("ii->i", (3, 3)),
    ("iij->ij", (3, 3, 2)),
    ("iji->j", (3, 2, 3)),
    ("iii->i", (2, 2, 2)),
    ("ii,ij->j", (3, 3), (3, 2)),
    ("...ij,...jk->...ik", (2, 1, 3, 4), (5, 4, 2)),
    ("...i->...", (2, 3, 4)),
    ("...", (2, 3)),
    ("i...,i...->...", (3, 2, 4), (3, 2, 4)),
    ("...i,i", (2, 3), (3,)),
    ("i...j->j...", (2, 3, 4)),
    ("...,...", (2, 3), (3,)),
    ("ij,ij->i", (2, 1), (2, 3)),
    ("ij,jk->ik", (2, 1), (3, 4)),
    (" i j , j k -> i k ", (2, 3), (3, 4)),
    ("Aa,aA->A", (2, 3), (3, 2)),
    ("ij,jk->ik", (0, 3), (3, 4)),
    ("ij,jk->ik", (2, 0), (0, 4)),
]

test_values, test_gradients, test_threads = checks_of(
    [
        *(
            case(
                f"{k}: {text} {shapes}",
                lambda *t, text=text: md.einsum(text, *t),
                lambda *t, text=text: np.einsum(text, *t),
                *shapes,
            )
            for k, (text, *shapes) in enumerate(CASES)
        ),
        case(
            "large",
            lambda *t: md.einsum("bij,bjk->bik", *t),
            lambda *t: np.einsum("bij,bjk->bik", *t),
            (2, 3, 4),
            (2, 4, 3),
            large=[(4, 65, 129), (4, 129, 33)],
        ),
    ]
)

A, B = md.ones((2, 3)), md.ones((3, 4))
test_errors = errors_of(
    [
        (lambda: md.einsum("ij"), ValueError, "einsum", "operand"),
        (lambda: md.einsum("ij,jk->ik", A), ValueError, "2 operand", "got 1"),
        (lambda: md.einsum("ij->ik", A), ValueError, "output", "'k'"),
        (lambda: md.einsum("ij->ii", A), ValueError, "twice"),
        (lambda: md.einsum("ijk->i", A), ValueError, "'ijk'", "(2, 3)"),
        (lambda: md.einsum("i->i", A), ValueError, "'i'", "(2, 3)"),
        (lambda: md.einsum("ij,ij->ij", A, B), ValueError, "'i'", "(2, 3)", "(3, 4)"),
        (lambda: md.einsum("ii", A), ValueError, "'i'", "(2, 3)"),
        (lambda: md.einsum("i1->i", A), ValueError, "letters"),
        (lambda: md.einsum("...j->j", md.ones((2, 3, 4))), ValueError, "..."),
        (lambda: md.einsum("ij", np.ones((2, 3), int)), TypeError, "operand 0", "int64"),
        (lambda: md.einsum("ij,jk", A, np.ones((3, 4))), TypeError, "float32", "float64"),
        (lambda: md.einsum(A, "ij"), TypeError, "subscripts"),
    ]
)


@pytest.mark.parametrize("text", ["ij,jk->ik", "ij,ij->i", "i...,...i->..."])
def test_one_tensor_as_two_operands(text):
    a = md.tensor(np.random.default_rng(0).standard_normal((3, 3)), requires_grad=True)
    assert md.gradcheck(lambda a: md.einsum(text, a, a), [a])
