"""Angles and norms: forward against feedback weights, updates and error signals against backprop's; spectra.

Angles are signed: between 0 and π, with π/2 where either side vanishes and has no direction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from linfa.nn.monitors.interface import AbstractMonitor
from linfa.nn.monitors.probe import Probe


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle between two tensors, 2 atan2(‖â − b̂‖, ‖â + b̂‖): precise near 0 and π too.

    >>> a = torch.tensor([1.0, 0.0])
    >>> [round(float(angle(a, b)), 4) for b in (a, torch.tensor([0.0, 2.0]), -a, 0 * a)]
    [0.0, 1.5708, 3.1416, 1.5708]
    """
    a, b = _unit(a.double().flatten()), _unit(b.double().flatten())
    found = 2 * torch.atan2((a - b).norm(), (a + b).norm())
    both = (a != 0).any() | (b != 0).any()
    return torch.where(both, found, torch.full_like(found, torch.pi / 2))


def _unit(a: Tensor) -> Tensor:
    """Return a/‖a‖ along the last axis; zero stays zero."""
    norm = a.norm(dim=-1, keepdim=True)
    return a / torch.where(norm > 0, norm, torch.ones_like(norm))


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    """Return the mean cosine of rows."""
    return (_unit(a.double()) * _unit(b.double())).sum(-1).mean()


class WeightAngle(AbstractMonitor):
    """∠(W_l, B_l), with B_l the feedback as it is now: M ⊙ sign W, not M, for sign-concordant rules.

    Layers whose feedback has not the weight's shape (direct, dense) are left out.
    """

    name = "weight_angle"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return one angle per layer."""
        return {name: angle(W, B) for name, (W, B) in probe.matrices.items()}


class NormRatio(AbstractMonitor):
    """‖W_l‖/‖B_l‖; zero where the feedback vanishes."""

    name = "norm_ratio"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return one ratio per layer."""
        return {name: W.norm() / torch.where(B.any(), B.norm(), torch.inf) for name, (W, B) in probe.matrices.items()}


class Spectrum(AbstractMonitor):
    """The singular values of W_l, laid out with one row per output (transposed convolution: per input)."""

    name = "spectrum"

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return the singular values of each layer, largest first."""
        return {name: torch.linalg.svdvals(layer.weight.detach().flatten(1)) for name, layer in probe.layers.items()}


class UpdateAngle(AbstractMonitor):
    """∠(U_l, −∇_l): the rule's update against the true negative gradient, layer by layer."""

    name = "update_angle"
    gradients = True

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return one angle per layer."""
        fed, true = probe.fed.updates, probe.true.updates
        return {name: angle(fed[name], true[name]) for name in fed if name in true}


class SentAngle(AbstractMonitor):
    """arccos of the mean over samples of cos(B_lᵀ ż_l, W_lᵀ ż_l), for the ż_l that the rule sends.

    What layer l alone does to the signal that comes to it; `SignalAngle` has what all layers above have done as well.
    The first layer that is called sends no signal on, and is left out, like direct feedback, which does not come from
    ż_l. A sample without a signal counts as orthogonal.
    """

    name = "sent_angle"
    gradients = True

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return one angle per layer."""
        return {n: torch.arccos(_cosine(sent, true).clamp(-1, 1)) for n, (sent, true) in probe.sent.items()}


class SignalAngle(AbstractMonitor):
    """arccos of the mean over samples of cos(ż_l, true ż_l), at the layers' outputs.

    A sample without a signal counts as orthogonal.
    """

    name = "signal_angle"
    gradients = True

    def measure(self, probe: Probe) -> dict[str, Tensor]:
        """Return one angle per layer."""
        fed, true = probe.fed.signals, probe.true.signals
        return {n: torch.arccos(_cosine(fed[n], true[n]).clamp(-1, 1)) for n in fed if n in true}
