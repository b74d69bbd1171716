"""Linear maps that are seen forward through W and backward through B: one autograd node each, at backprop's price.

    z = W h + b        forward
    ḣ = Bᵀ ż           backward: the feedback stands in the weight's slot
    Ẇ = ż hᵀ, ḃ = ż    as in backprop; the gradient of W does not depend on W

For a convolution Bᵀ is the transposed convolution with B, and Ẇ comes from the same call, so that no operation is
added.
"""

# ruff: noqa: ARG004 (autograd calls its static methods with more than they need)

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear as torch_linear
from torch.nn.functional import pad

from linfa.errors import InputError
from linfa.nn.compiled import mend


class Made(NamedTuple):
    """A feedback that is worked out when the backward pass needs it, and so takes no memory: B = make(*tensors).

    Args:
        make: a pure function; it must not remember tensors of its own.
        tensors: what it is made from. They are saved as inputs of the node, so that a change in place between forward
            and backward is an error, as it is for every saved tensor.

    >>> Made(torch.sign, (torch.tensor([-2.0, 3.0]),))()
    tensor([-1.,  1.])
    """

    make: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()

    def __call__(self) -> Tensor:
        """Return B."""
        return self.make(*self.tensors)


Feedback = Tensor | Made
"""B, of the weight's shape, or how it is made in the backward pass."""


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
    def forward(gradient: Tensor) -> Tensor:
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


def _once(*gradients: Tensor | None) -> list[Tensor | None]:
    """Return the gradients, marked where somebody might differentiate them again."""
    if not torch.is_grad_enabled():
        return list(gradients)
    once: Any = _Once.apply
    return [once(g) if g is not None and g.requires_grad else g for g in gradients]


class _Linear(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, W: Tensor, b: Tensor | None, make: Any, *tensors: Tensor) -> Tensor:
        # Other than two axes would make z a view of what was worked out, and an activation in place an error.
        z = torch_linear(h.reshape(-1, W.shape[1]), W, b)
        made: Tensor = z if h.ndim == 2 else torch.ops.aten._unsafe_view(z, [*h.shape[:-1], W.shape[0]])
        return made

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        h, _, _, ctx.make, *tensors = inputs
        ctx.save_for_backward(h, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dz,), (h, *tensors) = gradients, ctx.saved_tensors
        dh = dW = db = None
        if ctx.needs_input_grad[0]:
            dh = dz @ ctx.make(*tensors).to(dz.dtype)
        if ctx.needs_input_grad[1]:
            dW = dz.flatten(0, -2).mT @ h.flatten(0, -2) if dz.ndim > 1 else dz[:, None] * h
        if ctx.needs_input_grad[2]:
            db = dz.flatten(0, -2).sum(0) if dz.ndim > 1 else dz
        return *_once(dh, dW, db), None, *[None] * len(tensors)


class _Convolution(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, W: Tensor, b: Tensor | None, how: Geometry, make: Any, *tensors: Tensor) -> Tensor:
        z: Tensor = torch.ops.aten.convolution(h, W, b, *how)
        return z

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        h, W, _, ctx.how, ctx.make, *tensors = inputs
        ctx.shape = W.shape
        ctx.save_for_backward(h, *tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (dz,), (h, *tensors) = gradients, ctx.saved_tensors
        wanted = [bool(w) for w in ctx.needs_input_grad[:3]]
        # Where no signal is sent back, only the shape of the weight's slot is looked at.
        B = ctx.make(*tensors).to(dz.dtype) if wanted[0] else dz.new_empty(1).expand(ctx.shape)
        bias_size = [ctx.shape[1] * ctx.how.groups if ctx.how.transposed else ctx.shape[0]]
        dh, dW, db = torch.ops.aten.convolution_backward(dz, h, B, bias_size, *ctx.how, wanted)
        return *_once(dh, dW, db), None, None, *[None] * len(tensors)


class _SendBack(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, h: Tensor, B: Tensor) -> Tensor:
        return z.view_as(z)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, h, B = inputs
        ctx.shape = h.shape
        ctx.save_for_backward(B)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ((dz,), (B,)) = gradients, ctx.saved_tensors
        dh = (dz.flatten(1) @ B).view(ctx.shape) if ctx.needs_input_grad[1] else None
        return *_once(dz if ctx.needs_input_grad[0] else None, dh), None


for _node in (_Once, _Linear, _Convolution, _SendBack):
    # torch looks the signature up at every call, which costs more than all else that a small layer does.
    _node.forward.__signature__ = inspect.signature(_node.forward)  # type: ignore[attr-defined]


def linear(h: Tensor, W: Tensor, B: Feedback, b: Tensor | None = None) -> Tensor:
    """Return z = W h + b, whose error comes back as ḣ = Bᵀ ż.

    Args:
        h: shape (..., n_in).
        W: shape (n_out, n_in).
        B: the feedback, of the shape of W; or how it is `Made` when it is needed.
        b: shape (n_out,), or None.

    Returns:
        z of shape (..., n_out).

    Raises:
        InputError: where B has not the shape of W.

    >>> h, W, B = torch.ones(1, 2, requires_grad=True), torch.eye(2), 2 * torch.eye(2)
    >>> linear(h, W, B).sum().backward()
    >>> h.grad.tolist()
    [[2.0, 2.0]]
    """
    _check(W, B)
    h, W, b = _as_autocast(h, W, b)
    return _Linear.apply(h, W, b, *_recipe(B))  # type: ignore[no-any-return, no-untyped-call]


def convolution(
    h: Tensor,
    W: Tensor,
    B: Feedback,
    b: Tensor | None = None,
    *,
    stride: int | Sequence[int] = 1,
    padding: int | str | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
    transposed: bool = False,
    output_padding: int | Sequence[int] = 0,
) -> Tensor:
    """Return z = W ∗ h + b in one, two or three dimensions, whose error comes back as ḣ = Bᵀ ∗ ż.

    Args:
        h: shape (N, C_in, …) or, unbatched, (C_in, …).
        W: shape (C_out, C_in/groups, …), transposed: (C_in, C_out/groups, …).
        B: the feedback, of the shape of W; or how it is `Made` when it is needed.
        b: shape (C_out,), or None.
        stride: as in torch, like all that follow; one number, or one per dimension.
        padding: numbers, "same" or "valid".
        dilation: the spacing of the kernel.
        groups: how many blocks the channels fall into.
        padding_mode: "zeros", "reflect", "replicate" or "circular"; the padding itself sends the error back truly.
        transposed: whether W is used the other way round.
        output_padding: of a transposed convolution.

    Raises:
        InputError: where B has not the shape of W, or the padding cannot be done.

    >>> h, W = torch.ones(1, 1, 3, requires_grad=True), torch.ones(1, 1, 1)
    >>> convolution(h, W, 5 * W).sum().backward()
    >>> h.grad.tolist()
    [[[5.0, 5.0, 5.0]]]
    """
    _check(W, B)
    n = W.ndim - 2
    single = h.ndim == n + 1
    spacing = _each(dilation, n)
    h, margin = _padded(h[None] if single else h, _margins(padding, W.shape[2:], spacing), padding_mode)
    how = Geometry(_each(stride, n), margin, spacing, transposed, _each(output_padding, n), groups)
    h, W, b = _as_autocast(h, W, b)
    z: Tensor = _Convolution.apply(h, W, b, how, *_recipe(B))  # type: ignore[no-untyped-call]
    return z[0] if single else z


def send_back(z: Tensor, h: Tensor, B: Tensor) -> Tensor:
    """Return z as it is, and send its error to h through a dense matrix: ḣ = Bᵀ ż, maps laid out flat.

    Args:
        z: shape (N, …); should be made from `h.detach()`, or the error comes back both ways.
        h: shape (N, …).
        B: shape (numbers in one sample's z, numbers in one sample's h).

    >>> h = torch.ones(1, 2, 1, requires_grad=True)
    >>> send_back(3 * h.detach(), h, torch.eye(2)).sum().backward()
    >>> h.grad.flatten().tolist()
    [1.0, 1.0]
    """
    needed = (z[0].numel(), h[0].numel())
    if tuple(B.shape) != needed:
        raise InputError(
            f"dense feedback has one row per number in z and one column per number in h, {needed}; got {tuple(B.shape)}"
        )
    return _SendBack.apply(z, h, B.to(z.dtype))  # type: ignore[no-any-return, no-untyped-call]


def _check(W: Tensor, B: Feedback) -> None:
    if isinstance(B, Tensor) and B.shape != W.shape:
        raise InputError(
            f"the feedback has the shape of the weight it stands in for, {tuple(W.shape)}; got {tuple(B.shape)}"
        )


def _recipe(B: Feedback) -> tuple[Any, ...]:
    """Return (make, *tensors)."""
    if torch.compiler.is_compiling():
        mend()
    return (_itself, B) if isinstance(B, Tensor) else (B.make, *B.tensors)


def _itself(B: Tensor) -> Tensor:
    return B


def _each(value: int | Sequence[int], n: int) -> tuple[int, ...]:
    """Return one number per dimension."""
    return (value,) * n if isinstance(value, int) else tuple(value)


def _margins(
    padding: int | str | Sequence[int], kernel: Sequence[int], spacing: Sequence[int]
) -> list[tuple[int, int]]:
    """Return what is added before and after, dimension by dimension."""
    if padding == "same":
        added = [d * (k - 1) for d, k in zip(spacing, kernel, strict=True)]
        return [(a // 2, a - a // 2) for a in added]
    if padding == "valid":
        return [(0, 0)] * len(kernel)
    if isinstance(padding, str):
        raise InputError(f"padding is a number, one number per dimension, 'same' or 'valid'; got {padding!r}")
    return [(p, p) for p in _each(padding, len(kernel))]


def _padded(h: Tensor, margins: list[tuple[int, int]], mode: str) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input and the symmetric zeros that the convolution itself can add; all other padding is made here."""
    zeros = mode == "zeros"
    if zeros and all(before == after for before, after in margins):
        return h, tuple(before for before, _ in margins)
    flat = [side for pair in reversed(margins) for side in pair]
    return pad(h, flat, mode="constant" if zeros else mode), (0,) * len(margins)


def _as_autocast(h: Tensor, W: Tensor, b: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the tensors in the precision that autocast would run a linear map in; float64 is left alone, as there."""
    kind = h.device.type
    if torch.is_autocast_enabled(kind):
        lower = torch.get_autocast_dtype(kind)
        h, W = (t.to(lower) if t.is_floating_point() and t.dtype != torch.double else t for t in (h, W))
        b = b.to(W.dtype) if b is not None else None
    return h, W, b
