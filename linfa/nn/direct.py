"""Direct feedback without the chain: one node at the output sends its error to every block at once.

A layer under direct feedback cuts its input h off, z = W h.detach() + b, and leaves h as a *tap*. At the model's output
stands one node that passes the output on and, backwards, gives every tap its signal,

    ḣ_l = F_lᵀ ė,      ė = ∂ℓ/∂f,

so that a plain `loss.backward()` runs the blocks' backward passes independently of each other, and no gradient with
respect to a layer's input is ever computed (Nøkland 2016; the cut is ours).
"""

# ruff: noqa: ARG004 (autograd calls its static methods with more than they need)

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError, NoLawError
from linfa.nn.feedback import AbstractFeedback, LinearMap
from linfa.rules.potential import Potential


class Broadcast(torch.autograd.Function):
    """The identity on the output f; sends ė to the taps as F_lᵀ ė."""

    generate_vmap_rule = True

    @staticmethod
    def forward(f: Tensor, number: int, *taps_and_feedback: Tensor) -> Tensor:
        """Return f."""
        return f.view_as(f)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep the feedback matrices and the shapes of the taps; the taps themselves are not held."""
        _, ctx.number, *rest = inputs
        ctx.shapes = [h.shape for h in rest[: ctx.number]]
        ctx.save_for_backward(*rest[ctx.number :])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return ė itself, and F_lᵀ ė for every tap."""
        (df,) = gradients
        e = df.flatten(1)
        sent = [(e @ F).view(shape) for F, shape in zip(ctx.saved_tensors, ctx.shapes, strict=True)]
        return df, None, *sent, *[None] * len(sent)


class Taps:
    """What the layers of one model leave for its output node during a forward pass."""

    def __init__(self) -> None:
        self.found: list[tuple[Tensor, Tensor]] = []
        self.open = False

    def watch(self, model: nn.Module) -> None:
        """Serve a model: stand before and behind its forward, and take the taps of its layers."""
        model.register_forward_pre_hook(self.begin)
        model.register_forward_hook(self.end)
        for module in model.modules():
            if isinstance(module, Direct):
                module.taps = self

    def begin(self, model: nn.Module, inputs: Any) -> None:
        """Start collecting: a hook before the model's forward."""
        self.found, self.open = [], True

    def leave(self, h: Tensor, F: Tensor) -> None:
        """Leave a tap."""
        if not self.open:
            raise InputError(
                "under direct feedback the error is sent out by the output of the whole model: call the model that "
                "convert returned, not a part of it"
            )
        self.found.append((h, F))

    def end(self, model: nn.Module, inputs: Any, output: Any) -> Any:
        """Put the output node in place: a hook after the model's forward."""
        found, self.found, self.open = self.found, [], False
        if not isinstance(output, Tensor):
            raise InputError(f"direct feedback needs one tensor as the model's output; got {type(output).__name__}")
        if not found:
            return output
        hs, Fs = zip(*found, strict=True)
        for h, F in found:
            needed = (output[0].numel(), h[0].numel())
            if tuple(F.shape) != needed:
                raise InputError(
                    f"direct feedback was made for (numbers per output, numbers per input) = {tuple(F.shape)}; this "
                    f"batch needs {needed}: convert the model with an example of this size"
                )
        return Broadcast.apply(output, len(hs), *hs, *(F.to(output.dtype) for F in Fs))  # type: ignore[no-untyped-call]


class Direct(AbstractFeedback):
    """Feedback from the model's output straight to a layer's input.

    Args:
        F: shape (numbers in the model's output, numbers in h), one sample's.
    """

    F: Tensor
    taps: Taps | None = None
    """Set by convert, one object for all layers of a model."""

    def __init__(self, F: Tensor) -> None:
        super().__init__()
        self.register_buffer("F", F)

    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return z, made from h without its history; h becomes a tap."""
        if h.requires_grad:
            assert self.taps is not None  # convert has set it
            self.taps.leave(h, self.F)
        return layer.truly(h.detach())

    def signal(self, layer: LinearMap, h: Tensor, dz: Tensor) -> None:
        """Return None: what h receives does not come from ż."""
        return

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: the signal does not come through W."""
        raise NoLawError(
            f"{self.rule}: the signal does not come through the layer above; the law is with a virtual read-out"
        )
