"""Sign-concordant feedback with magnitudes that stay: B_l = M_l ⊙ sign(W_l), M_l ≥ 0.

Three rules of the literature differ only in M: *uSF* (uniform, one number per layer: Liao, Leibo & Poggio 2016, Xiao et
al. 2018), *frSF* (fixed random) and *uSF-Init* (M = |B_0|: Moskovitz, Litwin-Kumar & Abbott 2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, Rng, generator, like
from linfa.errors import InputError
from linfa.rules.interface import AbstractLayerwise, State, check_feedback
from linfa.rules.potential import Potential
from linfa.weights import Weights, check_scale, draw_feedback, drawn, feedback_shapes


def xavier_limit(shape: tuple[int, int]) -> float:
    """Return √(6/(fan_in + fan_out)), the half-width of Xavier's uniform law (Glorot & Bengio 2010)."""
    return float(np.sqrt(6 / sum(shape)))


def xavier_magnitudes(widths: Sequence[int], rng: np.random.Generator, scale: float) -> tuple[np.ndarray, ...]:
    """Return |M_2| … |M_L| with M Xavier-uniform, the magnitudes of BioTorch's frSF and brSF."""
    return tuple(scale * xavier_limit(shape) * rng.uniform(0, 1, shape) for shape in feedback_shapes(widths))


@dataclass(frozen=True, eq=False)
class SignConcordant(AbstractLayerwise):
    """B_l = M_l ⊙ sign(W_l). Conserved, through sign flips too: ½‖W_l[k,:]‖² − Σ_i M_{l+1}[i,k] |W_{l+1}[i,k]|.

    Args:
        magnitudes: M_2 … M_L ≥ 0, of the shapes of W_2 … W_L.
        origin: how they were chosen, kept for provenance.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> B, = SignConcordant.uniform(net, scale=1.0).feedback(State(net.matrices))
    >>> bool(np.all(np.sign(B) == np.sign(net[1])))
    True

    """

    name: ClassVar[str] = "sign-concordant"
    magnitudes: tuple[Float[Any, ...], ...]
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def uniform(cls, weights: Weights, scale: float = 1.0) -> SignConcordant:
        """Return uSF: M_l = scale · √(2/(n_l + n_{l−1})), one number per layer (BioTorch's choice)."""
        check_scale(scale)
        magnitudes = tuple(
            like(np.full(shape, scale * np.sqrt(2 / sum(shape))), weights[0])
            for shape in feedback_shapes(weights.widths)
        )
        return cls(magnitudes, drawn("uniform", None, scale=scale))

    @classmethod
    def fixed_random(cls, weights: Weights, rng: Rng, scale: float = 1.0) -> SignConcordant:
        """Return frSF: M_l = |Xavier-uniform|, drawn once."""
        check_scale(scale)
        magnitudes = xavier_magnitudes(weights.widths, generator(rng), scale)
        return cls(tuple(like(M, weights[0]) for M in magnitudes), drawn("fixed_random", rng, scale=scale))

    @classmethod
    def initial(cls, weights: Weights, rng: Rng, scale: float = 1.0) -> SignConcordant:
        """Return uSF-Init: M_l = |B_l(0)| with B_l(0) Gaussian as in feedback alignment."""
        return cls(tuple(abs(B) for B in draw_feedback(weights, rng, scale)), drawn("initial", rng, scale=scale))

    def feedback(self, state: State) -> tuple[Array, ...]:
        """Return M_l ⊙ sign(W_l)."""
        return tuple(
            like(M, W) * array_namespace(W).sign(W) for M, W in zip(self.magnitudes, state.weights[1:], strict=True)
        )

    def potential(self, k: int) -> Potential:
        """Return φ(w) = m |w|."""
        return Potential(magnitude=self.magnitudes[k])

    def check(self, weights: Weights) -> None:
        """Raise InputError unless M_l ≥ 0 has the shape of W_l."""
        check_feedback("M", self.magnitudes, feedback_shapes(weights.widths), first=2)
        for l, M in enumerate(self.magnitudes, 2):
            if not bool(array_namespace(M).all(M >= 0)):
                raise InputError(f"magnitudes must be ≥ 0, or the signs do not agree; M_{l} has a negative entry")
