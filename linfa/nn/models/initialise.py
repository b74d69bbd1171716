"""How a model starts: as torch does it, or as a paper does."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from linfa.nn.layers import FED


@torch.no_grad()
def xavier(model: nn.Module) -> None:
    """Draw every weight uniform with variance 2/(fan in + fan out), and set every bias to zero.

        W_ij ~ U(−a, a),   a = √(6/(fan in + fan out)),   b = 0

    Args:
        model: changed in place; normalisations stay as they are.

    >>> layer = nn.Linear(3, 3)
    >>> xavier(layer)
    >>> bool(layer.weight.abs().max() <= 1), layer.bias.tolist()
    (True, [0.0, 0.0, 0.0])

    Source: Glorot & Bengio 2010; the start of BioTorch (Sanfiz & Akrout 2021).
    """
    for layer in model.modules():
        if isinstance(layer, tuple(FED)):
            how: Any = layer
            nn.init.xavier_uniform_(how.weight)
            if how.bias is not None:
                nn.init.zeros_(how.bias)
