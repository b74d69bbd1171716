"""Starts of feedback alignment that look at the feedback once, how far alignment dominates there, and a watched run.

dominated   W_l = B_l, and rows as short as dominance asks for (`linfa.nn.dominate`): κ_k ≥ 0 at every channel
aligned     W_l = B_l alone: aligned, not dominated                                             (control)
scaled      rows as long as the dominated ones, in their random directions: not aligned         (control)
random      as drawn
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from linfa.errors import InputError
from sims.rates import bounded

if TYPE_CHECKING:
    from torch import nn

    from linfa.nn.train import Data, Training

READINGS = 8
"""How often alignment is read while a net trains, roughly."""

STARTS = ("dominated", "aligned", "scaled", "random")


def begin(net: nn.Module, example: Any, start: str) -> None:
    """Begin a net under feedback alignment at one of `STARTS`; its feedback stays what it is.

    Args:
        net: converted, where a layer has feedback under "fa"; changed in place.
        example: inputs, as for `linfa.nn.laws`.
        start: one of `STARTS`.

    >>> import torch
    >>> from linfa.nn import convert, models
    >>> net, x = convert(models.make("mlp", widths=(5, 4, 3, 2)), "fa"), torch.ones(2, 5)
    >>> begin(net, x, "dominated")
    >>> margin(net, x) > 0
    True
    """
    import torch

    from linfa.nn import dominate, fed_layers

    if start not in STARTS:
        raise InputError(f"a start is one of {', '.join(STARTS)}; got {start!r}")
    layers = fed_layers(net)
    before = {name: layer.weight.detach().clone() for name, layer in layers.items()}
    if start in ("dominated", "scaled"):
        dominate(net, example)
    with torch.no_grad():
        for name, layer in layers.items():
            if start == "aligned" and name != next(iter(layers)):
                layer.weight.copy_(layer.feedback.matrix(layer.weight))
            if start == "scaled":
                V, rows = before[name], [-1, *[1] * (layer.weight.ndim - 1)]
                lengths = layer.weight.flatten(1).norm(dim=1) / V.flatten(1).norm(dim=1)
                layer.weight.copy_(V * lengths.view(rows))


def margin(net: nn.Module, example: Any) -> float:
    """Return the least κ_k over the largest Σ_writers ½‖·‖² of its law; nan where feedback is not fixed."""
    from linfa.nn import fed_layers, laws
    from linfa.nn.dominated import owed
    from linfa.nn.monitors import Dominance, Monitors

    if all(layer.feedback.rule != "fa" for layer in fed_layers(net).values()):
        return float("nan")
    streams = laws(net, example)
    found, scale = Monitors(net, [Dominance(streams)]).read()["dominance"], owed(streams)
    scales = {law.name: float(scale[law.place].max()) for law in streams}
    return min(float(margins.min()) / scales[name] for name, margins in found.items())


def watched(net: nn.Module, data: Data, training: Training, example: Any) -> dict[str, Any]:
    """Train, and return accuracies and losses by epoch, cos∠(U, −∇) of hidden layers, and `margin` before and after.

    Args:
        net: at its start.
        data: of n classes.
        training: how.
        example: inputs, as for `margin`.

    Raises:
        DivergenceError: where the loss ends above twice that of guessing: weights have grown out of bounds, and what
            such a net still gets right says nothing of its rule.
    """
    from linfa.nn.monitors import UpdateAngle
    from linfa.nn.train import Monitored, fit

    first, steps = margin(net, example), training.epochs * -(-len(data) // training.batch)
    look = Monitored((UpdateAngle(),), max(1, steps // READINGS))
    run = fit(net, data, training, watch={"look": look}).dataset
    bounded(run["loss"].values, int(data.targets.max()) + 1)
    # The read-out's update is the gradient under every rule: it says nothing.
    cosines = np.cos(run["look_update_angle"].values[:, :-1])
    return {
        "accuracy": run["accuracy"].values,
        "test_accuracy": run["test_accuracy"].values,
        "loss": run["loss"].values,
        "alignment": float(cosines.mean()),
        "margin": first,
        "last_margin": margin(net, example),
    }
