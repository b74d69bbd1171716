"""What an activation is to the order parameters: a function, its slope, and four Gaussian integrals.

For a centred Gaussian vector with covariance C and any of its entries a, b, c, d:

    I_2(a, b) = ⟨g(a) g(b)⟩                      J_2(a, b) = ⟨g′(a) g′(b)⟩
    I_3(a, b, c) = ⟨g′(a) b g(c)⟩                I_4(a, b, c, d) = ⟨g′(a) g′(b) g(c) g(d)⟩

The covariance has shape (..., n, n), leading axes are a batch; a, b, c, d are indices, or arrays of indices of one
shape, and the result has the batch axes first, then theirs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, TypeAlias

import numpy as np
from jaxtyping import Float

from linfa.arrays import Array

Index: TypeAlias = Any
"""An index, or an array of indices."""

Covariance: TypeAlias = Float[Any, "*batch n n"]
"""C, shape (..., n, n)."""


class AbstractActivation(ABC):
    """An activation g, with the integrals that close the equations of the overlaps."""

    name: ClassVar[str]
    """What it is called in messages and provenance."""

    @abstractmethod
    def value(self, x: Array) -> Array:
        """Return g(x)."""

    @abstractmethod
    def slope(self, x: Array) -> Array:
        """Return g′(x)."""

    @abstractmethod
    def I2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return ⟨g(a) g(b)⟩."""

    @abstractmethod
    def I3(self, C: Covariance, a: Index, b: Index, c: Index) -> Array:
        """Return ⟨g′(a) b g(c)⟩."""

    @abstractmethod
    def I4(self, C: Covariance, a: Index, b: Index, c: Index, d: Index) -> Array:
        """Return ⟨g′(a) g′(b) g(c) g(d)⟩."""

    @abstractmethod
    def J2(self, C: Covariance, a: Index, b: Index) -> Array:
        """Return ⟨g′(a) g′(b)⟩."""

    @abstractmethod
    def recovers(self, positive: int, negative: int, heads_positive: int, heads_negative: int) -> bool:
        """Return whether a student can become the teacher without changing a sign of its read-out.

        Args:
            positive: how many students have a positive read-out.
            negative: how many have a negative one.
            heads_positive: how many teachers have A_m > 0.
            heads_negative: how many have A_m < 0.
        """

    def check(self, C: np.ndarray) -> None:
        """Raise InputError where the integrals do not exist for a covariance; most exist for all."""
        return
