"""When training leaves the finite numbers: seen before the step that would spread it, and traced to a layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import DivergenceError
from linfa.nn.feedback import AbstractFeedback


class Glance:
    """A look at the loss that does not hold the device up: it is asked for early and read late.

    Between the two the backward pass is on its way, so that on a GPU nobody waits; no weight has moved yet.
    """

    def __init__(self, loss: Tensor) -> None:
        self.event: Any = None
        self.value = loss.detach()
        if loss.is_cuda:
            self.value = torch.empty((), dtype=loss.dtype, pin_memory=True).copy_(self.value, non_blocking=True)
            self.event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.event.record()

    def read(self) -> float:
        """Return the loss."""
        if self.event is not None:
            self.event.synchronize()
        return self.value.item()


def diverged(model: nn.Module, x: Tensor, loss: float, when: str, rate: float) -> DivergenceError:
    """Return the error that says when, where and what to try.

    Args:
        model: with the weights that gave the loss.
        x: the batch it was given.
        loss: what came of it.
        when: in words.
        rate: the learning rate.
    """
    return DivergenceError(
        f"the loss is {loss} {when}: {first_offender(model, x)}; lower the learning rate (now {rate:g}), start "
        "smaller, or look at the data (the model is left with the weights that gave this loss)"
    )


@torch.no_grad()
def first_offender(model: nn.Module, x: Tensor) -> str:
    """Return what is not finite first: the batch, a parameter, or a module's output, in the order of the forward pass.

    >>> net = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    >>> _ = net[1].weight.data.fill_(float("inf"))
    >>> first_offender(net, torch.ones(1, 1))
    "the parameter '1.weight' is not finite"
    """
    if not _finite(x):
        return "the batch itself is not finite"
    found: list[str] = []

    def look(name: str, module: nn.Module) -> Any:
        def hook(*seen: Any) -> None:
            if found:
                return
            bad = [n for n, p in module.named_parameters(name, recurse=False) if not _finite(p)]
            if bad:
                found.append(f"the parameter {bad[0]!r} is not finite")
            elif isinstance(seen[-1], Tensor) and not _finite(seen[-1]):
                found.append(f"the output of {name!r} ({type(module).__name__}) is the first that is not finite")

        return hook

    leaves = [(n, m) for n, m in model.named_modules() if n and _is_leaf(m)] or [("the model", model)]
    hooks = [module.register_forward_hook(look(name, module)) for name, module in leaves]
    try:
        model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else "every layer is finite, the loss of the outputs is not"


def _is_leaf(module: nn.Module) -> bool:
    """Return whether a module computes something itself; what stands inside a feedback does not count."""
    return not [n for n, _ in module.named_children() if n != "feedback"] and not isinstance(module, AbstractFeedback)


def _finite(x: Tensor) -> bool:
    return bool(torch.isfinite(x).all())
