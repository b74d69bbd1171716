"""Does alignment dominate? By the neurons' margins (theory's A1), and at this moment, by layer (A4)."""

from __future__ import annotations

import torch
from torch import Tensor

from linfa.errors import InputError
from linfa.nn.monitors.interface import AbstractMonitor
from linfa.nn.monitors.probe import Probe
from linfa.nn.streams import Streams
from linfa.nn.streams.law import add
from linfa.nn.streams.terms import entries


class Dominance(AbstractMonitor):
    """κ_k = Σ_readers ⟨W[:,k], B[:,k]⟩ − Σ_writers ½‖·‖², channel by channel of every stream.

    Under feedback alignment a channel that starts with κ_k ≥ 0 stays aligned for ever.

    Args:
        streams: the model's laws, from `linfa.nn.laws`; those of direct feedback have no such margin.
    """

    name = "dominance"

    def __init__(self, streams: Streams) -> None:
        if not streams.readers:
            raise InputError("no law trades against a feedback of the weight's shape, so there is no margin to watch")
        self.streams = streams
        read = {k for term in streams.readers for k in term.index.tolist()}
        self._traded = [law for law in streams if law.place.start in read]

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return the margins of each law's channels."""
        margin = self.streams.nothing()
        for term in self.streams.readers:
            layer = term.module
            W = layer.weight.detach().double()
            B = layer.feedback.matrix(layer.weight).double() if hasattr(layer, "feedback") else W
            add(margin, term.index, term.slots.sum(W * B))
        for writer in self.streams.writers:
            add(margin, writer.index, -writer.slots.sum(entries(writer.moved) ** 2) / 2)
        return {law.name: margin[law.place] for law in self._traded}


class DynamicDominance(AbstractMonitor):
    """μ = Σ_l ⟨U_l, −∇_l⟩ / Σ_l ‖∇_l‖², and what each layer gives to it: the loss falls as dL/dt = −μ Σ‖∇‖².

    The layers' parts add up to "all"; alignment dominates while that is positive, and zero where the gradient vanishes.
    """

    name = "dynamic_dominance"
    gradients = True

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return each layer's part of μ, and μ itself under "all"."""
        fed, true = probe.fed.updates, probe.true.updates
        gains = {n: (fed[n].double() * true[n].double()).sum() for n in true if n in fed}
        whole = torch.stack([g.double().square().sum() for g in true.values()]).sum()
        parts = {n: gain / torch.where(whole > 0, whole, torch.inf) for n, gain in gains.items()}
        return {**parts, "all": torch.stack(list(parts.values())).sum()}
