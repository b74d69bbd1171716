"""From the library's linear networks to torch: the same matrices, the same rule, so that each can witness the other."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import linfa.rules as numpy_rules
from linfa.errors import InputError
from linfa.nn.direct import Direct, Taps
from linfa.nn.feedback import AbstractFeedback
from linfa.nn.layers import feed
from linfa.nn.rules.backprop import Mixed, Transported
from linfa.nn.rules.feedback_alignment import Fixed
from linfa.nn.rules.kolen_pollack import Twin
from linfa.nn.rules.sign_concordant import Magnitude, StrictNormal
from linfa.weights import Weights


def sequential(weights: Weights, rule: numpy_rules.AbstractRule) -> nn.Sequential:
    """Return the linear network x ↦ W_L … W_1 x as torch layers without bias, fed back as a rule of `linfa.rules` says.

    Layer 1 is left plain: nothing is sent back beyond it.

    Args:
        weights: W_1 … W_L, of one network.
        rule: backprop, feedback alignment, direct feedback, sign-concordant, strictly normalised, interpolated, or
            Kolen–Pollack (whose feedback `linfa.nn.follow` moves).

    Returns:
        The network, of the matrices' precision; layer l + 1 carries B_{l+1}, or F_l.

    Raises:
        InputError: where the weights are a batch of networks, the rule does not fit them, or torch has no such rule.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> rule = numpy_rules.FeedbackAlignment.random(net, rng=1)
    >>> model = sequential(net, rule)
    >>> bool(np.all(model[1].feedback.B.numpy() == rule.matrices[0]))
    True
    """
    if any(W.ndim > 2 for W in weights):
        raise InputError("torch layers hold one network; these weights are a batch of networks: take one of them")
    rule.check(weights)
    layers = [_layer(W) for W in weights]
    for k, layer in enumerate(layers[1:]):
        feedback = feedback_of(rule, k, layer.weight)
        feedback.rule = rule.name
        feed(layer, feedback)
    model = nn.Sequential(*layers)
    if isinstance(rule, numpy_rules.DirectFeedback):
        Taps().watch(model)
    return model


def _layer(W: Any) -> nn.Linear:
    given = torch.as_tensor(np.array(W))
    layer = nn.Linear(given.shape[1], given.shape[0], bias=False, dtype=given.dtype)
    with torch.no_grad():
        layer.weight.copy_(given)
    return layer


def _like(B: Any, W: torch.Tensor) -> torch.Tensor:
    return torch.as_tensor(np.array(B), dtype=W.dtype)


@functools.singledispatch
def feedback_of(rule: numpy_rules.AbstractRule, k: int, W: torch.Tensor) -> AbstractFeedback:  # noqa: ARG001
    """Return the feedback of the layer above hidden layer k + 1; register here what torch learns to do.

    Args:
        rule: a rule of `linfa.rules`.
        k: 0 for the feedback to hidden layer 1.
        W: the weight that it stands in for.
    """
    known = ", ".join(kind.__name__ for kind in feedback_of.registry if kind is not object)
    raise InputError(f"torch layers are made for {known}; got {type(rule).__name__}")


KINDS: dict[type[numpy_rules.AbstractRule], Callable[[Any, int, torch.Tensor], AbstractFeedback]] = {
    numpy_rules.Backprop: lambda rule, k, W: Transported(),
    numpy_rules.FeedbackAlignment: lambda rule, k, W: Fixed(W, _like(rule.matrices[k], W)),
    numpy_rules.DirectFeedback: lambda rule, k, W: Direct(_like(rule.matrices[k], W)),
    numpy_rules.SignConcordant: lambda rule, k, W: Magnitude(_like(rule.magnitudes[k], W)),
    numpy_rules.StrictNormalSign: lambda rule, k, W: StrictNormal(),
    numpy_rules.KolenPollack: lambda rule, k, W: Twin(W, _like(rule.matrices[k], W)),
    numpy_rules.Interpolated: lambda rule, k, W: Mixed(W, _like(rule.matrices[k], W), rule.alpha),
}
"""What stands for what."""

for _kind, _make in KINDS.items():
    feedback_of.register(_kind)(_make)
