"""What leaks from the streams, measured while a model trains: the eps of BatchNorms, and taps of direct feedback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

from linfa.nn.direct import AbstractDirect
from linfa.nn.layers import Fed
from linfa.nn.streams.law import Streams, add
from linfa.nn.streams.terms import EpsLeak, TapLeak

_SAVED = ("NativeBatchNormBackward0", "CudnnBatchNormBackward0", "MiopenBatchNormBackward0")


_ASIDE: ContextVar[int] = ContextVar("aside", default=0)


@contextmanager
def aside() -> Iterator[None]:
    """Run passes that are no part of training: whoever measured before does not look."""
    token = _ASIDE.set(_ASIDE.get() + 1)
    try:
        yield
    finally:
        _ASIDE.reset(token)


class Leaks:
    """Hooks that note what a training step's forward and backward passes say of the leaks; `close` removes them.

    Args:
        streams: whose leaks are measured.
        parts: whether this process sees a part of every batch, and steps with the mean of all parts' gradients: what an
            eps keeps is then measured in the backward pass, as taps are, and its mean over the processes is exact.
    """

    def __init__(self, streams: Streams, parts: bool = False) -> None:
        self.streams, self.parts, self._depth = streams, parts, _ASIDE.get()
        self.kept: dict[EpsLeak, Tensor] = {}
        """Σ ε/(v + ε) · γ ⟨ẏ, x̂⟩ since the last step, where only parts are seen."""
        self.share: dict[EpsLeak, Tensor] = {}
        """ε/(v_k + ε) of the last forward pass in training."""
        self.passes: dict[EpsLeak, int] = {}
        """How many forward passes in training there were since the last step."""
        self.unclear: set[str] = set()
        """BatchNorms that saw several batches, or none, between two steps: the last batch's variance stood for all."""
        self.tapped: dict[TapLeak, Tensor] = {}
        """Σ h·(Fᵀė) since the last step."""
        self._found: list[tuple[TapLeak | None, Tensor]] = []
        self._hooks: list[Any] = []
        for leak in streams.leaks:
            if isinstance(leak, EpsLeak):
                self._hooks.append(leak.module.register_forward_hook(self._normalised(leak)))
        if any(isinstance(leak, TapLeak) for leak in streams.leaks):
            self._watch_taps()

    def close(self) -> None:
        """Remove the hooks."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    def take(self, sign: float = 1.0) -> Tensor:
        """Return ⟨dQ, U⟩ of the gradients that the parameters hold, shape (channels,), and start anew.

        Args:
            sign: −1 where the optimiser goes up the gradient.
        """
        total = self.streams.nothing()
        for leak in self.streams.leaks:
            if isinstance(leak, EpsLeak) and self.parts:
                if leak in self.kept:
                    add(total, leak.index, sign * self.kept[leak])
            elif isinstance(leak, EpsLeak):
                γ, share = leak.module.weight, self.share.get(leak)
                assert isinstance(γ, Tensor)
                passes = self.passes.get(leak, 0)
                if γ.grad is not None and passes != 1:
                    self.unclear.add(leak.name)
                if share is not None and passes and γ.grad is not None:
                    add(total, leak.index, -sign * share.double() * γ.detach().double() * γ.grad.double())
            elif leak in self.tapped:
                add(total, leak.index, sign * self.tapped[leak])
        self.passes, self.tapped, self.kept = {}, {}, {}
        return total[:-1]

    def _normalised(self, leak: EpsLeak) -> Any:
        def hook(norm: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            # A copy of the model has these hooks too, and is none of our business.
            mine = norm is leak.module
            if mine and norm.training and output.requires_grad and _ASIDE.get() == self._depth:
                self.share[leak] = _share(norm.eps, inputs[0], output)
                self.passes[leak] = self.passes.get(leak, 0) + 1
                if self.parts:
                    t = inputs[0].detach()
                    output.register_hook(lambda dy: self._keep(leak, t, dy))  # type: ignore[no-untyped-call]

        return hook

    def _keep(self, leak: EpsLeak, t: Tensor, dy: Tensor) -> None:
        norm: Any = leak.module
        γ, eps = norm.weight.detach(), norm.eps
        others = [d for d in range(t.ndim) if d != 1]
        v, mean = torch.var_mean(t.double(), others, correction=0, keepdim=True)
        inner = (dy * (t - mean) / (v + eps).sqrt()).sum(others)  # ⟨∂ℓ/∂y, x̂⟩, the negative flow
        flow = -(eps / (v + eps)).flatten() * γ * inner
        self.kept[leak] = self.kept[leak] + flow if leak in self.kept else flow

    def _watch_taps(self) -> None:
        """Keep what every tap holds until the error is sent out to it."""
        wanted = {leak.module: leak for leak in self.streams.leaks if isinstance(leak, TapLeak)}

        def entered(layer: Any, inputs: tuple[Any, ...]) -> None:
            # The order of the taps is the order of these calls.
            if inputs[0].requires_grad and not layer.true:
                self._found.append((wanted.get(layer), inputs[0].detach()))

        def begun(*_: Any) -> None:
            self._found = []

        def ended(*called: Any) -> None:
            output = called[-1]
            found, self._found = self._found, []
            if found and output.grad_fn is not None and _ASIDE.get() == self._depth:
                output.grad_fn.register_hook(lambda sent, _: self._tap(found, sent))

        model = self.streams.model
        layers = [m for m in model.modules() if isinstance(m, Fed) and isinstance(m.feedback, AbstractDirect)]
        self._hooks += [layer.register_forward_pre_hook(entered) for layer in layers]
        self._hooks += [model.register_forward_pre_hook(begun), model.register_forward_hook(ended)]

    def _tap(self, found: list[tuple[TapLeak | None, Tensor]], sent: tuple[Tensor | None, ...]) -> None:
        for (leak, h), dh in zip(found, sent[1:], strict=False):
            if leak is None or dh is None:
                continue
            others = [d for d in range(h.ndim) if d != leak.axis % h.ndim]
            # The error signal is the negative gradient.
            flow = -(h * dh).sum(others, dtype=torch.double)
            self.tapped[leak] = self.tapped[leak] + flow if leak in self.tapped else flow


def _share(eps: float, t: Tensor, normed: Tensor) -> Tensor:
    """Return ε/(v + ε), from what the normalisation has kept for its backward pass where it lies open."""
    node = normed.grad_fn
    if node is not None and node.name() in _SAVED:
        inverse: Tensor = node._saved_result2  # type: ignore[attr-defined]
        return eps * inverse.detach() ** 2
    v = t.detach().var([d for d in range(t.ndim) if d != 1], unbiased=False)
    return eps / (v + eps)
