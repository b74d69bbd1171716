"""The linear activation, whose integrals are the second moments themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from linfa.arrays import Array
from linfa.systems.teacher_student.activation import AbstractActivation, Covariance, Index


@dataclass(frozen=True)
class Linear(AbstractActivation):
    """g(x) = x: I_2 = C_ab, I_3 = C_bc, I_4 = C_cd, J_2 = 1.

    >>> float(Linear().I4(np.array([[2.0, 0.5], [0.5, 1.0]]), 0, 0, 0, 1))
    0.5
    """

    name: ClassVar[str] = "linear"

    def value(self, x: Array) -> Array:
        """Return x."""
        return x

    def slope(self, x: Array) -> Array:
        """Return 1."""
        return np.ones_like(x)

    def I2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return C_ab."""
        return C[..., a, b]

    def I3(self, C: Covariance, a: Index, b: Index, c: Index) -> Array:
        """Return C_bc."""
        return C[..., b, c]

    def I4(self, C: Covariance, a: Index, b: Index, c: Index, d: Index) -> Array:
        """Return C_cd."""
        return C[..., c, d]

    def J2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return 1."""
        return np.ones_like(C[..., a, b])

    def recovers(self, positive: int, negative: int, heads_positive: int, heads_negative: int) -> bool:
        """Return True for any student: the teacher is one linear unit, and w may change its sign."""
        return positive + negative > 0
