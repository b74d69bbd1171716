"""Feedback that learns: B is a buffer of its layer, moved beside the weights by an optimiser of its own.

`follow(model, optimizer)` makes that optimiser. Before every step of the model's, each learnt feedback is asked for its
*pull* (what plays the part of its gradient), from the same activity and the same gradients that move the weights:

    Kolen–Pollack          pull = ∂ℓ/∂W                      with the weight's rate, momentum and decay: Ḃ = Ẇ
    weight mirror          pull = λB − E[W ξ ξᵀ]             noise ξ through the layer
    two routes             pull = ∂R/∂B                      a local cost R of h, W and B
    product feedback       pull = ∂ℓ/∂W Pᵀ on R, B = R P     with the weight's rate, momentum and decay
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from linfa.errors import InputError
from linfa.nn.feedback import AbstractSlot, LinearMap
from linfa.nn.layers import Fed

_FOLLOWED: WeakKeyDictionary[nn.Module, RemovableHandle] = WeakKeyDictionary()
"""The feedback that an optimiser moves, and its hook; a copy of a model is not followed until it is asked for."""


class AbstractLearnt(AbstractSlot):
    """Feedback with a motion of its own.

    Args:
        rate: the step size of its own plain steps; None to move as the weight does, with its optimiser's options.
    """

    seen: Tensor | None = None
    """The activity that its next step goes by, where it goes by one; detached."""

    def __init__(self, rate: float | None) -> None:
        super().__init__()
        self.rate = rate

    @property
    def followed(self) -> bool:
        """Whether an optimiser moves it."""
        return self in _FOLLOWED

    @abstractmethod
    def learnt(self) -> Tensor:
        """Return the buffer that moves."""

    @abstractmethod
    def pull(self, layer: LinearMap) -> Tensor | None:
        """Return what plays the part of the buffer's gradient; None where the layer took no part in this step."""


def follow(model: nn.Module, optimizer: Optimizer) -> Optimizer | None:
    """Let every learnt feedback of a model move beside its weights, whenever an optimiser steps.

    Args:
        model: a converted model.
        optimizer: the one that steps the model's weights.

    Returns:
        The optimiser of the feedback, of the same class: keep its `state_dict` in checkpoints. None where no feedback
        of the model learns.

    Raises:
        InputError: where a weight whose feedback follows it is not in the optimiser, or the model is followed already.

    >>> from linfa.nn import convert
    >>> net = convert(nn.Linear(2, 2), "kp")
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> gap = net.feedback.B - net.weight
    >>> beside = follow(net, optimizer)
    >>> net(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> bool(torch.allclose(net.feedback.B - net.weight, gap))
    True
    """
    layers = _learning(model)
    if not layers:
        return None
    groups = [_group(name, layer, optimizer) for name, layer in layers.items()]
    beside = cast(Any, type(optimizer))(groups)

    def before(*_: Any) -> None:
        if hasattr(optimizer, "found_inf"):
            raise InputError(
                f"a fused {type(optimizer).__name__} undoes the loss scale within its own step, so that feedback that "
                "learns cannot follow: give fused=False under a GradScaler"
            )
        for group, layer in zip(beside.param_groups, layers.values(), strict=True):
            leader = group.get("leader")
            if leader is not None:
                group |= {k: v for k, v in optimizer.param_groups[leader].items() if k != "params"}
            with torch.no_grad():
                group["params"][0].grad = layer.feedback.pull(layer)
        beside.step()
        for group in beside.param_groups:
            group["params"][0].grad = None  # or it would be held beside the next one

    handle = optimizer.register_step_pre_hook(before)
    for layer in layers.values():
        _FOLLOWED[layer.feedback] = handle
    return cast(Optimizer, beside)


def unfollow(model: nn.Module) -> None:
    """Let the learnt feedback of a model rest where it is; nothing happens where none is followed.

    >>> from linfa.nn import convert
    >>> net = convert(nn.Linear(2, 2), "kp")
    >>> beside = follow(net, torch.optim.SGD(net.parameters(), lr=0.1))
    >>> unfollow(net)
    >>> net.feedback.followed
    False
    """
    for layer in _learning(model).values():
        handle = _FOLLOWED.pop(layer.feedback, None)
        if handle is not None:
            handle.remove()


def _learning(model: nn.Module) -> dict[str, Any]:
    """Return the layers whose feedback learns, by name."""
    fed: dict[str, Any] = {name: module for name, module in model.named_modules() if isinstance(module, Fed)}
    return {name: layer for name, layer in fed.items() if isinstance(layer.feedback, AbstractLearnt)}


def _group(name: str, layer: Any, optimizer: Optimizer) -> dict[str, Any]:
    """Return the parameter group of one feedback."""
    feedback: AbstractLearnt = layer.feedback
    if feedback.followed:
        raise InputError(f"the feedback of {name or 'the model'} follows an optimiser already: call unfollow first")
    moved = [feedback.learnt()]
    if feedback.rate is not None:
        return {"params": moved, "lr": feedback.rate, "weight_decay": 0.0, **_plain(optimizer)}
    for number, group in enumerate(optimizer.param_groups):
        if any(p is layer.weight for p in group["params"]):
            return {**{k: v for k, v in group.items() if k != "params"}, "params": moved, "leader": number}
    raise InputError(
        f"the weight of {name or 'the model'} is not in the optimiser, so its feedback ({feedback.rule}) cannot follow "
        "it: make the optimiser of model.parameters()"
    )


def _plain(optimizer: Optimizer) -> dict[str, Any]:
    """Return the options that switch momentum off, where the optimiser has it."""
    return {"momentum": 0.0} if "momentum" in optimizer.defaults else {}
