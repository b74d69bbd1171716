"""How torch's SGD moves a parameter: a multiple of the rule's update, and what is known before the step.

    g = U − λs,   v⁺ = μv + (1 − τ)g,   s⁺ = s + ηv⁺        (momentum μ, dampening τ; at the first step v⁺ = g)
    g = U − λs,   v⁺ = μv + g,          s⁺ = s + η(g + μv⁺)     (Nesterov's variant)

so that s⁺ − s = r U + known, where neither the rate r nor `known` depends on U.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer

from linfa.errors import InputError, NoLawError

WHY = {
    "Adam": "divides by a running mean of squared gradients",
    "AdamW": "divides by a running mean of squared gradients",
    "Adamax": "divides by a running maximum of gradients",
    "NAdam": "divides by a running mean of squared gradients",
    "RAdam": "divides by a running mean of squared gradients",
    "Adagrad": "divides by the sum of squared gradients",
    "Adadelta": "divides by a running mean of squared gradients",
    "RMSprop": "divides by a running mean of squared gradients",
    "Rprop": "follows the signs of the gradient alone",
    "LBFGS": "multiplies by an estimate of the inverse Hessian",
    "ASGD": "averages its iterates",
    "LARS": "scales every layer by the ratio of its norms",
    "LAMB": "divides by a running mean of squared gradients and scales every layer",
    "Lion": "follows the signs of the gradient alone",
    "Muon": "orthogonalises the gradient",
}
"""Why an optimiser's step is no multiple of the rule's update, so that nothing can be said of the laws."""


def check(optimizer: Optimizer) -> None:
    """Raise NoLawError unless the optimiser's step is a multiple of U and what is known beforehand."""
    name = type(optimizer).__name__
    if type(optimizer) is not SGD:
        why = WHY.get(name, "is not known to move by a multiple of the gradient, its momentum and its decay")
        raise NoLawError(f"{name} {why}, so no law can be kept account of: use torch.optim.SGD")
    if len({bool(g["maximize"]) for g in optimizer.param_groups}) > 1:
        raise NoLawError("some parameters go up the gradient and some down, so that no law holds")


def rate_of(group: dict[str, Any], momentum: Tensor | None) -> float:
    """Return how far one unit of U moves a parameter: η, η(1 − dampening), or η(1 + μ) with Nesterov's variant."""
    η, μ = group["lr"], group["momentum"]
    if isinstance(η, Tensor):
        raise InputError("the ledger needs the learning rate as a number: a tensor would have to be waited for")
    if μ == 0:
        return float(η)
    if group["nesterov"]:
        return float(η * (1 + μ))
    return float(η * (1 - group["dampening"]) if momentum is not None else η)


def known_parts(group: dict[str, Any], momenta: list[Tensor] | None, s: list[Tensor]) -> list[Tensor] | None:
    """Return what momentum and decay add to a step, u − rU, for tensors s; None where they add nothing.

    Args:
        group: the options.
        momenta: the buffers, which hold −v, or None before the first step.
        s: the tensors before the step.
    """
    η, λ, μ = group["lr"], group["weight_decay"], group["momentum"]
    decay = -rate_of(group, momenta[0] if momenta else None) * λ
    if μ == 0 or momenta is None:
        return list(torch._foreach_mul(s, decay)) if λ else None
    # Nesterov's step is η(g + μv⁺).
    known = list(torch._foreach_mul(momenta, -η * μ * (μ if group["nesterov"] else 1.0)))
    if λ:
        torch._foreach_add_(known, s, alpha=decay)
    return known
