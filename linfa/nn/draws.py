"""How feedback is drawn: numbers that depend on a seed and a place alone, the same on every device and every rank.

Entry i of a tensor is a function of (seed, i): the mixer m of SplitMix64 (Steele, Lea & Flood 2014) turns i xor m(seed)
into 64 bits, 23 of them make u = (2k + 1)/2²⁴ ∈ (0, 1), exact in every precision from float32 on; lower ones are drawn
in float32 and rounded at the end. Nothing is stored, no generator is advanced, so that feedback can be made anew
whenever it is needed, also within torch.compile.
"""

from __future__ import annotations

import hashlib
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from linfa.errors import InputError

Seed = int | Tensor
"""A whole number, or a tensor that holds one (where the seed itself changes from step to step)."""

_GAMMA, _FIRST, _SECOND = -0x61C8864680B583EB, -0x40A7B892E31B1A47, -0x6B2FB644ECCEEE15
"""SplitMix64's constants as signed 64-bit numbers."""

BLOCK = {"cpu": 2**16}
"""How many numbers are drawn at once, by device; elsewhere 2²². It bounds what 64 bits take beside a large tensor."""


def seed_of(seed: int, *place: object) -> int:
    """Return a seed of 63 bits for a place (a layer's name, say), unrelated to those of other places.

    Raises:
        InputError: where the seed is no whole number.

    >>> seed_of(0, "conv1") == seed_of(0, "conv1"), seed_of(0, "conv1") == seed_of(0, "conv2")
    (True, False)
    """
    try:
        seed = operator.index(seed)
    except TypeError as error:
        raise InputError(f"a seed is a whole number; got {seed!r}") from error
    told = repr((seed, *place)).encode()
    return int.from_bytes(hashlib.blake2b(told, digest_size=8).digest(), "big") >> 1


def uniform(shape: Sequence[int], seed: Seed, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Return u ∈ (0, 1), entry by entry a function of the seed and of its place; in float32 where less is asked for.

    >>> uniform((2,), 0, torch.double).tolist() == uniform((3,), 0, torch.double)[:2].tolist()
    True
    """
    start = _mixed(torch.as_tensor(seed, dtype=torch.int64, device=device).clone())
    n, kind = math.prod(shape), torch.promote_types(dtype, torch.float32)
    block = BLOCK.get(start.device.type, 2**22)
    if n <= block or torch.compiler.is_compiling():  # what is compiled holds no intermediate numbers
        return _uniform(0, n, start, kind).view(*shape)
    u = torch.empty(n, dtype=kind, device=start.device)
    for first in range(0, n, block):
        u[first : first + block] = _uniform(first, min(first + block, n), start, kind)
    return u.view(*shape)


def _uniform(first: int, last: int, start: Tensor, kind: torch.dtype) -> Tensor:
    """Return the numbers of the places first … last − 1."""
    # Exclusive or, not a sum: torch.compile works out sums of counters and constants itself, and overflows.
    k = _mixed(torch.arange(first, last, device=start.device).bitwise_xor_(start))
    k.bitwise_right_shift_(41).bitwise_and_(2**23 - 1).mul_(2).add_(1)
    return k.to(kind).mul_(2.0**-24)


def _mixed(z: Tensor) -> Tensor:
    """Mix 64 bits well, in place."""
    z.bitwise_xor_(_GAMMA).mul_(_GAMMA)
    for k, factor in ((30, _FIRST), (27, _SECOND), (31, 1)):
        # A shift without the sign.
        z.bitwise_xor_((z >> k).bitwise_and_(2 ** (64 - k) - 1)).mul_(factor)
    return z


def fans(shape: Sequence[int]) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight, as torch counts them.

    >>> fans((8, 4, 3, 3))
    (36, 72)
    """
    area = math.prod(shape[2:])
    return shape[1] * area, shape[0] * area


class AbstractDraw(ABC):
    """A law of random entries."""

    def __call__(
        self, shape: Sequence[int], seed: Seed, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return a tensor of independent entries."""
        return self.turn(uniform(shape, seed, dtype, device).mul_(2).sub_(1), shape).to(dtype)

    @abstractmethod
    def turn(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """Return the law's entries, made in place of independent u uniform on (−1, 1).

        Args:
            u: of the shape, float32 at least.
            shape: of the weight, whose fans some laws scale with.
        """


@dataclass(frozen=True)
class Uniform(AbstractDraw):
    """Entries uniform on (−bound, bound); Lillicrap et al. 2016 use ½.

    >>> bool(Uniform(0.5)((1000,), 0, torch.double).abs().max() < 0.5)
    True
    """

    bound: float

    def __post_init__(self) -> None:
        _positive("bound", self.bound)

    def turn(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """Return bound · u."""
        return u.mul_(self.bound)


@dataclass(frozen=True)
class Gaussian(AbstractDraw):
    """Entries N(0, std²), cut where 24 bits end (5.3 standard deviations).

    >>> bool(abs(Gaussian(3.0)((10000,), 0, torch.double).std() - 3) < 0.1)
    True
    """

    std: float

    def __post_init__(self) -> None:
        _positive("std", self.std)

    def turn(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """Return std · √2 erf⁻¹(u)."""
        return u.erfinv_().mul_(math.sqrt(2) * self.std)


@dataclass(frozen=True)
class Xavier(AbstractDraw):
    """Entries uniform with variance 2/(fan in + fan out) (Glorot & Bengio 2010), the choice of BioTorch."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        _positive("gain", self.gain)

    def turn(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """Return gain · √(6/(fan in + fan out)) · u."""
        return Uniform(self.gain * math.sqrt(6 / sum(fans(shape)))).turn(u, shape)


@dataclass(frozen=True)
class FanIn(AbstractDraw):
    """Entries N(0, gain²/fan in): signals keep their size; the standard start of `linfa.Weights` with gain 1."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        _positive("gain", self.gain)

    def turn(self, u: Tensor, shape: Sequence[int]) -> Tensor:
        """Return gain/√(fan in) · √2 erf⁻¹(u)."""
        return Gaussian(self.gain / math.sqrt(fans(shape)[0])).turn(u, shape)


def _positive(name: str, value: float) -> None:
    if not (isinstance(value, int | float) and math.isfinite(value) and value > 0):
        raise InputError(f"{name} must be finite and > 0; got {value!r}")
