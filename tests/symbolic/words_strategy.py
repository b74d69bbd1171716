"""Random words: sums of products of the letters A_ij (n_i × n_j) and the symmetric S_i, between given ends."""

import numpy as np
from hypothesis import strategies as st

from linfa.symbolic import identity, letter, width, zero

SIZES = {0: 2, 1: 3, 2: 4}
A = {(i, j): letter(f"A{i}{j}", width(i), width(j)) for i in SIZES for j in SIZES}
S = {i: letter(f"S{i}", width(i), width(i), symmetric=True) for i in SIZES}


@st.composite
def factors(draw, i, j):
    choices = [A[i, j], A[j, i].T, *([S[i], identity(width(i))] if i == j else [])]
    return draw(st.sampled_from(choices))


@st.composite
def products(draw, i, j, longest=3):
    stops = [i, *draw(st.lists(st.sampled_from(sorted(SIZES)), max_size=longest - 1)), j]
    word = identity(width(i))
    for a, b in zip(stops, stops[1:], strict=False):
        word = word @ draw(factors(a, b))
    return word


@st.composite
def words(draw, i, j, terms=3, longest=3):
    total = zero(width(i), width(j))
    for _ in range(draw(st.integers(0, terms))):
        total = total + draw(products(i, j, longest)) * draw(st.fractions(-3, 3, max_denominator=4))
    return total


def values(seed):
    """Random integer matrices for every letter, exact."""
    rng = np.random.default_rng(seed)
    drawn = {w: rng.integers(-9, 10, (SIZES[i], SIZES[j])).astype(object) for (i, j), w in A.items()}
    halves = {w: rng.integers(-9, 10, (SIZES[i], SIZES[i])).astype(object) for i, w in S.items()}
    return drawn | {w: H + H.T for w, H in halves.items()}


seeds = st.integers(0, 2**32 - 1)
ends = st.sampled_from(sorted(SIZES))
