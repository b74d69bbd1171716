"""What is watched while a network trains: one small class per quantity, one wait for the device per reading."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from linfa.errors import DivergenceError, InputError
from linfa.nn.monitors.probe import Probe

Readings = dict[str, dict[str, Any]]
"""Monitor → layer (or law) → number or array."""


class AbstractMonitor(ABC):
    """One quantity, layer by layer."""

    name: ClassVar[str]
    """The name in results."""
    gradients: ClassVar[bool] = False
    """Whether it needs a batch to send errors back for."""

    @abstractmethod
    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return the quantity by layer (or law), on the model's device."""


class Monitors:
    """Several monitors of one model, read together.

    Two passes over the batch serve all monitors of gradients: one with the rule's feedback, one with true gradients.
    Weights, gradients, buffers, modes and random numbers are as before afterwards; ledgers do not look.

    Args:
        model: a converted model.
        monitors: what to watch.
        batch: a small batch of inputs, for monitors of gradients.
        loss: of the model's output on that batch, one number.

    Raises:
        InputError: where something is no monitor, or a monitor of gradients has no batch and loss.

    >>> from linfa.nn import convert
    >>> from linfa.nn.monitors import WeightAngle
    >>> net = convert(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), "bp")
    >>> Monitors(net, [WeightAngle()]).read()
    {'weight_angle': {'0': 0.0, '2': 0.0}}
    """

    def __init__(
        self,
        model: nn.Module,
        monitors: Sequence[AbstractMonitor],
        batch: Tensor | None = None,
        loss: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        check_monitors(monitors)
        self.model, self.monitors = model, list(monitors)
        self.batch, self.loss = batch, loss
        needy = [m.name for m in self.monitors if m.gradients]
        if needy and (batch is None or loss is None):
            raise InputError(
                f"{', '.join(needy)} compare gradients: give a batch of inputs and a loss of the model's output"
            )

    def read(self) -> Readings:
        """Return all readings: angles in radians, a number or an array for every layer (or law).

        Raises:
            DivergenceError: where a reading is not finite.
        """
        probe = Probe(self.model, self.batch, self.loss)
        found = {m.name: m.measure(probe) for m in self.monitors}
        tensors = [t for readings in found.values() for t in readings.values()]
        if not tensors:
            return {name: {} for name in found}
        # One copy for everything: the only time that the device is waited for.
        values = torch.cat([t.detach().double().flatten() for t in tensors]).cpu().numpy()
        parts = iter(np.split(values, np.cumsum([t.numel() for t in tensors])[:-1]))
        return {
            name: {key: _checked(name, key, next(parts), t.ndim) for key, t in readings.items()}
            for name, readings in found.items()
        }


def check_monitors(monitors: Any) -> None:
    """Raise InputError unless monitors are objects, several of them in a list or tuple.

    >>> from linfa.nn.monitors import WeightAngle
    >>> check_monitors(WeightAngle())  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.InputError: monitors are objects in a list or tuple, such as [WeightAngle()]; got <...WeightAngle ...>
    """
    if not isinstance(monitors, list | tuple) or not all(isinstance(m, AbstractMonitor) for m in monitors):
        raise InputError(f"monitors are objects in a list or tuple, such as [WeightAngle()]; got {monitors!r}")


def _checked(name: str, key: str, values: np.ndarray, ndim: int) -> Any:
    if not np.isfinite(values).all():
        raise DivergenceError(f"{name} of {key or 'the model'} is not finite: weights or errors have diverged")
    return values if ndim else float(values[0])
