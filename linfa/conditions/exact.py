"""Exact arithmetic on floating-point matrices: every finite float is an integer times a power of two.

Products and sums of such matrices are formed in Python's integers without rounding; ranks and the signs of eigenvalues
come from fraction-free elimination (Bareiss 1968), so that "C ⪯ 0" and "full rank" are decided, not estimated. Floating
point is used to guess, and to say yes where a proved error bound (Rump 2006) allows it; there is no tolerance here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, eigh

from linfa.arrays import Array, to_numpy
from linfa.errors import InputError

MOST_EXACT = 64
"""Symmetric matrices with more rows than this are not eliminated exactly."""

Interval = tuple[float, float]
"""(lower, upper), both ends included."""


@dataclass(frozen=True, eq=False)
class Exact:
    """A matrix N · 2^e with integer N.

    Args:
        integers: N, an object array of Python integers, shape (m, n).
        exponent: e.

    >>> A = Exact.of(np.array([[0.5, 3.0]]))
    >>> (A @ A.mT).integers.tolist(), (A @ A.mT).exponent
    ([[37]], -2)
    """

    integers: np.ndarray
    exponent: int

    @classmethod
    def of(cls, values: Array) -> Exact:
        """Return the exact value of a float matrix (float64 or narrower).

        Raises:
            InputError: where the entries are not such floats, not finite, or the array is no matrix.
        """
        a = to_numpy(values)
        if a.ndim != 2 or a.dtype.kind != "f" or a.dtype.itemsize > 8 or not np.all(np.isfinite(a)):
            raise InputError(
                "exact arithmetic takes one matrix of finite floats of at most 64 bits; "
                f"got shape {a.shape} and dtype {a.dtype}"
            )
        mantissa, e = np.frexp(a.astype(np.float64))
        N = (mantissa * 2.0**53).astype(np.int64)
        # Trailing zeros go into the exponent: N & −N is the lowest bit that is set.
        shift = np.maximum(np.frexp((N & -N).astype(np.float64))[1] - 1, 0)
        N, e = N >> shift, e - 53 + shift
        low = int(e[N != 0].min()) if np.any(N) else 0
        lifted = [[int(n) << max(int(k) - low, 0) for n, k in zip(*row, strict=True)] for row in zip(N, e, strict=True)]
        return cls(_objects(lifted, a.shape), low)

    @property
    def mT(self) -> Exact:
        """The transpose."""
        return Exact(self.integers.T, self.exponent)

    @property
    def shape(self) -> tuple[int, ...]:
        """(m, n)."""
        return self.integers.shape

    def __matmul__(self, other: Exact) -> Exact:
        return Exact(self.integers @ other.integers, self.exponent + other.exponent)

    def __add__(self, other: Exact) -> Exact:
        low = min(self.exponent, other.exponent)
        a, b = (x.integers * (1 << (x.exponent - low)) for x in (self, other))
        return Exact(a + b, low)

    def __neg__(self) -> Exact:
        return Exact(-self.integers, self.exponent)

    def __sub__(self, other: Exact) -> Exact:
        return self + -other

    def times(self, factor: float) -> Exact:
        """Return the matrix times a float, exactly.

        >>> Exact.of(np.eye(1)).times(-1.5).integers.tolist()
        [[-3]]
        """
        s = Exact.of(np.array([[factor]]))
        return Exact(self.integers * s.integers[0, 0], self.exponent + s.exponent)

    def stacked(self, other: Exact) -> Exact:
        """Return the rows of both, one above the other."""
        low = min(self.exponent, other.exponent)
        return Exact(np.concatenate([x.integers * (1 << (x.exponent - low)) for x in (self, other)]), low)

    def is_zero(self) -> bool:
        """Return whether every entry is zero."""
        return not np.any(self.integers != 0)


def identity(n: int) -> Exact:
    """Return I_n."""
    return Exact(_objects([[int(i == j) for j in range(n)] for i in range(n)], (n, n)), 0)


class Inertia(NamedTuple):
    """How many eigenvalues of a symmetric matrix are negative, zero and positive: exact."""

    negative: int
    zero: int
    positive: int


def inertia(A: Exact) -> Inertia:
    """Return the inertia of a symmetric matrix by fraction-free LDLᵀ with symmetric pivoting (Sylvester's law).

    >>> inertia(Exact.of(np.array([[0.0, 1.0], [1.0, 0.0]])))
    Inertia(negative=1, zero=0, positive=1)
    >>> inertia(Exact.of(np.array([[0.1, 0.2], [0.2, 0.4]])))
    Inertia(negative=0, zero=1, positive=1)
    """
    N, last = A.integers.copy(), 1
    signs = []
    while N.size:
        diagonal = np.flatnonzero(N.diagonal() != 0)
        if diagonal.size:
            i = int(diagonal[0])
        else:
            pairs = np.argwhere(N != 0)
            if not pairs.size:
                break
            i, j = map(int, pairs[0])
            # A congruence that makes a pivot where the diagonal is zero: add row and column j to i.
            N[i, :] = N[i, :] + N[j, :]
            N[:, i] = N[:, i] + N[:, j]
        N = _front(_front(N, i).T, i).T
        pivot = N[0, 0]
        signs.append((pivot > 0) == (last > 0))
        N, last = _eliminated(N, last), pivot
    return Inertia(signs.count(False), A.shape[0] - len(signs), signs.count(True))


def rank(A: Exact) -> int:
    """Return the rank by fraction-free elimination.

    >>> rank(Exact.of(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])))
    1
    """
    N, last, r = A.integers.copy(), 1, 0
    while N.size:
        pairs = np.argwhere(N != 0)
        if not pairs.size:
            break
        i, j = map(int, pairs[0])
        N = _front(_front(N, i).T, j).T
        N, last, r = _eliminated(N, last), N[0, 0], r + 1
    return r


def surely(A: Exact) -> bool:
    """Return whether floating point proves that a symmetric matrix is positive definite; False means undecided."""
    return surely_positive_definite(_scaled(A)[0])


def smallest(A: Exact, G: Exact) -> Interval | None:
    """Return floats (lower, upper) around the smallest eigenvalue λ of A v = λ G v, its sign decided exactly.

    From above by the Rayleigh quotient of a floating-point eigenvector, in exact arithmetic; from below by Rump's bound
    for A − sG. Where floating point cannot tell (λ zero, or lost in rounding) by `enclosed`, up to `MOST_EXACT` rows;
    None beyond that: undecided.

    >>> smallest(Exact.of(np.ones((2, 2))), identity(2))
    (0.0, 0.0)
    """
    high = _rayleigh(A, G)
    if high is not None and high != 0:
        for low in (high - abs(high) * width for width in (1e-12, 1e-9, 1e-6)):
            if surely(A - G.times(low)):
                return low, high
    return enclosed(A, G, 0) if A.shape[0] <= MOST_EXACT else None


def enclosed(A: Exact, G: Exact, k: int) -> Interval:
    """Return floats (lower, upper) with lower ≤ λ_k ≤ upper, λ_0 ≤ λ_1 ≤ … the eigenvalues of A v = λ G v.

    By Sylvester's law the number of λ < s is the number of negative eigenvalues of A − sG, which is exact for any
    float s: floating point only guesses where to look. An eigenvalue that is exactly zero comes back as (0.0, 0.0).

    Args:
        A: symmetric.
        G: symmetric and positive definite.
        k: which eigenvalue, counted from the smallest, from 0.

    >>> enclosed(Exact.of(np.array([[1.0, 2.0], [2.0, 4.0]])), identity(2), 0)
    (0.0, 0.0)
    >>> low, high = enclosed(Exact.of(np.array([[1.0, 1.0], [1.0, 0.0]])), identity(2), 1)
    >>> low <= (1 + math.sqrt(5)) / 2 <= high, high - low < 1e-8
    (True, True)
    """
    at_zero = inertia(A)
    if at_zero.negative <= k < at_zero.negative + at_zero.zero:
        return 0.0, 0.0
    if k < at_zero.negative:
        low, high = enclosed(-A, G, A.shape[0] - 1 - k)
        return -high, -low

    def at_least(s: float) -> bool:
        return inertia(A - G.times(s)).negative <= k

    def at_most(s: float) -> bool:
        found = inertia(A - G.times(s))
        return found.negative + found.zero > k

    low = high = _guess(A, G, k)
    factor = 1 + 2.0**-44
    while low > 0 and not at_least(low):
        low, factor = low / factor, factor * factor
    factor = 1 + 2.0**-44
    while math.isfinite(high) and not at_most(high):
        high, factor = high * factor, factor * factor
    while low > 0 and math.isfinite(high) and high > low * (1 + 1e-9):
        middle = math.sqrt(low) * math.sqrt(high)
        if at_least(middle):
            low = middle
        else:
            high = middle
    return low, high


def root(squared: Interval) -> Interval:
    """Return an enclosure of the square root, rounded outward.

    >>> low, high = root((4.0, 4.0))
    >>> low < 2 < high
    True
    """
    low, high = (math.sqrt(x) for x in squared)
    return math.nextafter(low, 0.0), high if high == 0 else math.nextafter(high, math.inf)


def surely_positive_definite(A: np.ndarray) -> bool:
    """Return whether a floating-point Cholesky factorisation proves that a symmetric matrix is positive definite.

    Rump 2006: if A − cI has a Cholesky factor in floating point, c ≥ γ_{n+1}/(1 − γ_{n+1}) tr A plus underflow,
    γ_k = ku/(1 − ku), then A ≻ 0. Here c is four times that, which also covers the rounding of A − cI and of A's own
    entries, should they be rounded from exact ones. False means undecided.

    >>> surely_positive_definite(np.eye(3)), surely_positive_definite(np.ones((2, 2)))
    (True, False)
    """
    n, u = len(A), np.finfo(float).eps / 2
    c = 4 * (n + 2) * u * float(np.trace(A)) + 4 * n * n * float(np.finfo(float).tiny)
    if not (0 < c < math.inf and (n + 2) * u < 0.01):
        return False
    try:
        np.linalg.cholesky(A - c * np.eye(n))
    except np.linalg.LinAlgError:
        return False
    return True


def _objects(rows: list[list[int]], shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty(shape, dtype=object)
    for i, row in enumerate(rows):
        out[i, :] = row
    return out


def _front(N: np.ndarray, i: int) -> np.ndarray:
    """Return N with row i in front."""
    return np.concatenate([N[i : i + 1], N[:i], N[i + 1 :]])


def _eliminated(N: np.ndarray, last: int) -> np.ndarray:
    """Return Bareiss' next matrix, (n_00 n_ij − n_i0 n_0j) / last: the division leaves no remainder."""
    step = (N[0, 0] * N[1:, 1:] - np.outer(N[1:, 0], N[0, 1:])) // last
    return np.asarray(step, dtype=object).reshape(N.shape[0] - 1, N.shape[1] - 1)


def _rayleigh(A: Exact, G: Exact) -> float | None:
    """Return vᵀAv / vᵀGv, rounded up, at a floating-point eigenvector of the smallest eigenvalue; None without one."""
    (a, _), (g, _) = map(_scaled, (A, G))
    try:
        v = Exact.of(eigh(a, g)[1][:, :1])
    except LinAlgError:
        return None
    over, under = v.mT @ A @ v, v.mT @ G @ v
    quotient = Fraction(int(over.integers[0, 0]), int(under.integers[0, 0]))
    quotient *= Fraction(2) ** (over.exponent - under.exponent)
    return math.nextafter(float(quotient), math.inf) if 0 != abs(quotient) < 2**1000 else None


def _guess(A: Exact, G: Exact, k: int) -> float:
    """Return a floating-point guess at a positive λ_k."""
    (a, alpha), (g, gamma) = map(_scaled, (A, G))
    try:
        value = math.ldexp(abs(float(eigh(a, g, eigvals_only=True)[k])), alpha - gamma)
    except (LinAlgError, OverflowError):
        return 1.0
    return value if 0 < value < math.inf else 1.0


def _scaled(A: Exact) -> tuple[np.ndarray, int]:
    """Return (a, α) with a · 2^α ≈ A and |a| ≤ 1."""
    bits = max(int(abs(x)).bit_length() for x in A.integers.flat)
    # Python's quotient of integers is correctly rounded, however large they are.
    return np.asarray(A.integers / (1 << bits), dtype=float), bits + A.exponent
