"""What a mode does from a zero start: φ̇ = σ − κφ^m, φ(0) = 0, m odd, solved for t by partial fractions.

With α = (σ/κ)^{1/m}, x = φ/α and the m-th roots of unity ω_k = e^{2πik/m},

    t(φ) = (α/σ) f_m(x),     f_m(x) = ∫_0^x dξ/(1 − ξ^m) = (1/m)[−ln(1 − x) − 2 Re Σ_{k=1}^{(m−1)/2} ω_k ln(1 − x/ω_k)]

For m = 3 (two layers) this is theory's t(φ). Derived for this project.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import finite, moments
from linfa.errors import InputError


@dataclass(frozen=True, eq=False)
class PowerFlow:
    """φ̇ = σ − κφ^m from φ(0) = 0, for many σ at once; s = κφ^m is what has been learnt of σ.

    Args:
        drive: σ, shape (k,), any sign; zero stays at zero.
        damping: κ > 0.
        degree: m, odd, ≥ 1.

    >>> flow = PowerFlow(np.array([2.0]), damping=1.0, degree=1)
    >>> flow.at(np.log(2.0)).round(12).tolist()   # 2(1 − e^{−t})
    [1.0]
    """

    drive: Array
    damping: float
    degree: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "drive", np.atleast_1d(finite(self.drive, "σ")))
        if not (np.isfinite(self.damping) and self.damping > 0):
            raise InputError(f"κ must be finite and > 0; got {self.damping}")
        if self.degree < 1 or self.degree % 2 == 0:
            raise InputError(f"the degree m must be odd and ≥ 1, or φ may run away; got {self.degree}")

    @property
    def limit(self) -> np.ndarray:
        """α = (σ/κ)^{1/m}, with the sign of σ; shape (k,)."""
        return np.asarray(np.sign(self.drive) * (np.abs(self.drive) / self.damping) ** (1 / self.degree))

    @property
    def unit(self) -> np.ndarray:
        """α/σ = |σ|^{1/m − 1} κ^{−1/m}, the unit of time of each mode; infinite where σ = 0."""
        with np.errstate(divide="ignore"):
            size = np.abs(self.drive) ** (1 / self.degree - 1) if self.degree > 1 else np.ones(self.drive.shape)
        return np.asarray(size * self.damping ** (-1 / self.degree))

    def time(self, phi: Array) -> np.ndarray:
        """Return t(φ), shape (..., k): infinite at α.

        Raises:
            InputError: for a φ that is not between 0 and α.
        """
        phi = finite(phi, "φ")
        alive = np.broadcast_to(self.drive != 0, np.broadcast_shapes(phi.shape, self.drive.shape))
        x = np.divide(phi, self.limit, out=np.zeros(alive.shape), where=alive)
        if np.any(x < 0) or np.any(x > 1) or np.any(~alive & (phi != 0)):
            raise InputError(f"φ moves from 0 to {self.limit.tolist()} and never passes {phi.tolist()}")
        with np.errstate(divide="ignore"):
            g = -np.log1p(-x)
        return np.asarray(np.where(x > 0, np.where(alive, self.unit, 0.0) * self._units(g), 0.0))

    def half_time(self) -> np.ndarray:
        """Return when s = σ/2, ∝ |σ|^{1/m − 1}; shape (k,).

        >>> t = PowerFlow(np.array([1.0, 8.0]), 0.5, 3).half_time()
        >>> float(t[0] / t[1]).__round__(12)   # 8^{2/3}
        4.0
        """
        return np.asarray(self.unit * self._units(np.asarray(-np.log1p(-(0.5 ** (1 / self.degree))))))

    def at(self, t: Array) -> np.ndarray:
        """Return φ(t), shape (*t, k)."""
        return np.asarray(self.limit * -np.expm1(-self._progress(t)))

    def strength(self, t: Array) -> np.ndarray:
        """Return s(t) = κφ^m, shape (*t, k)."""
        return np.asarray(self.drive * (-np.expm1(-self._progress(t))) ** self.degree)

    def error(self, t: Array) -> np.ndarray:
        """Return σ − s(t), accurate however small; shape (*t, k)."""
        with np.errstate(divide="ignore"):
            return np.asarray(self.drive * -np.expm1(self.degree * np.log1p(-np.exp(-self._progress(t)))))

    def _units(self, g: np.ndarray) -> np.ndarray:
        """Return f_m(1 − e^{−g})."""
        x = -np.expm1(-g)
        angles = 2 * np.pi * np.arange(1, (self.degree - 1) // 2 + 1) / self.degree
        cos, sin, x = np.cos(angles), np.sin(angles), x[..., None]
        # Re ω ln(1 − x/ω), written out: NumPy's complex log1p is not accurate for small x.
        smooth = cos * np.log1p(x * (x - 2 * cos)) / 2 - sin * np.arctan2(x * sin, 1 - x * cos)
        return np.asarray((g - 2 * np.sum(smooth, axis=-1)) / self.degree)

    def _progress(self, t: Array) -> np.ndarray:
        """Return g = −ln(1 − x) at time t: f_m is concave in g, so Newton's method rises to it from the left."""
        with np.errstate(divide="ignore"):
            wanted = moments(t)[..., None] / self.unit
        g = wanted.copy()  # f_m ≤ g
        for _ in range(100):
            x = -np.expm1(-g)
            slope = np.sum(x[..., None] ** np.arange(self.degree), axis=-1)
            step = (wanted - self._units(g)) * slope
            g = np.maximum(g + step, 0.0)
            if np.all(np.abs(step) <= 1e-9 * g):
                break  # what the next step would change is the square of that
        return np.asarray(g)
