"""What a run depends on, in words: what a checkpoint must agree with, and what a history says of how it was made."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from linfa.nn.draws import AbstractDraw
from linfa.nn.layers import Fed
from linfa.nn.train.configuration import Training
from linfa.nn.train.data import Data


def about(model: nn.Module, data: Data, training: Training) -> dict[str, Any]:
    """Return rules and their options, training, data, modules and shapes, as plain JSON.

    Args:
        model: converted or not; what its tensors hold is not part of it.
        data: told by shapes and hashes.
        training: all of it but the number of epochs.

    >>> from linfa.nn import convert
    >>> from linfa.nn.train import SGD
    >>> import torch
    >>> net, data = convert(nn.Linear(2, 1), "fa"), Data(*[torch.ones(3, 2), torch.ones(3, 1)] * 2)
    >>> about(net, data, Training(SGD(0.1), epochs=1))["rules"]
    {'': 'fa'}
    """
    fed = {n: m.feedback for n, m in model.named_modules() if isinstance(m, Fed)}
    return {
        "rules": {n: feedback.rule for n, feedback in fed.items()},
        "options": {n: options(feedback) for n, feedback in fed.items()},
        "training": training.described(),
        "data": data.described(),
        "model": {n: f"{type(m).__name__}({m.extra_repr()})" for n, m in model.named_modules()},
        "state": {n: f"{v.dtype} {list(v.shape)}" for n, v in model.state_dict().items() if isinstance(v, Tensor)},
    }


def options(feedback: nn.Module) -> dict[str, str]:
    """Return what a feedback goes by besides its buffers: numbers, words, and laws of its draws.

    >>> from linfa.nn import convert
    >>> options(convert(nn.Linear(2, 1), "interpolated").feedback)
    {'alpha': '0.5'}
    """
    plain = (bool, int, float, str, dict, AbstractDraw)
    known = {"training", "rule"}
    return {k: repr(v) for k, v in vars(feedback).items() if k[0] != "_" and k not in known and isinstance(v, plain)}
