"""Feedback that is drawn anew, from its seed, in every backward pass: a buffer's numbers, and no memory.

    B = draw(shape, seed)        the same at every call (`linfa.nn.draws`)

What a checkpoint holds is the seed.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from linfa.nn.direct import AbstractDirect
from linfa.nn.draws import AbstractDraw, Seed
from linfa.nn.feedback import AbstractDense, AbstractFeedback, AbstractSlot
from linfa.nn.functional import Made
from linfa.nn.targets import AbstractProjected
from linfa.rules.potential import Potential


class AbstractSeeded(AbstractFeedback):
    """Feedback that is known by a law and a seed.

    Args:
        draw: the law.
        seed: of the layer.
    """

    def __init__(self, draw: AbstractDraw, seed: int) -> None:
        super().__init__()
        self.draw, self.seed = draw, seed

    def made(self, shape: Sequence[int], like: Tensor) -> Made:
        """Return how the tensor is drawn, in the precision and on the device of another."""
        return Made(functools.partial(self.draw, tuple(shape), self.seed, like.dtype, like.device), (), tuple(shape))

    def get_extra_state(self) -> dict[str, int]:
        """Return the seed: a checkpoint holds it in the tensor's place."""
        return {"seed": self.seed}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take the seed of a checkpoint."""
        self.seed = int(state["seed"])


class Seeded(AbstractSeeded, AbstractSlot):
    """B of the weight's shape.

    >>> from linfa.nn import convert
    >>> from linfa.nn.rules import FeedbackAlignment
    >>> one, other = (convert(torch.nn.Linear(3, 2), FeedbackAlignment(seeded=s)).feedback for s in (False, True))
    >>> bool(torch.equal(one.B, other.matrix(one.B))), list(other.buffers())
    (True, [])
    """

    def stand_in(self, W: Tensor) -> Made:
        """Return how B is drawn."""
        return self.made(W.shape, W)

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = ⟨B, W⟩."""
        return Potential(linear=self.matrix(W))


class SeededMagnitude(AbstractSeeded, AbstractSlot):
    """B = |M| ⊙ sign(W) with a fixed M."""

    def stand_in(self, W: Tensor) -> Made:
        """Return |M| ⊙ sign(W)."""
        return Made(functools.partial(signed, self.draw, self.seed), (W.detach(),), tuple(W.shape))

    def potential(self, W: Tensor) -> Potential:
        """Return Φ = Σ |M| ⊙ |W|."""
        return Potential(magnitude=self.made(W.shape, W)().abs_())


class SeededDense(AbstractSeeded, AbstractDense):
    """B between flattened maps, of a given shape."""

    def __init__(self, draw: AbstractDraw, seed: int, shape: Sequence[int]) -> None:
        super().__init__(draw, seed)
        self.shape = tuple(shape)

    def between(self, W: Tensor) -> Made:
        """Return how B is drawn."""
        return self.made(self.shape, W)


class SeededDirect(AbstractSeeded, AbstractDirect):
    """F from the model's output, of a given shape."""

    def __init__(self, draw: AbstractDraw, seed: int, shape: Sequence[int]) -> None:
        super().__init__(draw, seed)
        self.shape = tuple(shape)

    def outward(self, W: Tensor) -> Made:
        """Return how F is drawn."""
        return self.made(self.shape, W)


class SeededProjected(AbstractSeeded, AbstractProjected):
    """F from the targets, of a given shape; the precision is the weight's, as it is for a buffer."""

    def __init__(self, draw: AbstractDraw, seed: int, shape: Sequence[int], dtype: torch.dtype) -> None:
        super().__init__(draw, seed)
        self.shape, self.dtype = tuple(shape), dtype

    def projection(self, h: Tensor) -> Tensor:
        """Return F, drawn."""
        return self.draw(self.shape, self.seed, self.dtype, h.device)


def signed(draw: AbstractDraw, seed: Seed, W: Tensor) -> Tensor:
    """Return |M| ⊙ sign(W), M drawn from the seed.

    >>> from linfa.nn.draws import Uniform
    >>> signed(Uniform(1.0), 0, torch.tensor([-2.0, 0.0, 5.0])).sign()
    tensor([-1.,  0.,  1.])
    """
    return torch.sign(W).mul_(draw(tuple(W.shape), seed, W.dtype, W.device).abs_())
