"""How a model is trained: everything that the result depends on, besides the model and the data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch

from linfa.errors import InputError
from linfa.nn.draws import seed_of
from linfa.nn.train.augmentation import AbstractAugmentation
from linfa.nn.train.losses import AbstractLoss, CrossEntropy
from linfa.nn.train.optimisers import AbstractOptimiser
from linfa.provenance import describe
from linfa.solvers.interface import check_whole


@dataclass(frozen=True)
class Training:
    """A configuration: the same one, with the same model and data, gives the same run on the same machine.

    Args:
        optimiser: `SGD(...)` or `Adam(...)`, with a schedule over epochs where the rate changes.
        epochs: how often all samples are seen; a run can be taken up again with more of them.
        batch: samples per step, of all processes together; the last batch of an epoch may be smaller.
        loss: what is made small.
        augmentation: how images are varied, in this order.
        amp: torch.bfloat16 or torch.float16 for autocast in that precision (float16 with a loss scale); None for none.
        held_norms: whether the norm of every weight is held at its initial value (Moskovitz et al. 2018).
        seed: of the order of the samples and of the augmentation.

    Raises:
        InputError: for a value out of range, or something else than is needed in its place.

    >>> from linfa.nn.train import SGD
    >>> Training(SGD(0.1), epochs=0)
    Traceback (most recent call last):
    linfa.errors.InputError: epochs and batch must be whole numbers ≥ 1; got 0 and 128
    """

    optimiser: AbstractOptimiser
    epochs: int
    batch: int = 128
    loss: AbstractLoss = dataclasses.field(default_factory=CrossEntropy)
    augmentation: tuple[AbstractAugmentation, ...] = ()
    amp: torch.dtype | None = None
    held_norms: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole(epochs=self.epochs, batch=self.batch)
        seed_of(self.seed)
        for name in ("epochs", "batch", "seed"):  # NumPy's whole numbers are no JSON
            object.__setattr__(self, name, int(getattr(self, name)))
        for thing, kind, example in (
            (self.optimiser, AbstractOptimiser, "optimiser=SGD(0.1)"),
            (self.loss, AbstractLoss, "loss=CrossEntropy()"),
        ):
            if not isinstance(thing, kind):
                raise InputError(f"Training takes objects of linfa.nn.train such as {example}; got {thing!r} there")
        ways = self.augmentation
        if not isinstance(ways, tuple | list) or not all(isinstance(way, AbstractAugmentation) for way in ways):
            raise InputError(f"augmentation is a tuple of ways, such as (Flip(), Crop(32, 4)); got {ways!r}")
        object.__setattr__(self, "augmentation", tuple(ways))
        if self.amp not in (None, torch.bfloat16, torch.float16):
            raise InputError(f"amp is torch.bfloat16, torch.float16 or None; got {self.amp}")

    def described(self) -> dict[str, Any]:
        """Return what a result depends on at every step; how many epochs there will be is not part of it."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del parts["epochs"]
        return dict(describe(parts | {"amp": None if self.amp is None else str(self.amp)}))
