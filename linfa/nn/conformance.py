"""A suite that anyone can point at a layer with feedback: what such a layer owes its users, check by check.

A `Subject` says how a layer is made, what its feedback is, and what torch's own map is. Every check is a function that
raises `ConformanceError` with what was needed and what came; `report` runs them all.

    ḣ = Bᵀ ż, with torch's own geometry                  gradients, float64
    Ẇ = ż hᵀ, ḃ = ż, untouched by B                      gradients
    the layer lives where torch's layers live            autocast, compiled, checkpointed, per_sample, copied, in_place
    and is honest                                        second_derivative, no_parameter, reported_angle
"""

from __future__ import annotations

import copy
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from linfa.errors import LinfaError


class ConformanceError(LinfaError, AssertionError):
    """A layer does not do what every layer with feedback owes; the message says what."""


@dataclass(frozen=True)
class Subject:
    """What is put to the test.

    Args:
        make: gives a new layer with `weight` and, perhaps, `bias`, on the CPU, in float32; the same at every call.
        feedback: layer ↦ B, of the weight's shape, in use at present.
        plain: (layer, h, W) ↦ z as torch makes it, with W in the place of the layer's weight.
        shape: of a batch of inputs.
    """

    make: Callable[[], nn.Module]
    feedback: Callable[[nn.Module], Tensor]
    plain: Callable[[Any, Tensor, Tensor], Tensor]
    shape: tuple[int, ...]

    def inputs(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """Return a batch of inputs, always the same."""
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(1)).to(dtype)


Gradients = dict[str, Tensor]


def error_for(z: Tensor) -> Tensor:
    """Return an error signal ż for an output, always the same."""
    return torch.randn(z.shape, generator=torch.Generator().manual_seed(2)).to(z.dtype)


def seen(layer: nn.Module, h: Tensor, run: Callable[..., Tensor] | None = None) -> Gradients:
    """Return what a backward pass of the layer gives: ḣ, Ẇ and ḃ."""
    h = h.detach().clone().requires_grad_()
    layer.zero_grad()
    try:
        z = layer(h) if run is None else run(h)  # what is compiled has a length, and may have none
        z.backward(error_for(z))
    except (RuntimeError, TypeError, NotImplementedError) as error:
        raise ConformanceError(f"{type(error).__name__}: {str(error).splitlines()[0]}") from error
    grads = {name: p.grad.clone() for name, p in layer.named_parameters() if p.grad is not None}
    return {"input": torch.zeros_like(h) if h.grad is None else h.grad, **grads}


def wanted(subject: Subject, layer: nn.Module, h: Tensor) -> Gradients:
    """Return what it should give by torch's own derivatives: with B in W's place for ḣ, as it is for the rest."""
    h = h.detach().clone().requires_grad_()
    z = subject.plain(layer, h, layer.get_parameter("weight"))
    parameters = {name: p for name, p in layer.named_parameters() if p.requires_grad}
    grads = torch.autograd.grad(z, list(parameters.values()), error_for(z))
    back = subject.plain(layer, h, subject.feedback(layer).detach().to(h.dtype))
    (dh,) = torch.autograd.grad(back, h, error_for(back))
    return {"input": dh, **dict(zip(parameters, grads, strict=True))}


def same(got: Gradients, needed: Gradients, what: str, dtype: torch.dtype = torch.float32, units: int = 64) -> None:
    """Raise unless gradients agree to rounding, relative to their size: 64 units for sums of a few hundred terms."""
    for name, g in needed.items():
        if name not in got:
            raise ConformanceError(f"{what}: there is no gradient of {name}")
        if got[name].shape != g.shape:
            raise ConformanceError(f"{what}: the gradient of {name} has shape {tuple(got[name].shape)}, not {g.shape}")
        apart = float((got[name].double() - g.double()).norm() / g.double().norm().clamp(min=1e-30))
        if not apart <= units * torch.finfo(dtype).eps:
            raise ConformanceError(
                f"{what}: the gradient of {name} is {apart:.1e} of its size away from what it must be"
            )


def gradients(subject: Subject) -> None:
    """ḣ comes through B, Ẇ and ḃ are the true ones, the output is torch's own."""
    layer, h = subject.make(), subject.inputs()
    z, true = layer(h), subject.plain(layer, h, layer.get_parameter("weight"))
    if z.shape != true.shape or not torch.allclose(z, true, rtol=1e-4, atol=1e-5):
        raise ConformanceError("gradients: the forward pass is not torch's own")
    same(seen(layer, h), wanted(subject, layer, h), "gradients")


def float64(subject: Subject) -> None:
    """In double precision everything is double, the feedback too."""
    layer, h = subject.make().double(), subject.inputs(torch.double)
    same(seen(layer, h), wanted(subject, layer, h), "float64", torch.double)


def autocast(subject: Subject) -> None:
    """Under autocast it runs in bfloat16, and its gradients have the precision of the parameters."""
    layer, h = subject.make(), subject.inputs()

    def lower(h: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            z: Tensor = layer(h)
        if z.dtype != torch.bfloat16:
            raise ConformanceError(f"autocast: the output is {z.dtype}, where torch's own layer gives bfloat16")
        return z

    got = seen(layer, h, lower)
    for name, p in layer.named_parameters():
        if name in got and got[name].dtype != p.dtype:
            raise ConformanceError(f"autocast: the gradient of {name} is {got[name].dtype}, the parameter {p.dtype}")
    by_hand = copy.deepcopy(layer).to(torch.bfloat16)
    same(got, wanted(subject, by_hand, h.bfloat16()), "autocast", torch.bfloat16, units=4)


def compiled(subject: Subject, backend: str = "inductor") -> None:
    """torch.compile(fullgraph=True) changes nothing."""
    layer, other, h = subject.make(), subject.make(), subject.inputs()
    needed = seen(layer, h)
    torch.compiler.reset()
    run = torch.compile(other, fullgraph=True, backend=backend)
    same(seen(other, h, run), needed, "compiled")


def checkpointed(subject: Subject) -> None:
    """Activation checkpointing changes nothing."""
    layer, other, h = subject.make(), subject.make(), subject.inputs()
    needed = seen(layer, h)

    def run(h: Tensor) -> Tensor:
        z: Tensor = checkpoint(other, h, use_reentrant=False)
        return z

    same(seen(other, h, run), needed, "checkpointed")


def per_sample(subject: Subject) -> None:
    """torch.func.vmap(grad(…)) gives each sample's gradient, as a loop does."""
    layer, h = subject.make(), subject.inputs()
    parameters = {name: p.detach() for name, p in layer.named_parameters() if p.requires_grad}
    e = error_for(layer(h))

    def share(parameters: dict[str, Tensor], h: Tensor, e: Tensor) -> Tensor:
        z: Tensor = torch.func.functional_call(layer, parameters, (h[None],))
        return (z * e[None]).sum()

    each = torch.func.grad(share, argnums=(0, 1))
    try:
        together = torch.func.vmap(each, (None, 0, 0))(parameters, h, e)
    except RuntimeError as error:
        raise ConformanceError(f"per_sample: RuntimeError: {str(error).splitlines()[0]}") from error
    one_by_one = [each(parameters, hi, ei) for hi, ei in zip(h, e, strict=True)]
    for name in parameters:
        same({name: together[0][name]}, {name: torch.stack([g[0][name] for g in one_by_one])}, "per_sample")
    same({"input": together[1]}, {"input": torch.stack([g[1] for g in one_by_one])}, "per_sample")
    needed = wanted(subject, layer, h)
    same({n: g.sum(0) for n, g in together[0].items()}, {n: needed[n] for n in parameters}, "per_sample")
    same({"input": together[1]}, {"input": needed["input"]}, "per_sample")


def copied(subject: Subject) -> None:
    """Copies, files and state dictionaries carry the feedback with them."""
    layer, h = subject.make(), subject.inputs()
    needed = seen(layer, h)
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = subject.make()
    with torch.no_grad():
        for p in loaded.parameters():
            p.zero_()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    same(seen(loaded, h), needed, "copied: from its state dictionary")
    same(seen(copy.deepcopy(subject.make()), h), needed, "copied: by deepcopy")


def in_place(subject: Subject) -> None:
    """What stands behind the layer may work in place."""
    layer, other, h = subject.make(), subject.make(), subject.inputs()
    needed = seen(layer, h, lambda h: layer(h).relu())
    same(seen(other, h, lambda h: other(h).relu_()), needed, "in_place")


def second_derivative(subject: Subject) -> None:
    """A second derivative, which feedback has not, is refused."""
    layer, h = subject.make(), subject.inputs().requires_grad_()
    z = layer(h)
    try:
        (dh,) = torch.autograd.grad((z * z).sum(), h, create_graph=True)
        learnt = [p for p in layer.parameters() if p.requires_grad]
        torch.autograd.grad(dh.sum(), [h, *learnt], allow_unused=True)
    except (LinfaError, RuntimeError):
        return
    raise ConformanceError("second_derivative: one was given, though feedback is no derivative of anything")


def no_parameter(subject: Subject) -> None:
    """B is no parameter: no optimiser of the model moves it."""
    layer = subject.make()
    B = subject.feedback(layer)
    for name, p in layer.named_parameters():
        if name != "weight" and p.shape == B.shape and torch.equal(p.detach(), B.detach()):
            raise ConformanceError(f"no_parameter: the feedback is the parameter {name}; make it a buffer")


def reported_angle(subject: Subject) -> None:
    """The angle between W and the B that is reported is the one between W and what is really sent back."""
    layer, h = subject.make(), subject.inputs()
    got = seen(layer, h)["input"]
    true, said = (
        _signal(subject, layer, h, slot) for slot in (layer.get_parameter("weight").detach(), subject.feedback(layer))
    )
    really, reported = (math.degrees(_angle(true, g)) for g in (got, said))
    if not abs(really - reported) < 0.05:
        raise ConformanceError(f"reported_angle: the signal stands at {really:.1f}°, the reported B at {reported:.1f}°")


def _signal(subject: Subject, layer: nn.Module, h: Tensor, slot: Tensor) -> Tensor:
    h = h.detach().clone().requires_grad_()
    z = subject.plain(layer, h, slot.detach())
    return torch.autograd.grad(z, h, error_for(z))[0]


def _angle(a: Tensor, b: Tensor) -> float:
    """Return the angle between two tensors; by a half angle, which is accurate near 0 too."""
    a, b = a.double() / a.double().norm(), b.double() / b.double().norm()
    return 2 * math.atan2(float((a - b).norm()), float((a + b).norm()))


CHECKS: tuple[Callable[[Subject], None], ...] = (
    gradients,
    float64,
    autocast,
    compiled,
    checkpointed,
    per_sample,
    copied,
    in_place,
    second_derivative,
    no_parameter,
    reported_angle,
)
"""Every check, in the order in which they are best read."""


def report(subject: Subject, checks: tuple[Callable[[Subject], None], ...] = CHECKS) -> dict[str, str]:
    """Return what every failed check says, by name; nothing where the layer conforms.

    >>> from linfa.nn import convert
    >>> def make():
    ...     torch.manual_seed(0)
    ...     return convert(nn.Linear(3, 2), "fa")
    >>> subject = Subject(make, lambda l: l.feedback.B, lambda l, h, W: nn.functional.linear(h, W, l.bias), (4, 3))
    >>> report(subject, (gradients, float64, copied))
    {}
    """
    failed = {}
    for check in checks:
        try:
            check(subject)
        except ConformanceError as error:
            failed[check.__name__] = str(error)
    return failed
