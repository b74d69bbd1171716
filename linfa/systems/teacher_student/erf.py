"""The error function, for which all integrals are elementary (Saad & Solla 1995)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import erf

from linfa.arrays import Array
from linfa.systems.teacher_student.activation import AbstractActivation, Covariance, Index


@dataclass(frozen=True)
class Erf(AbstractActivation):
    """g(x) = erf(x/√2), g′(x) = √(2/π) e^{−x²/2}.

    The slope is a Gaussian weight: times it, a Gaussian stays Gaussian. With S the covariance under the weight
    e^{−(a² + b²)/2} and Λ_4 = (1 + C_aa)(1 + C_bb) − C_ab² what the weight costs,

        I_2 = (2/π) asin(C_ab/√((1 + C_aa)(1 + C_bb)))
        J_2 = (2/π) Λ_4^{−1/2}
        I_3 = (2/π) [C_bc (1 + C_aa) − C_ab C_ac] / ((1 + C_aa) √((1 + C_aa)(1 + C_cc) − C_ac²))
        I_4 = (2/π) Λ_4^{−1/2} I_2(S_cc, S_cd, S_dd)

    >>> C = np.array([[1.0, 1.0], [1.0, 1.0]])
    >>> round(float(Erf().I2(C, 0, 1)) * 3, 12)                            # asin ½ = π/6
    1.0
    """

    name: ClassVar[str] = "erf"

    def value(self, x: Array) -> Array:
        """Return erf(x/√2)."""
        return erf(x / np.sqrt(2))

    def slope(self, x: Array) -> Array:
        """Return √(2/π) e^{−x²/2}."""
        return np.sqrt(2 / np.pi) * np.exp(-x * x / 2)

    def I2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return (2/π) asin(C_ab/√((1 + C_aa)(1 + C_bb)))."""
        return _arcsine(C[..., a, a], C[..., a, b], C[..., b, b])

    def I3(self, C: Covariance, a: Index, b: Index, c: Index) -> Array:
        """Return (2/π) [C_bc (1 + C_aa) − C_ab C_ac] / ((1 + C_aa) √Λ_3)."""
        A, L3 = 1 + C[..., a, a], _determinant(C, a, c)
        return 2 / np.pi * (C[..., b, c] * A - C[..., a, b] * C[..., a, c]) / (A * np.sqrt(L3))

    def I4(self, C: Covariance, a: Index, b: Index, c: Index, d: Index) -> Array:
        """Return (2/π) Λ_4^{−1/2} I_2 under the covariance that the two slopes leave."""
        L4 = _determinant(C, a, b)
        A, B, ab = 1 + C[..., a, a], 1 + C[..., b, b], C[..., a, b]

        def left(x: Index, y: Index) -> Array:
            ax, bx, ay, by = C[..., a, x], C[..., b, x], C[..., a, y], C[..., b, y]
            return C[..., x, y] - (B * ax * ay + A * bx * by - ab * (ax * by + bx * ay)) / L4

        return self.J2(C, a, b) * _arcsine(left(c, c), left(c, d), left(d, d))

    def J2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return (2/π) Λ_4^{−1/2}."""
        return 2 / np.pi / np.sqrt(_determinant(C, a, b))

    def recovers(self, positive: int, negative: int, heads_positive: int, heads_negative: int) -> bool:
        """Return whether there are enough students: g is odd, so a student may turn w instead of its read-out."""
        return positive + negative >= heads_positive + heads_negative


def _determinant(C: Covariance, a: Index, b: Index) -> Array:
    """Return (1 + C_aa)(1 + C_bb) − C_ab²; for a = b, where the two are one variable, it is 1 + 2C_aa as it must be."""
    return 1 + C[..., a, a] + C[..., b, b] + (C[..., a, a] * C[..., b, b] - C[..., a, b] ** 2)


def _arcsine(aa: Array, ab: Array, bb: Array) -> Array:
    return 2 / np.pi * np.arcsin(ab / np.sqrt((1 + aa) * (1 + bb)))
