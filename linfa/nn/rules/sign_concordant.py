"""Sign-concordant feedback: the signs of W with magnitudes of its own (Moskovitz et al. 2018, Xiao et al. 2018)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError, NoLawError
from linfa.nn.compiled import tick
from linfa.nn.draws import AbstractDraw, Xavier, fans, seed_of
from linfa.nn.feedback import AbstractSlot
from linfa.nn.functional import Made
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.nn.seeded import SeededMagnitude, signed
from linfa.rules.potential import Potential


class Magnitude(AbstractSlot):
    """B = M ⊙ sign(W) with M ≥ 0 fixed: a tensor of the weight's shape, or one number for all."""

    M: Tensor

    def __init__(self, M: Tensor) -> None:
        super().__init__()
        self.register_buffer("M", M.detach().clone())

    def stand_in(self, W: Tensor) -> Made:
        """Return M ⊙ sign(W)."""
        return Made(_signed, (W.detach(), self.M))

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = Σ M ⊙ |W|."""
        return Potential(magnitude=self.M)


class Redrawn(AbstractSlot):
    """B = |M| ⊙ sign(W) with M drawn anew in every forward pass of training."""

    seed: Tensor
    step: Tensor

    def __init__(self, draw: AbstractDraw, seed: int, device: torch.device) -> None:
        super().__init__()
        self.draw = draw
        self.register_buffer("seed", torch.tensor(seed, dtype=torch.int64, device=device))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=device))

    def stand_in(self, W: Tensor) -> Made:
        """Return |M| ⊙ sign(W) for a new M; a checkpoint's second forward pass sees the M of its first."""
        advance = self.training and not _in_backward()
        step = tick(self.step) if advance else self.step.clone()
        return Made(functools.partial(_redrawn, self.draw), (W.detach(), self.seed + step))

    def matrix(self, W: Tensor) -> Tensor:
        """Return B as it was last drawn."""
        return _redrawn(self.draw, W.detach(), self.seed + self.step)

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: magnitudes that change from step to step have no potential."""
        raise NoLawError(f"{self.rule}: magnitudes are redrawn at every step, so ⟨B, dW⟩ is no differential")


class StrictNormal(AbstractSlot):
    """B = ‖W‖ sign(W)/‖sign(W)‖."""

    def stand_in(self, W: Tensor) -> Made:
        """Return ‖W‖ sign(W)/‖sign(W)‖."""
        return Made(_normed_sign, (W.detach(),))

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: the feedback is no gradient."""
        raise NoLawError(f"{self.rule}: ‖W‖ sign(W)/‖sign(W)‖ is no gradient (theory/strict_normal_sign): no law")


def _signed(W: Tensor, M: Tensor) -> Tensor:
    return torch.sign(W).mul_(M)


def _redrawn(draw: AbstractDraw, W: Tensor, seed: Tensor) -> Tensor:
    return signed(draw, seed, W)


def _normed_sign(W: Tensor) -> Tensor:
    S = torch.sign(W)
    return S.mul_(W.norm() / S.norm().clamp(min=1))


def _in_backward() -> bool:
    """Return whether a backward pass is running: then a forward pass is a checkpoint's, made for the second time."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


def _scale_of(W: Tensor) -> float:
    """Return √(2/(fan in + fan out))."""
    return math.sqrt(2 / sum(fans(W.shape)))


def _weight(layer: nn.Module) -> Tensor:
    W = layer.weight
    assert isinstance(W, Tensor)
    return W


@dataclass(frozen=True)
class UniformSign(AbstractRule):
    """uSF: B = s sign(W).

    Args:
        scale: s; None for √(2/(fan in + fan out)) of each layer (BioTorch).
        xiao: whether to take Xiao et al. 2018's choice: √(2/(k² C_out)) for convolutions, 1/√(fan in) for dense layers.

    >>> layer = nn.Linear(3, 2)
    >>> B = UniformSign(scale=0.5).feedback(layer, Place("fc", seed=0)).matrix(layer.weight)
    >>> bool(torch.equal(B, 0.5 * torch.sign(layer.weight.detach())))
    True
    """

    name: ClassVar[str] = "usf"
    scale: float | None = None
    xiao: bool = False

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise InputError(f"scale must be finite and > 0, or None; got {self.scale}")
        if self.scale is not None and self.xiao:
            raise InputError("xiao chooses the scale: give scale or xiao, not both")

    def feedback(self, layer: nn.Module, place: Place) -> Magnitude:
        """Return s sign(W)."""
        W = _weight(layer)
        s = self.scale or (self._xiao(W) if self.xiao else _scale_of(W))
        return Magnitude(torch.tensor(s, dtype=W.dtype, device=W.device))

    @staticmethod
    def _xiao(W: Tensor) -> float:
        """Return √(2/(k² C_out)) for convolutions, 1/√(fan in) for dense layers."""
        return math.sqrt(2 / fans(W.shape)[1]) if W.ndim > 2 else 1 / math.sqrt(W.shape[1])


@dataclass(frozen=True)
class FixedRandomSign(AbstractRule):
    """frSF: B = |M| ⊙ sign(W), M drawn once.

    Args:
        draw: the law of M: `Xavier()` (BioTorch).
        seeded: draw M anew in every backward pass and hold no memory; same numbers.
    """

    name: ClassVar[str] = "frsf"
    draw: AbstractDraw = field(default_factory=Xavier)
    seeded: bool = False

    def feedback(self, layer: nn.Module, place: Place) -> AbstractSlot:
        """Return |M| ⊙ sign(W)."""
        W = _weight(layer)
        if self.seeded:
            return SeededMagnitude(self.draw, place.seed)
        return Magnitude(self.draw(W.shape, place.seed, W.dtype, W.device).abs_())


@dataclass(frozen=True)
class InitialSign(AbstractRule):
    """uSF-Init: B = |B_0| ⊙ sign(W) (Moskovitz et al. 2018).

    Args:
        draw: the law of B_0 (Lance & Kieu 2026: `Gaussian(0.1)`); None for the weight's own start, |W(0)|.
    """

    name: ClassVar[str] = "usf-init"
    draw: AbstractDraw | None = None

    def feedback(self, layer: nn.Module, place: Place) -> Magnitude:
        """Return |B_0| ⊙ sign(W)."""
        W = _weight(layer)
        M = W.detach().clone() if self.draw is None else self.draw(W.shape, place.seed, W.dtype, W.device)
        return Magnitude(M.abs_())


@dataclass(frozen=True)
class BatchRandomSign(AbstractRule):
    """brSF: B = |M| ⊙ sign(W), M drawn anew in every forward pass of training."""

    name: ClassVar[str] = "brsf"
    draw: AbstractDraw = field(default_factory=Xavier)

    def feedback(self, layer: nn.Module, place: Place) -> Redrawn:
        """Return |M| ⊙ sign(W) with a new M each time."""
        return Redrawn(self.draw, seed_of(place.seed, "redrawn"), _weight(layer).device)


@dataclass(frozen=True)
class StrictNormalSign(AbstractRule):
    """uSF-SN: B = ‖W‖ sign(W)/‖sign(W)‖, strict normalisation (Moskovitz et al. 2018)."""

    name: ClassVar[str] = "usf-sn"

    def feedback(self, layer: nn.Module, place: Place) -> StrictNormal:
        """Return ‖W‖ sign(W)/‖sign(W)‖."""
        return StrictNormal()
