"""One look at a model: its layers, and what the rule and what backprop send through them for one batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.convert import fed_layers, truth
from linfa.nn.streams.identity import untouched


class Pass(NamedTuple):
    """What one backward pass leaves, by layer."""

    updates: dict[str, Tensor]
    """U, the negative gradient of the weight."""
    signals: dict[str, Tensor]
    """ż at the layer's output, sample by sample in rows; calls of one layer below each other."""
    calls: dict[str, list[tuple[Tensor, Tensor]]]
    """(h, ż) of every call whose input has a history, so that it sends an error on."""


class Probe:
    """A model with feedback, and the passes that monitors ask for, each made once.

    Args:
        model: converted.
        batch: inputs, or None where no pass is asked for.
        loss: of the output.

    Raises:
        InputError: where no layer has feedback.
    """

    def __init__(self, model: nn.Module, batch: Tensor | None, loss: Callable[[Tensor], Tensor] | None) -> None:
        self.model, self.batch, self.loss = model, batch, loss
        self.layers: dict[str, Any] = fed_layers(model)
        if not self.layers:
            raise InputError("no layer of the model has feedback: convert it first, linfa.nn.convert(model, rule)")

    @cached_property
    def matrices(self) -> dict[str, tuple[Tensor, Tensor]]:
        """W and the present B of every layer whose feedback has the weight's shape, in double precision."""
        slots = {name: layer for name, layer in self.layers.items() if hasattr(layer.feedback, "matrix")}
        with torch.no_grad():
            return {
                name: (layer.weight.detach().double(), layer.feedback.matrix(layer.weight).double())
                for name, layer in slots.items()
            }

    @cached_property
    def fed(self) -> Pass:
        """The pass in which errors come back as the rule says."""
        return self._passed(False)

    @cached_property
    def true(self) -> Pass:
        """The pass in which they come back by backprop."""
        return self._passed(True)

    @cached_property
    def sent(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Bᵀ ż and Wᵀ ż for the ż that the rule sends, sample by sample in rows; not where h gets nothing from ż."""
        pairs: dict[str, list[tuple[Tensor, Tensor]]] = {}
        for name, layer in self.layers.items():
            for h, dz in self.fed.calls.get(name, ()):
                given = layer.feedback.signal(layer, h, dz)
                if given is not None:
                    pairs.setdefault(name, []).append((given.flatten(1), _truly_sent(layer, h, dz).flatten(1)))
        return {n: (torch.cat([a for a, _ in some]), torch.cat([b for _, b in some])) for n, some in pairs.items()}

    def _passed(self, true: bool) -> Pass:
        assert self.batch is not None  # Monitors has seen to it
        assert self.loss is not None
        signals: dict[str, list[Tensor]] = {}
        calls: dict[str, list[tuple[Tensor, Tensor]]] = {}

        def note(name: str) -> Any:
            def came(h: Tensor, dz: Tensor) -> None:
                signals.setdefault(name, []).append(-dz.detach().flatten(1))
                if h.requires_grad:
                    calls.setdefault(name, []).append((h.detach(), -dz.detach()))

            def hook(_: nn.Module, inputs: tuple[Any, ...], z: Tensor) -> None:
                # A hook on the tensor sees ż even where the next function works in place.
                if z.requires_grad:
                    z.register_hook(functools.partial(came, inputs[0]))  # type: ignore[no-untyped-call]

            return hook

        hooks = [layer.register_forward_hook(note(name)) for name, layer in self.layers.items()]
        weights = {name: layer.weight for name, layer in self.layers.items() if layer.weight.requires_grad}
        try:
            with untouched(self.model), truth(self.model) if true else nullcontext(), torch.enable_grad():
                loss = self.loss(self.model(self.batch))
                found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        finally:
            for hook in hooks:
                hook.remove()
        updates = {name: -g for name, g in zip(weights, found, strict=True) if g is not None}
        return Pass(updates, {name: torch.cat(parts) for name, parts in signals.items()}, calls)


def _truly_sent(layer: Any, h: Tensor, dz: Tensor) -> Tensor:
    """Return Wᵀ ż."""
    h = h.detach().requires_grad_()
    with torch.enable_grad():
        z = layer.truly(h)
    return torch.autograd.grad(z, h, dz)[0]
