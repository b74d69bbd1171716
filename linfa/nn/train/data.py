"""The samples, whole sets as tensors on one device."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import linfa.data
from linfa.errors import InputError
from linfa.nn.train.losses import is_classes
from linfa.provenance import array_digest


@dataclass(frozen=True, eq=False)
class Data:
    """Samples to train on and to test on.

    Args:
        inputs: shape (N, …); images stay in bytes until a batch of them is used. Whole numbers of 32 or 64 bits
            are tokens: the model gets them as they are, unless there is a mean or std.
        targets: class numbers, shape (N,), or targets, shape (N, p).
        test_inputs: shape (M, …).
        test_targets: likewise.
        mean: subtracted from inputs when they are used; of a shape that broadcasts; None for nothing.
        std: what inputs are then divided by; likewise.

    Raises:
        InputError: where something is no tensor, numbers of samples differ, or inputs or targets are not finite.

    >>> data = Data.load("digits")
    >>> len(data), data.inputs.shape[1:], data.inputs.dtype
    (1437, torch.Size([1, 8, 8]), torch.uint8)
    """

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor
    mean: Tensor | None = None
    std: Tensor | None = None

    def __post_init__(self) -> None:
        parts: dict[str, Any] = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        for name, part in parts.items():
            if not (isinstance(part, Tensor) or (part is None and name in ("mean", "std"))):
                raise InputError(f"data are tensors; {name} is of type {type(part).__name__}: give torch.as_tensor(…)")
        for x, y, what in (
            (self.inputs, self.targets, "training"),
            (self.test_inputs, self.test_targets, "test"),
        ):
            if len(x) != len(y) or len(x) == 0:
                raise InputError(f"each {what} sample has one target; got {len(x)} samples and {len(y)} targets")
            for values, kind in ((x, "samples"), (y, "targets")):
                if not bool(torch.isfinite(values).all()):
                    raise InputError(f"the {what} {kind} hold nan or inf: clean them before they are learnt")

    def __len__(self) -> int:
        return len(self.inputs)

    @classmethod
    def load(cls, name: str, *, standardised: bool = True) -> Data:
        """Return an image set by its name in `linfa.data`.

        Args:
            name: "digits", "mnist", "fashion_mnist", "cifar10", "cifar100".
            standardised: whether channels have mean 0 and variance 1 over the training set when they are used;
                otherwise bytes are used as they are, divided by their largest value.
        """
        x, y, test_x, test_y = (torch.tensor(array) for array in linfa.data.load(name))
        mean, std = _moments(x) if standardised else (None, torch.tensor(float(x.max())))
        return cls(x, y.long(), test_x, test_y.long(), mean, std)

    @property
    def labelled(self) -> bool:
        """Whether targets are class numbers, so that there is an accuracy."""
        return is_classes(self.targets)

    def to(self, device: torch.device | str) -> Data:
        """Return the same samples on a device."""
        parts: list[Any] = [getattr(self, f.name) for f in dataclasses.fields(self)]
        moved: list[Any] = [None if part is None else part.to(device) for part in parts]
        return Data(*moved)

    def ready(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Return inputs as a model takes them, (x − mean)/std; tokens as they are.

        >>> tokens = torch.tensor([[3, 1]])
        >>> Data(tokens, tokens[0, :1], tokens, tokens[0, :1]).ready(tokens, torch.float32)
        tensor([[3, 1]])
        """
        if self.mean is None and self.std is None and x.dtype in (torch.int32, torch.int64):
            return x
        x = x.to(dtype)
        if self.mean is not None:
            x = x - self.mean.to(dtype)
        return x / self.std.to(dtype) if self.std is not None else x

    def described(self) -> dict[str, Any]:
        """Return shapes and hashes."""
        parts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {k: None if v is None else f"{list(v.shape)} {array_digest(v.cpu())[:16]}" for k, v in parts.items()}


def _moments(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean and the standard deviation of every channel, shapes (C, 1, 1)."""
    values = x.transpose(0, 1).flatten(1)
    # Levels are counted, so that no set is ever held as numbers of eight bytes.
    counts = torch.stack([torch.bincount(v, minlength=256) for v in values]).double()
    levels, n = torch.arange(256, dtype=torch.double), values.shape[1]
    mean = counts @ levels / n
    std = (counts @ levels.square() / n - mean.square()).sqrt()
    return mean.view(-1, 1, 1), std.view(-1, 1, 1)
