"""Linear maps that are seen forward through W and backward through B: one autograd node each, at backprop's price.

    z = W h + b        forward
    ḣ = Bᵀ ż           backward: the feedback stands in the weight's slot
    Ẇ = ż hᵀ, ḃ = ż    as in backprop; the gradient of W does not depend on W

The nodes themselves are in `nodes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from linfa.errors import InputError
from linfa.nn import nodes
from linfa.nn.compiled import mend


class Made(NamedTuple):
    """A feedback that is worked out when the backward pass needs it, and so takes no memory: B = make(*tensors).

    Args:
        make: a pure function; it must not remember tensors of its own.
        tensors: what it is made from. They are saved as inputs of the node, so that a change in place between forward
            and backward is an error, as it is for every saved tensor.
        shape: of B, where it is to be checked before anything is made.

    >>> Made(torch.sign, (torch.tensor([-2.0, 3.0]),))()
    tensor([-1.,  1.])
    """

    make: Callable[..., Tensor]
    tensors: tuple[Tensor, ...] = ()
    shape: tuple[int, ...] | None = None

    def __call__(self) -> Tensor:
        """Return B."""
        return self.make(*self.tensors)


Feedback = Tensor | Made
"""B, of the weight's shape, or how it is made in the backward pass."""


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
        InputError: where B has not the shape of W, h does not fit W, or the numbers are complex.

    >>> h, W, B = torch.ones(1, 2, requires_grad=True), torch.eye(2), 2 * torch.eye(2)
    >>> linear(h, W, B).sum().backward()
    >>> h.grad.tolist()
    [[2.0, 2.0]]
    """
    _check(W, B)
    if not h.ndim or h.shape[-1] != W.shape[1]:
        raise InputError(f"a weight {tuple(W.shape)} takes {W.shape[1]} numbers per sample; got h {tuple(h.shape)}")
    h, W, b = _as_autocast(h, W, b)
    return nodes.Linear.apply(h, W, b, *recipe(B))  # type: ignore[no-any-return, no-untyped-call]


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
        InputError: where B has not the shape of W, the padding cannot be done, or the numbers are complex.

    >>> h, W = torch.ones(1, 1, 3, requires_grad=True), torch.ones(1, 1, 1)
    >>> convolution(h, W, 5 * W).sum().backward()
    >>> h.grad.tolist()
    [[[5.0, 5.0, 5.0]]]
    """
    _check(W, B)
    if transposed and (padding_mode != "zeros" or isinstance(padding, str)):
        raise InputError(f"a transposed convolution pads by numbers, with zeros; got {padding!r} and {padding_mode!r}")
    n = W.ndim - 2
    single = h.ndim == n + 1
    spacing = _each(dilation, n)
    h, margin = _padded(h[None] if single else h, _margins(padding, W.shape[2:], spacing), padding_mode)
    how = nodes.Geometry(_each(stride, n), margin, spacing, transposed, _each(output_padding, n), groups)
    h, W, b = _as_autocast(h, W, b)
    z: Tensor = nodes.Convolution.apply(h, W, b, how, *recipe(B))  # type: ignore[no-untyped-call]
    return z[0] if single else z


def send_back(z: Tensor, h: Tensor, B: Feedback) -> Tensor:
    """Return z as it is, and send its error to h through a dense matrix: ḣ = Bᵀ ż, maps laid out flat.

    Args:
        z: shape (N, …); made from `h.detach()`, or the error comes back both ways, and kept by nobody else.
        h: shape (N, …).
        B: shape (numbers in one sample's z, numbers in one sample's h); or how it is `Made` when it is needed.

    Returns:
        z, for what comes next.

    Raises:
        InputError: where B has another shape.

    >>> h = torch.ones(1, 2, 1, requires_grad=True)
    >>> send_back(3 * h.detach(), h, torch.eye(2)).sum().backward()
    >>> h.grad.flatten().tolist()
    [1.0, 1.0]
    """
    needed = (z[0].numel(), h[0].numel())
    if B.shape is not None and tuple(B.shape) != needed:
        raise InputError(
            f"dense feedback has one row per number in z and one column per number in h, {needed}; got {tuple(B.shape)}"
        )
    return nodes.SendBack.apply(z, h, *recipe(B))  # type: ignore[no-any-return, no-untyped-call]


def recipe(B: Feedback) -> tuple[Any, ...]:
    """Return (make, *tensors), as nodes take them: B is make(*tensors).

    >>> make, *tensors = recipe(torch.ones(1))
    >>> make(*tensors)
    tensor([1.])
    """
    if torch.compiler.is_compiling():
        mend()
    return (_itself, B) if isinstance(B, Tensor) else (B.make, *B.tensors)


def _check(W: Tensor, B: Feedback) -> None:
    if B.shape is not None and tuple(B.shape) != tuple(W.shape):
        raise InputError(
            f"the feedback has the shape of the weight it stands in for, {tuple(W.shape)}; got {tuple(B.shape)}"
        )
    if W.is_complex():
        raise InputError(f"feedback layers take real numbers; got a weight of {W.dtype}")


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
