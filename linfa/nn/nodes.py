"""The autograd nodes of feedback layers: what a linear map keeps on the way forward, and sends on the way back.

Backward B = make(*tensors) stands in the weight's slot; for a convolution Bᵀ is the transposed convolution with B, and
Ẇ comes from the same call, so that no operation is added.
"""

# ruff: noqa: ARG004 (autograd calls its static methods with more than they need)

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear as torch_linear

from linfa.errors import InputError


class Geometry(NamedTuple):
    """How a convolution slides: everything about it but its tensors."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    transposed: bool
    output_padding: tuple[int, ...]
    groups: int


class _Once(torch.autograd.Function):
    """The identity on gradients; its own derivative is refused, because feedback is no derivative of anything."""

    generate_vmap_rule = True

    @staticmethod
    def forward(gradient: Tensor, behind: Tensor | None) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise InputError(
            "a second derivative was asked for through a feedback layer: what B sends back is not the derivative of "
            "anything, so it has none; take second derivatives on the model as it was before linfa.nn.convert"
        )


def once(*gradients: Tensor | None, behind: Tensor | None = None) -> list[Tensor | None]:
    """Return the gradients, marked where somebody might differentiate them again: that raises.

    Args:
        gradients: where they depend on nothing that can be differentiated, they are left alone;
        behind: unless something is given that what they are made into will depend on.

    >>> once(torch.ones(1), None)
    [tensor([1.]), None]
    """
    if not torch.is_grad_enabled():
        return list(gradients)
    marked: Any = _Once.apply
    return [marked(g, behind) if g is not None and (g.requires_grad or behind is not None) else g for g in gradients]


class Linear(torch.autograd.Function):
    """z = W h + b; backward ḣ = Bᵀ ż, Ẇ = ż hᵀ, ḃ = ż."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, W: Tensor, b: Tensor | None, make: Any, *tensors: Tensor) -> Tensor:
        """Return W h + b."""
        # Other than two axes would make z a view of what was worked out, and an activation in place an error.
        z = torch_linear(h.reshape(-1, W.shape[1]), W, b)
        return z if h.ndim == 2 else fresh(z, [*h.shape[:-1], W.shape[0]])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep h, and what B is made from."""
        h, _, _, ctx.make, *tensors = inputs
        ctx.save_for_backward(h, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return ḣ, Ẇ, ḃ."""
        (dz,), (h, *tensors) = gradients, ctx.saved_tensors
        dh = dW = db = None
        if ctx.needs_input_grad[0]:
            dh = dz @ ctx.make(*tensors).to(dz.dtype)
        if ctx.needs_input_grad[1]:
            dW = dz.flatten(0, -2).mT @ h.flatten(0, -2) if dz.ndim > 1 else dz[:, None] * h
        if ctx.needs_input_grad[2]:
            db = dz.flatten(0, -2).sum(0) if dz.ndim > 1 else dz
        return *once(dh, dW, db), None, *[None] * len(tensors)


class Convolution(torch.autograd.Function):
    """z = W ∗ h + b; backward all from one call, with B where W was."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, W: Tensor, b: Tensor | None, how: Geometry, make: Any, *tensors: Tensor) -> Tensor:
        """Return W ∗ h + b."""
        z: Tensor = torch.ops.aten.convolution(h, W, b, *how)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep h, and what B is made from."""
        h, W, _, ctx.how, ctx.make, *tensors = inputs
        ctx.shape = W.shape
        ctx.save_for_backward(h, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return ḣ, Ẇ, ḃ."""
        (dz,), (h, *tensors) = gradients, ctx.saved_tensors
        wanted = [bool(w) for w in ctx.needs_input_grad[:3]]
        # Where no signal is sent back, only the shape of the weight's slot is looked at.
        B = ctx.make(*tensors).to(dz.dtype) if wanted[0] else dz.new_empty(1).expand(ctx.shape)
        bias_size = [ctx.shape[1] * ctx.how.groups if ctx.how.transposed else ctx.shape[0]]
        dh, dW, db = torch.ops.aten.convolution_backward(dz, h, B, bias_size, *ctx.how, wanted)
        return *once(dh, dW, db), None, None, *[None] * len(tensors)


class SendBack(torch.autograd.Function):
    """The identity on z; backward ḣ = Bᵀ ż as well, maps laid out flat."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, h: Tensor, make: Any, *tensors: Tensor) -> Tensor:
        """Return z."""
        return fresh(z, z.shape)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what B is made from."""
        _, h, ctx.make, *tensors = inputs
        ctx.shape = h.shape
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return ż, ḣ."""
        (dz,), tensors, dh = gradients, ctx.saved_tensors, None
        if ctx.needs_input_grad[1]:
            dh = (dz.flatten(1) @ ctx.make(*tensors).to(dz.dtype)).view(ctx.shape)
        return *once(dz if ctx.needs_input_grad[0] else None, dh), None, *[None] * len(tensors)


def fresh(z: Tensor, shape: Sequence[int]) -> Tensor:
    """Return a layer's own output in a shape, no view in autograd's eyes: an activation may then work in place.

    >>> fresh(torch.ones(2), [2, 1]).shape
    torch.Size([2, 1])
    """
    made: Tensor = torch.ops.aten._unsafe_view(z, list(shape))
    return made


_nodes: tuple[Any, ...] = (_Once, Linear, Convolution, SendBack)
for _node in _nodes:
    # torch looks the signature up at every call, which costs more than all else that a small layer does.
    _node.forward.__signature__ = inspect.signature(_node.forward)
