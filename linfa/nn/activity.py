"""Is feedback really on? Silent fall-back to backprop is the field's signature bug: this looks at what is sent back.

Three backward passes of a copy of the model, with the same error ż at the output of every layer:

    as it is                    ḣ is Bᵀ ż with the B that the layer reports
    every B changed             ḣ changes
    every W changed, B kept     ḣ does not change: no weight is transported
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError, LinfaError
from linfa.nn.feedback import AbstractSlot
from linfa.nn.layers import Fed
from linfa.nn.seeded import AbstractSeeded


class InactiveFeedbackError(LinfaError, AssertionError):
    """A layer does not send its error back as its rule says; the message names it."""


Loss = Callable[[Tensor], Tensor]


def assert_feedback_active(model: nn.Module, batch: Tensor, loss: Loss | None = None) -> None:
    """Raise unless every layer with feedback sends its error back through it, and through nothing else.

    The model, its gradients and buffers, and the state of the random numbers stay as they were.

    Args:
        model: a converted model, in the mode that it is meant to be watched in.
        batch: inputs, as the model takes them.
        loss: outputs ↦ a number; None for a random linear one.

    Raises:
        InactiveFeedbackError: where a layer is not called, is switched to true gradients, gets no error, carries no
            gradient to its input, does not use its B, or uses W in its place.
        InputError: where the model has no layer with feedback.

    >>> from linfa.nn import convert
    >>> net = convert(nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)), "fa")
    >>> assert_feedback_active(net, torch.ones(5, 4))
    """
    if not any(isinstance(m, Fed) for m in model.modules()):
        raise InputError("the model has no layer with feedback: make one with linfa.nn.convert")
    # Every device is seeded below.
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())), torch.enable_grad():
        probe = _Probe(copy.deepcopy(model), batch, loss)
        before = probe.run()
        probe.compare_with_rule(before)
        with probe.feedback_changed():
            probe.demand_changed(before, probe.run())
        with probe.weights_changed():
            probe.demand_same(before, probe.run())


Signals = dict[str, list[Tensor | None]]
"""What every layer sent back, call by call."""


class _Probe:
    """A copy of a model whose layers are listened to, and get the same error ż in every pass."""

    def __init__(self, model: nn.Module, batch: Tensor, loss: Loss | None) -> None:
        self.model, self.loss = model, loss
        self.batch = batch.detach().clone()
        if self.batch.is_floating_point():
            self.batch.requires_grad_()
        self.layers: dict[str, Any] = {n or "the model": m for n, m in model.named_modules() if isinstance(m, Fed)}
        self.buffers = dict(model.named_buffers())
        self.state = {name: b.detach().clone() for name, b in self.buffers.items()}
        self.output_error: Tensor | None = None
        self.errors: dict[tuple[str, int], Tensor] = {}
        self.inputs: dict[str, list[Tensor]] = {}
        self.sent: Signals = {}
        self.used: dict[str, list[Tensor]] = {name: [] for name in self.layers}
        for name, layer in self.layers.items():
            if layer.true:
                raise InactiveFeedbackError(f"{name} is switched to true gradients: leave linfa.nn.truth first")
            if isinstance(layer.feedback, AbstractSlot):
                self._listen(layer.feedback, self.used[name])
            layer.register_forward_pre_hook(self._before(name))
            layer.register_forward_hook(self._after(name))

    def _listen(self, feedback: AbstractSlot, used: list[Tensor]) -> None:
        """Note every B that is used in the first pass."""
        stand_in = feedback.stand_in

        def noted(W: Tensor) -> Any:
            B = stand_in(W)
            used.append((B if isinstance(B, Tensor) else B().to(W.dtype)).detach().clone())
            return B

        feedback.stand_in = noted  # type: ignore[method-assign]

    def _before(self, name: str) -> Any:
        def hook(_: nn.Module, inputs: tuple[Any, ...]) -> Any:
            h, *rest = inputs
            if not torch.is_grad_enabled():
                raise InactiveFeedbackError(f"{name} runs under no_grad: nothing is sent back")
            number = len(self.sent[name])
            self.sent[name].append(None)
            self.inputs[name].append(h.detach())
            if h.requires_grad:
                h = h.view_as(h)  # what comes back to it is what this call alone sends back
                h.register_hook(lambda dh: self.sent[name].__setitem__(number, dh.detach().clone()))
            elif self.batch.requires_grad:
                raise InactiveFeedbackError(f"what {name} sends back goes nowhere: its input carries no gradient")
            return (h, *rest)

        return hook

    def _after(self, name: str) -> Any:
        def hook(_: nn.Module, __: tuple[Any, ...], z: Any) -> None:
            call = (name, len(self.sent[name]) - 1)
            if z.requires_grad:
                z.register_hook(lambda dz: self.errors.setdefault(call, dz.detach().clone()))

        return hook

    def run(self) -> Signals:
        """Return what every layer sends back, for the errors of the first pass."""
        self.sent = {name: [] for name in self.layers}
        self.inputs = {name: [] for name in self.layers}
        torch.manual_seed(0)  # on every device: dropout drops the same in every pass
        with torch.no_grad():
            for name, b in self.buffers.items():
                b.copy_(self.state[name])
        f = self.model(self.batch)
        if not isinstance(f, Tensor) or not f.requires_grad:
            raise InactiveFeedbackError("the output is no tensor with a gradient: it is detached, or under no_grad")
        if self.output_error is None:
            value = self.loss(f) if self.loss else (f * torch.randn_like(f)).sum()
            (self.output_error,) = torch.autograd.grad(value, f, retain_graph=True)
            self.errors.clear()
        f.backward(self.output_error)  # type: ignore[no-untyped-call]
        return self.sent

    def calls(self, sent: Signals) -> Iterator[tuple[str, int, Tensor]]:
        """Yield (layer, number of its call, ḣ); the first layers of a model with integer inputs send nothing back."""
        for name, signals in sent.items():
            if not signals:
                raise InactiveFeedbackError(f"{name} is not called: its weights are used past it, or not at all")
            for number, dh in enumerate(signals):
                if dh is not None:
                    yield name, number, dh
                elif self.batch.requires_grad:
                    raise InactiveFeedbackError(f"{name} sends nothing back: no error reaches it")

    def compare_with_rule(self, sent: Signals) -> None:
        """Demand that ḣ is what the layer's feedback says that it is; let it say so with the B of that call."""
        self._release()
        for name, number, dh in self.calls(sent):
            layer, dz, used = self.layers[name], self.errors.get((name, number)), self.used[name]
            if dz is None or not bool(dz.any()):
                raise InactiveFeedbackError(f"{name} gets no error: what stands above it sends nothing back")
            if used and number == len(used) - 1 and _apart(used[-1], layer.feedback.matrix(layer.weight)):
                raise InactiveFeedbackError(f"{name} reports another B than it uses")
            if number < len(used):
                _hold(layer.feedback, used[number : number + 1])
            with torch.no_grad():
                h = self.inputs[name][number]
                as_usual = layer.truly(h).shape == dz.shape  # not so where an output size was asked for
            said = layer.feedback.signal(layer, h, dz) if as_usual else None
            self._release()
            if said is not None and _apart(dh, said):
                raise InactiveFeedbackError(f"{name} does not send back what its rule ({layer.feedback.rule}) says")

    def demand_changed(self, before: Signals, after: Signals) -> None:
        """Demand that another B made another ḣ."""
        for (name, _, was), (_, _, now) in zip(self.calls(before), self.calls(after), strict=True):
            if not _apart(was, now):
                raise InactiveFeedbackError(f"{name} sends back the same whatever its feedback is: it is not used")

    def demand_same(self, before: Signals, after: Signals) -> None:
        """Demand that another W, with the same B, made the same ḣ."""
        for (name, _, was), (_, _, now) in zip(self.calls(before), self.calls(after), strict=True):
            if _apart(was, now):
                raise InactiveFeedbackError(
                    f"what {name} sends back depends on its weight past its feedback: the weight is transported"
                )

    @contextmanager
    def feedback_changed(self) -> Iterator[None]:
        """Put another feedback in the place of every one."""
        state = dict(self.state)
        seeded = []
        for name, layer in self.layers.items():
            if isinstance(layer.feedback, AbstractSlot):
                _hold(layer.feedback, [_other(B) for B in self._used(name, layer)])
                continue
            if isinstance(layer.feedback, AbstractSeeded):
                layer.feedback.seed ^= 1
                seeded.append(layer.feedback)
            own = {id(b) for b in layer.feedback.buffers() if b.is_floating_point()}
            self.state |= {key: _other(b) for key, b in self.buffers.items() if id(b) in own}
        try:
            yield
        finally:
            self.state = state
            for feedback in seeded:
                feedback.seed ^= 1
            self._release()

    @contextmanager
    def weights_changed(self) -> Iterator[None]:
        """Change every weight; feedback that is made of it stays what it was."""
        weights = {id(layer.weight): layer.weight for layer in self.layers.values()}
        kept = [W.detach().clone() for W in weights.values()]
        for name, layer in self.layers.items():
            if isinstance(layer.feedback, AbstractSlot):
                _hold(layer.feedback, self._used(name, layer))
        with torch.no_grad():
            for W in weights.values():
                W.copy_(_other(W))
        try:
            yield
        finally:
            self._release()
            with torch.no_grad():
                for W, was in zip(weights.values(), kept, strict=True):
                    W.copy_(was)

    def _used(self, name: str, layer: Any) -> list[Tensor]:
        """Return the B of every call; one whose feedback goes its own way has the one that it reports."""
        return self.used[name] or [layer.feedback.matrix(layer.weight).clone()]

    def _release(self) -> None:
        for layer in self.layers.values():
            for held in ("stand_in", "matrix"):
                vars(layer.feedback).pop(held, None)


def _hold(feedback: AbstractSlot, Bs: list[Tensor]) -> None:
    """Let a feedback stand at one B after the other, call by call."""
    left = itertools.chain(Bs, itertools.repeat(Bs[-1]))
    feedback.stand_in = lambda W: next(left)  # type: ignore[method-assign]
    feedback.matrix = lambda W: Bs[-1]  # type: ignore[method-assign]


def _other(B: Tensor) -> Tensor:
    """Return another tensor of about the same size."""
    size = B.detach().square().mean().sqrt()
    return B.detach() + torch.randn_like(B) * torch.where(size > 0, size, torch.ones_like(size))


def _apart(a: Tensor, b: Tensor) -> bool:
    """Return whether two signals differ by more than √eps of their size: rounding is less, another B is more."""
    limit = max(torch.finfo(t.dtype).eps for t in (a, b)) ** 0.5
    a, b = a.double(), b.double()
    return bool((a - b).norm() > limit * (a.norm() + b.norm()))
