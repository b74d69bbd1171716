"""Multilayer perceptrons of any widths."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

from torch import nn

from linfa.errors import InputError


def mlp(
    widths: Sequence[int] = (784, 512, 512, 10),
    *,
    activation: Callable[[], nn.Module] | None = nn.ReLU,
    bias: bool = True,
    norm: bool = False,
) -> nn.Sequential:
    """Return f = W_L σ(… σ(W_1 x + b_1) …) + b_L, for inputs of any shape, which are laid out flat.

    Args:
        widths: n_0 … n_L.
        activation: makes σ; None for a linear net.
        bias: whether there are b_l.
        norm: whether BatchNorm stands between W_l and σ (then it brings the bias of the hidden layers).

    Raises:
        InputError: where fewer than two widths are given, or one is no whole number ≥ 1.

    >>> [tuple(p.shape) for p in mlp((4, 3, 2), bias=False).parameters()]
    [(3, 4), (2, 3)]
    """
    if len(widths) < 2 or any(not isinstance(n, int) or n < 1 for n in widths):
        raise InputError(f"widths are whole numbers ≥ 1, n_0 … n_L, at least two; got {tuple(widths)}")
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    for l, (n_in, n_out) in enumerate(zip(widths, widths[1:], strict=False), start=1):
        hidden = l < len(widths) - 1
        layers[f"fc{l}"] = nn.Linear(n_in, n_out, bias=bias and not (hidden and norm))
        if hidden and norm:
            layers[f"norm{l}"] = nn.BatchNorm1d(n_out)
        if hidden and activation is not None:
            layers[f"act{l}"] = activation()
    return nn.Sequential(layers)
