"""ReLU: arc-cosine kernels, their trivariate cousins, and one quadrature where four units are all different."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np

from linfa.arrays import Array
from linfa.errors import InputError
from linfa.systems.teacher_student.activation import AbstractActivation, Covariance, Index
from linfa.systems.teacher_student.quadrivariate import quadrivariate


@dataclass(frozen=True)
class ReLU(AbstractActivation):
    """g(x) = max(x, 0), g′ = θ. With Δ_ab = C_aa C_bb − C_ab², cos φ_ab = C_ab/√(C_aa C_bb) and P_3 an orthant,

        J_2 = (π − φ_ab)/2π
        I_2 = [√Δ_ab + C_ab (π − φ_ab)]/2π                                               (Cho & Saul 2009)
        I_3 = C_ab √Δ_ac/(2π C_aa) + C_bc J_2(a, c)
        ⟨θ(a) g(c) g(d)⟩ = C_cd P_3 + [√Δ_cd + (C_ad √Δ_ac + C_ac √Δ_ad)/C_aa]/4π
        ⟨θ(a) θ(b) g(c)²⟩ = C_cc P_3 + [C_ac √Δ_ac/C_aa + C_bc √Δ_bc/C_bb + Γ/√Δ_ab]/4π
            with Γ = 2 C_ac C_bc − C_ab (C_ac²/C_aa + C_bc²/C_bb)
        P_3(a, c, d) = ½[J_2(a, c) + J_2(a, d) + J_2(c, d)] − ¼

    by Gaussian integration by parts; I_4 is the first of the two trivariate integrals where a unit occurs twice among
    a, b or on both sides, the second where c = d, and `quadrivariate` where all four differ.

    >>> C = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> relu = ReLU()
    >>> round(float(relu.I2(C, 0, 1)) * 2 * np.pi, 12), float(relu.I4(C, 0, 0, 1, 1)), float(relu.J2(C, 0, 1))
    (1.0, 0.25, 0.25)
    """

    name: ClassVar[str] = "relu"

    def value(self, x: Array) -> Array:
        """Return max(x, 0)."""
        return np.maximum(x, 0)

    def slope(self, x: Array) -> Array:
        """Return θ(x), ½ at zero."""
        return np.heaviside(x, 0.5)

    def I2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return the arc-cosine kernel of order one, halved."""
        return _root(C, a, b) / (2 * np.pi) + C[..., a, b] * self.J2(C, a, b)

    def I3(self, C: Covariance, a: Index, b: Index, c: Index) -> Array:
        """Return C_ab √Δ_ac/(2π C_aa) + C_bc J_2(a, c)."""
        return C[..., a, b] * _root(C, a, c) / (2 * np.pi * C[..., a, a]) + C[..., b, c] * self.J2(C, a, c)

    def I4(self, C: Covariance, a: Index, b: Index, c: Index, d: Index) -> Array:
        """Return ⟨θ(a) θ(b) g(c) g(d)⟩, in closed form where units coincide."""
        a, b, c, d = (np.asarray(i) for i in (a, b, c, d))
        out = np.empty((*C.shape[:-2], *a.shape))
        # Where a unit is among a, b twice, or on both sides, one θ says nothing new: the other one stays.
        b_stays = (a == c) | (a == d)
        single = (a == b) | b_stays | (b == c) | (b == d)
        square, distinct = ~single & (c == d), ~single & (c != d)
        stays = np.where(b_stays, b, a)
        out[..., single] = _one_step(C, stays[single], c[single], d[single])
        out[..., square] = _two_steps(C, a[square], b[square], c[square])
        if np.any(distinct):
            units = dict(zip("abcd", (i[distinct] for i in (a, b, c, d)), strict=True))
            rho = {x + y: _correlation(C, units[x], units[y]) for x, y in combinations("abcd", 2)}
            size = np.sqrt(C[..., units["c"], units["c"]] * C[..., units["d"], units["d"]])
            out[..., distinct] = size * quadrivariate(rho)
        return out

    def J2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return P(a > 0, b > 0) = (π − φ_ab)/2π."""
        return (np.pi - np.arctan2(_root(C, a, b), C[..., a, b])) / (2 * np.pi)

    def recovers(self, positive: int, negative: int, heads_positive: int, heads_negative: int) -> bool:
        """Return whether every teacher finds a student of its own sign: max(x, 0) has no mirror image."""
        return positive >= heads_positive and negative >= heads_negative

    def check(self, C: np.ndarray) -> None:
        """Raise InputError where a unit has no weights: θ is not defined on a field that is always zero."""
        if not np.all(np.diagonal(C, axis1=-2, axis2=-1) > 0):
            raise InputError(
                "ReLU needs weights that are not zero, Q_kk > 0 and T_mm > 0: its slope at a field that is always 0 is "
                "not defined; start from small weights, or use Erf or Linear"
            )


def _root(C: Covariance, a: Index, b: Index) -> Array:
    """Return √Δ_ab, as a product so that nearly equal units lose no digits, and exactly 0 for a = b."""
    size = np.sqrt(C[..., a, a] * C[..., b, b])
    return np.sqrt(np.maximum((size - C[..., a, b]) * (size + C[..., a, b]), 0))


def _correlation(C: Covariance, a: Index, b: Index) -> Array:
    return np.clip(C[..., a, b] / np.sqrt(C[..., a, a] * C[..., b, b]), -1, 1)


def _octant(C: Covariance, a: Index, b: Index, c: Index) -> Array:
    """Return P_3 = P(a > 0, b > 0, c > 0)."""
    J2 = ReLU().J2
    return (J2(C, a, b) + J2(C, a, c) + J2(C, b, c)) / 2 - 0.25


def _one_step(C: Covariance, a: Index, c: Index, d: Index) -> Array:
    """Return ⟨θ(a) g(c) g(d)⟩."""
    mixed = (C[..., a, d] * _root(C, a, c) + C[..., a, c] * _root(C, a, d)) / C[..., a, a]
    return C[..., c, d] * _octant(C, a, c, d) + (_root(C, c, d) + mixed) / (4 * np.pi)


def _two_steps(C: Covariance, a: Index, b: Index, c: Index) -> Array:
    """Return ⟨θ(a) θ(b) g(c)²⟩."""
    to_a, to_b, root = C[..., a, c] / C[..., a, a], C[..., b, c] / C[..., b, b], _root(C, a, b)
    # What one field says of c beyond the other; it vanishes with √Δ_ab.
    beyond = C[..., a, c] * (C[..., b, c] - C[..., a, b] * to_a) + C[..., b, c] * (C[..., a, c] - C[..., a, b] * to_b)
    edge = np.divide(beyond, root, out=np.zeros_like(beyond), where=root > 0)
    return C[..., c, c] * _octant(C, a, b, c) + (to_a * _root(C, a, c) + to_b * _root(C, b, c) + edge) / (4 * np.pi)
