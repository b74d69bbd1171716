"""Gaussian matrices that are known by their seed: entries are drawn again whenever they are needed, always the same."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np

from linfa.errors import InputError
from linfa.matrices.algebra import AbstractMatrix

GRAIN_ENTRIES = 2**16
"""About so many entries are drawn from one place of the generator's counter."""


@dataclass(frozen=True)
class Seeded(AbstractMatrix):
    """A Gaussian matrix A[i, j] ~ N(0, scale²) that takes no memory.

    Its rows fall into grains of g rows, and the c-th grain is drawn by the counter-based generator Philox (Salmon et
    al. 2011) with a key made of shape and seed and the counter (0, 0, c, 0): 2¹²⁸ numbers lie between grains. So every
    entry is a function of shape, scale and seed, whatever is asked for, in whatever order and blocks.

    Args:
        shape: (n, m).
        scale: the standard deviation of the entries.
        seed: a whole number ≥ 0, or several; other numbers, or another shape, make an independent matrix.

    Raises:
        InputError: where shape, scale or seed are none.

    >>> A = Seeded((10**6, 10**6), 1e-3, seed=0)
    >>> A.rows(5, 7).shape, bool(np.all(A.rows(5, 7)[1] == A.rows(6, 7)[0]))
    ((2, 1000000), True)
    """

    shape: tuple[int, int]
    scale: float
    seed: int | tuple[int, ...]

    def __post_init__(self) -> None:
        whole = all(isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= 1 for n in self.shape)
        if len(self.shape) != 2 or not whole:
            raise InputError(f"a seeded matrix has a shape (n, m) of whole numbers ≥ 1; got {self.shape}")
        if not np.isfinite(self.scale) or self.scale < 0:
            raise InputError(f"scale must be finite and ≥ 0; got {self.scale}")
        numbers = self.seed if isinstance(self.seed, tuple) else (self.seed,)
        if not numbers or not all(
            isinstance(s, int | np.integer) and not isinstance(s, bool) and s >= 0 for s in numbers
        ):
            raise InputError(f"a seed is a whole number ≥ 0, or a tuple of these; got {self.seed!r}")
        # Plain numbers: the key is made of how they are written.
        object.__setattr__(self, "seed", tuple(int(s) for s in numbers))
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "grain", max(1, GRAIN_ENTRIES // self.shape[1]))

    @cached_property
    def _key(self) -> np.ndarray:
        # Numbers of a seed sequence run into each other, (0, 0) is 0 there; a hash of what is written does not.
        return np.frombuffer(sha256(f"{self.shape} {self.seed}".encode()).digest()[:16], dtype="<u8")

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Return A[start:stop], from all grains that it touches."""
        g, (n, m) = self.grain, self.shape
        if not 0 <= start <= stop <= n:
            raise InputError(f"rows are counted from 0 to {n}; got {start} to {stop}")
        first, last = start // g, -(-stop // g)
        drawn = np.empty((min(last * g, n) - first * g, m))
        for c in range(first, last):
            place = np.random.Philox(key=self._key, counter=np.array([0, 0, c, 0], dtype=np.uint64))
            np.random.Generator(place).standard_normal(out=drawn[(c - first) * g : (c - first + 1) * g])
        wanted = drawn[start - first * g : stop - first * g]
        wanted *= self.scale
        return wanted
