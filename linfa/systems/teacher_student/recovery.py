"""Which feedback lets a student become its teacher: degeneracy breaking and the probability of recovery.

Backprop finds any of the equivalent students (permuted, or for odd g with signs turned); from a small start, fixed
feedback leads to the one whose read-out has the signs of the feedback (K = M; spare students keep small read-outs of
any sign). ReLU has no mirror image, so a teacher is learnt
only where enough students were given its sign (Refinetti, d'Ascoli, Ohana & Goldt 2021; for heads of both signs it is
measured in the tests).
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb

import numpy as np

from linfa.errors import InputError
from linfa.systems.teacher_student.activation import AbstractActivation
from linfa.systems.teacher_student.relu import ReLU


def recovery_probability(
    students: int, teachers: int, activation: AbstractActivation | None = None, negative: int = 0
) -> Fraction:
    """Return the probability that feedback of independent fair signs lets the student recover the teacher.

        P = 2^{−K} Σ_k C(K, k) [K − k students and k students find teachers of their sign],
        for ReLU  P = 2^{−K} Σ_{k=M₋}^{K−M₊} C(K, k),   and with A > 0   2^{−K} Σ_{k≤K−M} C(K, k)

    Args:
        students: K.
        teachers: M = M₊ + M₋.
        activation: ReLU if None.
        negative: M₋, how many teachers have A_m < 0.

    Raises:
        InputError: for numbers of units that do not exist.

    >>> [str(recovery_probability(K, 2)) for K in (2, 3, 4)]
    ['1/4', '1/2', '11/16']
    """
    if students < 1 or teachers < 1 or not 0 <= negative <= teachers:
        raise InputError(
            f"there must be students and teachers, and 0 ≤ negative ≤ teachers; got {students}, {teachers}, {negative}"
        )
    g, heads = ReLU() if activation is None else activation, (teachers - negative, negative)
    ways = sum(comb(students, k) for k in range(students + 1) if g.recovers(students - k, k, *heads))
    return Fraction(ways, 2**students)


def sign_patterns(students: int) -> np.ndarray:
    """Return all 2^K sign patterns, shape (2^K, K); as feedback, an ensemble of one member per pattern.

    >>> sign_patterns(2).tolist()
    [[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]
    """
    return np.array(list(product((1.0, -1.0), repeat=students)))
