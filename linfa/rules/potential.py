"""The potential principle: a feedback that is a gradient, B = ∇Φ(W), carries a conservation law.

For every rule the incoming norm of a hidden unit grows exactly by what its outgoing weights gain along the feedback,
½ d‖W_l[k,:]‖² = ⟨B_{l+1}[:,k], dW_{l+1}[:,k]⟩ (theory's master identity). Where ⟨B(W), dW⟩ is closed, B = ∇Φ, and
½‖W_l[k,:]‖² − Φ(W_{l+1}[:,k]) stays put. One family holds every built-in rule that has a potential:

    φ(w) = ½ α w² + b w + m |w|,        B = φ'(w) = α w + b + m sign(w)        (entry by entry)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array


@dataclass(frozen=True, eq=False)
class Potential:
    """φ(w) = ½ α w² + b w + m |w|, entry by entry, for the feedback B_{l+1} of one layer.

    Args:
        alpha: α, how much of the feedback is the weight itself (backprop: 1).
        linear: b of the shape of W_{l+1}, the fixed part (feedback alignment: B), or None.
        magnitude: m ≥ 0, of the shape of W_{l+1} or a number, the part that follows the sign, or None.

    >>> import numpy as np
    >>> Potential(alpha=1.0).value(np.array([[3.0]]))
    array([[4.5]])

    """

    alpha: float = 0.0
    linear: Array | None = None
    magnitude: Array | None = None

    def value(self, w: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
        """Return φ(w), entry by entry."""
        phi = self.alpha * w * w / 2
        if self.linear is not None:
            phi = phi + self.linear * w
        if self.magnitude is not None:
            phi = phi + self.magnitude * array_namespace(w).abs(w)
        return phi

    def gradient(self, w: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
        """Return φ'(w) = α w + b + m sign(w): the feedback B that the potential makes."""
        B = self.alpha * w
        if self.linear is not None:
            B = B + self.linear
        if self.magnitude is not None:
            B = B + self.magnitude * array_namespace(w).sign(w)
        return B

    def defect(self, w: Float[Any, "*shape"], u: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
        """Return φ(w + u) − φ(w) − φ'(w) u = ½ α u² + m (|w + u| − |w| − sign(w) u), exactly.

        The second term is zero unless u carries w through zero: there it is 2 m |w + u| (and m|u| where w = 0).
        """
        bend = self.alpha * u * u / 2
        if self.magnitude is not None:
            xp = array_namespace(w)
            crossed = xp.abs(w + u) * (1 - xp.sign(w) * xp.sign(w + u))
            bend = bend + self.magnitude * crossed
        return bend

    def bound(self, w: Float[Any, "*shape"]) -> Float[Any, "*shape"]:
        """Return α|w| + |b| + |m| ≥ |φ'(w)|, the sum of magnitudes that rounding is measured against."""
        xp = array_namespace(w)
        total = abs(self.alpha) * xp.abs(w)
        for part in (self.linear, self.magnitude):
            if part is not None:
                total = total + abs(part)
        return total
