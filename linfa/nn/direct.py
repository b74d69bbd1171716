"""Direct feedback without the chain: one node at the output sends its error to every block at once.

A layer under direct feedback cuts its input h off, z = W h.detach() + b, and leaves h as a *tap*. At the model's output
stands one node that passes the output on and, backwards, gives every tap its signal,

    ḣ_l = F_lᵀ ė,      ė = ∂ℓ/∂f,

so that a plain `loss.backward()` runs the blocks' backward passes independently of each other, and no gradient with
respect to a layer's input is ever computed (Nøkland 2016; the cut is ours).
"""

# ruff: noqa: ARG004 (autograd calls its static methods with more than they need)

from __future__ import annotations

from abc import abstractmethod
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError, NoLawError
from linfa.nn.feedback import AbstractFeedback, LinearMap
from linfa.nn.functional import Feedback, recipe
from linfa.nn.nodes import once
from linfa.rules.potential import Potential


class Broadcast(torch.autograd.Function):
    """The identity on the output f; sends ė to the taps as F_lᵀ ė."""

    generate_vmap_rule = True

    @staticmethod
    def forward(f: Tensor, makes: tuple[tuple[Any, int], ...], *taps_and_tensors: Tensor) -> Tensor:
        """Return f; every tap's F is made from so many of the tensors behind the taps."""
        return f.view_as(f)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Keep what feedback is made from, and the shapes of the taps; the taps themselves are not held."""
        _, ctx.makes, *rest = inputs
        ctx.shapes = [h.shape for h in rest[: len(ctx.makes)]]
        ctx.save_for_backward(output, *rest[len(ctx.makes) :])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return ė itself, and F_lᵀ ė for every tap."""
        (df,), (f, *rest) = gradients, ctx.saved_tensors
        tensors = iter(rest)
        e = df.reshape(len(df), -1)
        matrices = (make(*islice(tensors, n)).to(e.dtype) for make, n in ctx.makes)
        sent = [(e @ F).view(shape) for F, shape in zip(matrices, ctx.shapes, strict=True)]
        e, *sent = once(df, *sent, behind=f)  # type: ignore[assignment]
        return e, None, *sent, *[None] * len(rest)


class Taps:
    """What the layers of one model leave for its output node during a forward pass."""

    def __init__(self) -> None:
        self.found: list[tuple[Tensor, Feedback]] = []
        self.open = False

    def watch(self, model: nn.Module) -> None:
        """Serve a model: stand before and behind its forward, and take the taps of its layers."""
        model.register_forward_pre_hook(self.begin)
        model.register_forward_hook(self.end)
        model.register_forward_hook(self.shut, always_call=True)
        for module in model.modules():
            if isinstance(module, AbstractDirect):
                module.taps = self

    def begin(self, model: nn.Module, inputs: Any) -> None:
        """Start collecting: a hook before the model's forward."""
        self.found, self.open = [], True

    def leave(self, h: Tensor, F: Feedback) -> None:
        """Leave a tap."""
        if not self.open:
            raise InputError(
                "under direct feedback the error is sent out by the output of the whole model: call the model that "
                "convert returned, not a part of it"
            )
        self.found.append((h, F))

    def end(self, model: nn.Module, inputs: Any, output: Any) -> Any:
        """Put the output node in place: a hook after the model's forward."""
        found = self.found
        if not isinstance(output, Tensor):
            raise InputError(f"direct feedback needs one tensor as the model's output; got {type(output).__name__}")
        if not found:
            return output
        for h, F in found:
            needed = (output[0].numel(), h[0].numel())
            shape = F.shape and tuple(F.shape)
            if shape != needed:
                raise InputError(
                    f"direct feedback was made for (numbers per output, numbers per input) = {shape}; this "
                    f"batch needs {needed}: convert the model with an example of this size"
                )
        recipes = [recipe(F) for _, F in found]
        makes = tuple((make, len(tensors)) for make, *tensors in recipes)
        flat = [tensor for _, *tensors in recipes for tensor in tensors]
        return Broadcast.apply(output, makes, *(h for h, _ in found), *flat)  # type: ignore[no-untyped-call]

    def shut(self, *_: Any) -> None:
        """Let go of the taps: a hook after the model's forward, also where that has failed."""
        self.found, self.open = [], False


class AbstractDirect(AbstractFeedback):
    """Feedback from the model's output straight to a layer's input."""

    taps: Taps | None = None
    """Set by convert, one object for all layers of a model."""

    @abstractmethod
    def outward(self, W: Tensor) -> Feedback:
        """Return F, of shape (numbers in the model's output, numbers in h), in W's precision where it is drawn."""

    def forward(self, layer: LinearMap, h: Tensor) -> Tensor:
        """Return z, made from h without its history; h becomes a tap."""
        if h.requires_grad:
            assert self.taps is not None  # convert has set it
            self.taps.leave(h, self.outward(layer.weight))
        return layer.truly(h.detach())

    def signal(self, layer: LinearMap, h: Tensor, dz: Tensor) -> None:
        """Return None: what h receives does not come from ż."""
        return

    def potential(self, W: Tensor) -> Potential:
        """Raise NoLawError: the signal does not come through W."""
        raise NoLawError(
            f"{self.rule}: the signal does not come through the layer above; the law is with a virtual read-out"
        )


class Direct(AbstractDirect):
    """The same, kept as a buffer.

    Args:
        F: shape (numbers in the model's output, numbers in h), one sample's.
    """

    F: Tensor

    def __init__(self, F: Tensor) -> None:
        super().__init__()
        self.register_buffer("F", F)

    def outward(self, W: Tensor) -> Tensor:
        """Return F."""
        return self.F
