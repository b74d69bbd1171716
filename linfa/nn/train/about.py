"""What a run depends on, in words: what a checkpoint must agree with, and what a history says of how it was made."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

from linfa.nn.draws import AbstractDraw
from linfa.nn.layers import Fed
from linfa.nn.train.configuration import Training
from linfa.nn.train.data import Data
from linfa.nn.train.processes import digest


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


def drawn(layers: Iterable[str], state: Mapping[str, Any]) -> dict[str, str]:
    """Return by layer a digest of what its feedback holds: numbers, and seeds where it is drawn from them.

    Args:
        layers: the names of the layers with feedback.
        state: of a model, or of one that a checkpoint holds.

    >>> from linfa.nn import convert
    >>> one, same, other = (drawn([""], convert(nn.Linear(2, 1), "fa", seed=s).state_dict()) for s in (0, 0, 1))
    >>> one == same, one == other
    (True, False)
    """
    found = {}
    for layer in layers:
        prefix = f"{layer}.feedback." if layer else "feedback."
        # What counts the draws goes on with every step; the seed that they start from is held beside it.
        parts = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix) and k != f"{prefix}step"}
        words = repr([(k, digest(v)) for k, v in sorted(parts.items())])
        found[layer] = hashlib.sha256(words.encode()).hexdigest()
    return found


def options(feedback: nn.Module) -> dict[str, str]:
    """Return what a feedback goes by besides its buffers: numbers, words, and laws of its draws.

    >>> from linfa.nn import convert
    >>> options(convert(nn.Linear(2, 1), "interpolated").feedback)
    {'alpha': '0.5'}
    """
    plain = (bool, int, float, str, dict, AbstractDraw)
    known = {"training", "rule"}
    return {k: repr(v) for k, v in vars(feedback).items() if k[0] != "_" and k not in known and isinstance(v, plain)}
