"""The master identity on one batch: what a check of the laws rests on, without a single step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from linfa.nn.learnt import AbstractLearnt
from linfa.nn.streams.flow import Leaks, aside
from linfa.nn.streams.law import Streams, add
from linfa.nn.streams.terms import entries


class Identity(NamedTuple):
    """The two sides of the master identity, channel by channel."""

    residual: Tensor
    """⟨dQ_k, U⟩ less what leaks: zero to rounding, shape (channels,)."""
    scale: Tensor
    """Σ|terms|, shape (channels,)."""


def master_identity(streams: Streams, batch: Tensor, loss: Callable[[Tensor], Tensor]) -> Identity:
    """Return how far one batch is from Σ_writers ⟨W, U⟩ − Σ_readers ⟨B, U⟩ = what leaks, channel by channel.

    U is the rule's update, the negative of what `backward` leaves in the gradients. The model is run once in training
    mode; its gradients, buffers and modes are as before afterwards.

    Args:
        streams: the laws of a model.
        batch: inputs.
        loss: of the model's output, one number.

    >>> from linfa.nn import convert
    >>> from linfa.nn.streams import laws
    >>> net = convert(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).double(), "fa")
    >>> x = torch.linspace(-1, 1, 15, dtype=torch.double).view(5, 3)
    >>> residual, scale = master_identity(laws(net, x), x, lambda f: f.square().sum())
    >>> bool((residual.abs() <= 1e-14 * scale + 1e-300).all())
    True
    """
    model = streams.model
    with untouched(model):
        leaks = Leaks(streams)
        try:
            if not model.training:
                model.train()
            torch.autograd.backward(loss(model(batch)))
            return Identity(*_sides(streams, leaks.take()))
        finally:
            leaks.close()


def _sides(streams: Streams, leaked: Tensor) -> tuple[Tensor, Tensor]:
    total, scale = streams.nothing(), streams.nothing()
    for term, sign in streams.terms:
        weight = getattr(term.module, getattr(term, "parameter", "weight"))
        if weight.grad is None:
            continue
        flow = -term.potential().gradient(entries(term.moved)) * entries(weight.grad)
        add(total, term.index, sign * term.slots.sum(flow))
        add(scale, term.index, term.slots.sum(flow.abs()))
    return total[:-1] - leaked, scale[:-1] + leaked.abs()


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Give a model back its gradients, buffers and modes, and torch its random numbers, when the block ends.

    Feedback that learns keeps what it has seen, too. Ledgers do not look while it lasts.
    """
    gradients = {p: p.grad for p in model.parameters()}
    buffers = {b: b.detach().clone() for b in model.buffers()}
    modes = {m: m.training for m in model.modules()}
    learnt = {m: m.seen for m in model.modules() if isinstance(m, AbstractLearnt)}
    devices = {p.device.index for p in gradients if p.device.type == "cuda"}
    try:
        for p in gradients:
            p.grad = None
        with aside(), torch.random.fork_rng(devices=[d for d in devices if d is not None]):
            yield
    finally:
        for p, g in gradients.items():
            p.grad = g
        for m, mode in modes.items():
            m.training = mode
        for feedback, seen in learnt.items():
            feedback.seen = seen
        with torch.no_grad():
            for b, was in buffers.items():
                b.copy_(was)
