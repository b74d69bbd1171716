"""Brackets at a point, exactly: the closed form of two layers, antisymmetry, Jacobi."""

import numpy as np
import pytest

from linfa.symbolic.dual import PRIME, entrywise, product
from linfa.symbolic.fields import AffineFeedback, FixedPath, bracket, unit
from linfa.symbolic.linear import kernel, projector, rank

rng = np.random.default_rng(0)


def integers(*shape):
    return rng.integers(-9, 10, shape).astype(object)


W1, W2, W3 = integers(3, 2), integers(3, 3), integers(2, 3)
KS = [integers(1, 1, 2, 2) for _ in range(3)]
FIELDS = {
    "fixed": FixedPath((integers(3, 2), integers(3, 2), unit(2))),
    "gradient": AffineFeedback(1, (0 * W2, 0 * W3)),
    "interpolated": AffineFeedback(2, (integers(3, 3), integers(2, 3))),
}
POINT = tuple(W[None, None] for W in (W1, W2, W3))


def flat(fields, Ks, modulus=None):
    return np.concatenate([part.ravel() for part in bracket(fields, POINT, Ks, modulus)])


def test_the_bracket_of_two_layers_in_closed_form():
    """[X_K, X_K'] = (0, (K' Kᵀ − K K'ᵀ) M_1ᵀ)."""
    M = integers(3, 2)
    A, C = integers(2, 2), integers(2, 2)
    first, second = bracket(FixedPath((M, unit(2))), (POINT[0], W3[None, None]), [A[None, None], C[None, None]], None)
    assert np.all(first == 0)
    assert np.array_equal(second[0, 0], (C @ A.T - A @ C.T) @ M.T)


@pytest.mark.parametrize("name", FIELDS)
def test_brackets_are_antisymmetric_and_obey_jacobi(name):
    fields, (a, b, c) = FIELDS[name], KS
    assert np.array_equal(flat(fields, [a, b]), -flat(fields, [b, a]))
    assert np.all(flat(fields, [a, b, c]) + flat(fields, [b, c, a]) + flat(fields, [c, a, b]) == 0)
    assert np.any(flat(fields, [a, b, c]) != 0)


@pytest.mark.parametrize("name", FIELDS)
def test_remainders_are_remainders(name):
    small = [K % PRIME for K in KS]
    modular = np.concatenate(
        [
            part.ravel()
            for part in bracket(
                FIELDS[name], [(P % PRIME).astype(np.int64) for P in POINT], [K.astype(np.int64) for K in small], PRIME
            )
        ]
    )
    assert np.array_equal(modular, (flat(FIELDS[name], KS) % PRIME).astype(np.int64))


@pytest.mark.parametrize("name", FIELDS)
def test_brackets_are_what_differences_say(name):
    """[X, Y] = DY·X − DX·Y, by central differences in floating point."""
    fields, h = FIELDS[name], 1e-4
    floats = [part.astype(float) / 9 for part in POINT]
    scaled = {
        "fixed": lambda f: FixedPath(tuple(M.astype(float) for M in f.paths)),
    }.get(name, lambda f: AffineFeedback(f.slope, tuple(D.astype(float) for D in f.offsets)))(fields)
    a, b = (K.astype(float) / 9 for K in KS[:2])

    def along(field, direction):
        up, down = (
            bracket(scaled, [W + t * v for W, v in zip(floats, direction, strict=True)], [field], None) for t in (h, -h)
        )
        return [(u - d) / (2 * h) for u, d in zip(up, down, strict=True)]

    X, Y = bracket(scaled, floats, [a], None), bracket(scaled, floats, [b], None)
    expected = [u - v for u, v in zip(along(b, X), along(a, Y), strict=True)]
    exact = bracket(scaled, floats, [a, b], None)
    scale = max(np.max(np.abs(part)) for part in exact)
    assert max(np.max(np.abs(u - v)) for u, v in zip(exact, expected, strict=True)) < 1e-5 * scale


def test_dual_products_are_products_of_polynomials():
    a, b = integers(1, 4, 2, 2), integers(1, 4, 2, 2)
    ab = product(a, b, None)[0]
    assert np.array_equal(ab[3], a[0, 0] @ b[0, 3] + a[0, 1] @ b[0, 2] + a[0, 2] @ b[0, 1] + a[0, 3] @ b[0, 0])
    assert np.array_equal(entrywise(a, b, None)[0, 1], a[0, 0] * b[0, 1] + a[0, 1] * b[0, 0])


def test_linear_algebra_is_exact():
    A = integers(3, 5)
    N = kernel(A)
    assert N.shape == (5, 2)
    assert np.all(A @ N == 0)
    P = projector(N)
    assert np.array_equal(P @ P, P)
    assert np.all(A @ P == 0)
    assert rank(np.array([[PRIME, 0], [0, 1]], dtype=object), PRIME) == 1
    assert rank(np.array([[PRIME, 0], [0, 1]], dtype=object), None) == 2
    assert np.array_equal(kernel(np.zeros((0, 2), dtype=object)), np.eye(2))
