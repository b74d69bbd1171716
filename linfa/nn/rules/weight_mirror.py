"""Weight mirror: noise through the layer shows the feedback what the weight does (Akrout et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.draws import AbstractDraw, Gaussian, Xavier, seed_of
from linfa.nn.feedback import LinearMap, check_shape
from linfa.nn.learnt import AbstractLearnt
from linfa.nn.rules.interface import AbstractRule, Place


class Mirror(AbstractLearnt):
    """ΔB = rate · (E[(W ξ) ξᵀ] − decay · B), E over independent ξ ~ N(0, I): at rest B = W/decay in the mean.

    The mean over ξ of (W ξ) ξᵀ is W. A convolution sees ξ as maps just large enough for one output.
    """

    B: Tensor
    seed: Tensor
    step: Tensor

    def __init__(self, B: Tensor, seed: int, rate: float, decay: float, samples: int) -> None:
        super().__init__(rate)
        self.decay, self.samples = decay, samples
        self.register_buffer("B", B)
        self.register_buffer("seed", torch.tensor(seed, dtype=torch.int64, device=B.device))
        self.register_buffer("step", torch.zeros((), dtype=torch.int64, device=B.device))

    def stand_in(self, W: Tensor) -> Tensor:
        """Return B."""
        return self.B

    def learnt(self) -> Tensor:
        """Return B."""
        return self.B

    def pull(self, layer: LinearMap) -> Tensor:
        """Return decay · B − mean (W ξ) ξᵀ; one output position sees each weight once, so W is a matrix there."""
        W = layer.weight.detach().flatten(1)
        self.step.add_(1)
        xi = Gaussian(1.0)((self.samples, W.shape[1]), self.seed + self.step, W.dtype, W.device)
        return self.decay * self.B - ((xi @ W.mT).mT @ xi / self.samples).view(self.B.shape)


@dataclass(frozen=True)
class WeightMirror(AbstractRule):
    """B learns W from noise sent through the layer between the steps; `linfa.nn.follow(model, optimizer)` moves it.

    Args:
        rate: the step size of the mirror.
        decay: how fast B forgets, per unit of rate; at rest B = W/decay.
        samples: how many noise vectors each step sees.
        draw: the law of B(0).
    """

    name: ClassVar[str] = "mirror"
    rate: float = 0.01
    decay: float = 1.0
    samples: int = 128
    draw: AbstractDraw = field(default_factory=Xavier)

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0 and math.isfinite(self.decay) and self.decay >= 0):
            raise InputError(f"needed are a rate > 0 and a decay ≥ 0, finite; got {self.rate} and {self.decay}")
        if self.samples < 1:
            raise InputError(f"samples is a whole number ≥ 1; got {self.samples}")

    def feedback(self, layer: nn.Module, place: Place) -> Mirror:
        """Return the feedback of one layer, drawn for its place."""
        W = layer.weight
        assert isinstance(W, Tensor)
        B = self.draw(W.shape, place.seed, W.dtype, W.device)
        check_shape(W, B, "the feedback")
        return Mirror(B, seed_of(place.seed, "noise"), self.rate, self.decay, self.samples)
