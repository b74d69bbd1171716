"""What functions between the layers do to a flow.

    like its input       positively homogeneous, number by number: Σ t ṫ is handed on
    moved                the names are moved as the numbers are, by the function itself
    pooled               every place takes from a neighbourhood of its own channel
    summed               t = a + b: t ṫ = a ṫ + b ṫ
    scaled               by a number that does not learn

Everything else is refused: what it reads and what it makes has no law, and the message says why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from linfa.nn.streams.channels import ZERO, Channels


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


LIKE = _names(
    """
    relu leaky_relu rrelu prelu abs neg positive dropout dropout1d dropout2d dropout3d feature_dropout
    clone contiguous identity to float double half bfloat16 type type_as
    """
)
MOVED = _names(
    """
    flatten reshape view view_as reshape_as transpose permute squeeze unsqueeze getitem chunk split cat
    concat concatenate stack expand expand_as repeat t movedim narrow select unbind tile flip roll
    unflatten pixel_shuffle pixel_unshuffle channel_shuffle swapaxes tensor_split index_select
    """
)
REDUCED = frozenset(["mean", "sum", "amax", "amin"])
SUMMED = frozenset(["add", "sub", "maximum", "minimum"])
SCALED = frozenset(["mul", "multiply", "div", "divide", "truediv"])
POOL = re.compile(r"(?:adaptive_)?(?:max|avg)_pool([123])d$")
WIDENED = frozenset(["interpolate", "upsample"])

MODULES: dict[type[nn.Module], str] = {
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.RReLU: "rrelu",
    nn.PReLU: "prelu",
    nn.Identity: "identity",
    nn.Dropout: "dropout",
    nn.Dropout1d: "dropout1d",
    nn.Dropout2d: "dropout2d",
    nn.Dropout3d: "dropout3d",
    nn.Upsample: "upsample",
    nn.UpsamplingNearest2d: "upsample",
    nn.UpsamplingBilinear2d: "upsample",
    nn.Flatten: "flatten",
    nn.Unflatten: "unflatten",
    nn.PixelShuffle: "pixel_shuffle",
    nn.PixelUnshuffle: "pixel_unshuffle",
    nn.ChannelShuffle: "channel_shuffle",
    **{
        getattr(nn, f"{how}{kind}Pool{n}d"): f"{how.lower() + '_' if how else ''}{kind.lower()}_pool{n}d"
        for n in (1, 2, 3)
        for how in ("", "Adaptive")
        for kind in ("Max", "Avg")
    },
    **{getattr(nn, f"{kind}Pad{n}d"): f"pad{n}" for kind in ("Zero", "Reflection", "Replication") for n in (1, 2, 3)},
}
"""Modules that are functions, by the function's name."""

CURVED = _names(
    """
    tanh sigmoid gelu silu mish softplus elu selu celu softsign hardtanh relu6 hardsigmoid hardswish
    logsigmoid tanhshrink softshrink hardshrink threshold erf exp log sin cos
    """
)
SQUARED = _names(
    """
    matmul bmm mm einsum scaled_dot_product_attention baddbmm pow square prod
    """
)


@dataclass(frozen=True)
class Call:
    """One call of a function: what went in and what came out, as values and as names.

    Args:
        again: the function of (args, keywords).
        args: values.
        keywords: values.
        ids: the same arguments, with names in the place of the activations.
        named: the same keywords, likewise.
        out: the value that came out.
    """

    again: Callable[[Any, Any], Any]
    args: Any
    keywords: dict[str, Any]
    ids: Any
    named: dict[str, Any]
    out: Any

    def moved(self) -> Any:
        """Return the names, moved as the values were."""
        return self.again(self.ids, self.named)


def reason(name: str) -> str:
    """Return why a function has no law.

    >>> reason("tanh")
    'tanh is not positively homogeneous: σ′(z)z ≠ σ(z)'
    """
    if name in CURVED:
        return f"{name} is not positively homogeneous: σ′(z)z ≠ σ(z)"
    if name in ("softmax", "log_softmax", "normalize"):
        return f"{name} divides by what it reads, so that it is not homogeneous of degree 1"
    if name in SQUARED:
        return f"{name} multiplies activations: the flow of a product is counted once for each factor"
    return f"{name} is not known to be positively homogeneous"


def follow(channels: Channels, name: str, call: Call) -> Any:
    """Return the names of what a function makes; None where it does not hand the flow on."""
    args, ids, out = call.args, call.ids, call.out
    x: Any = ids[0] if ids else next(iter(call.named.values()), None)
    if name in LIKE:
        return x
    if name in MOVED:
        return call.moved()
    if name in SUMMED and _both(call):
        return channels.join(ids[0], ids[1])
    if name in SCALED and len(args) == 2:
        return _scaled(name, call)
    if (pooled := POOL.match(name)) and isinstance(out, Tensor):
        return _spread(channels, x, int(pooled[1]), out)
    if name in WIDENED:
        return _spread(channels, x, out.ndim - 2, out)
    if name in REDUCED and isinstance(out, Tensor):
        return _reduced(channels, x, call)
    if name.startswith("pad"):
        return _padded(channels, name, x, call)
    return None


def _both(call: Call) -> bool:
    """Return whether two activations are added, with no more than a number before one of them."""
    scaled = call.keywords.get("alpha", 1)
    return len(call.args) == 2 and all(isinstance(i, Tensor) for i in call.ids) and isinstance(scaled, int | float)


def _scaled(name: str, call: Call) -> Tensor | None:
    """Return the names of an activation times a number, or divided by one; of a number times an activation."""
    (a, b), (i, j) = call.args, call.ids
    product = name.startswith("mul")
    if isinstance(a, int | float) and product:
        a, b, i, j = b, a, j, i
    if not isinstance(b, int | float) or not isinstance(i, Tensor):
        return None
    return torch.full((), ZERO).expand(call.out.shape) if b == 0 and product else i


def _spread(channels: Channels, ids: Tensor, n: int, out: Tensor) -> Tensor:
    """Return the names of a map whose every place takes from its own channel, n trailing dimensions wide."""
    return channels.gather(ids, range(-n, 0)).expand(out.shape)


def _reduced(channels: Channels, ids: Tensor, call: Call) -> Tensor:
    dims = call.keywords.get("dim", call.args[1] if len(call.args) > 1 else None)
    dims = tuple(range(ids.ndim)) if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
    return channels.gather(ids, dims).reshape(call.out.shape)


def _padded(channels: Channels, name: str, ids: Tensor, call: Call) -> Tensor | None:
    """Return the names of a padded map: zeros have none, every other padding repeats its own channel."""
    if name != "pad":
        return _spread(channels, ids, int(name[3:]), call.out)
    given = dict(zip(("input", "pad", "mode", "value"), call.args, strict=False)) | call.keywords
    if given.get("mode", "constant") != "constant":
        return _spread(channels, ids, len(given["pad"]) // 2, call.out)
    if given.get("value") not in (None, 0):
        return None
    return nn.functional.pad(ids, given["pad"], value=ZERO)
