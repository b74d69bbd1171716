"""Starts that alignment dominates by construction, in any net whose laws are known.

Every layer that reads from a stream begins as its feedback, W_l = B_l; then, from the output down, whatever writes into
channel k of a stream is made as short as what reads from it pays for,

    Σ_writers ½‖·‖² ≤ (1/c) Σ_readers ⟨W[:,k], B[:,k]⟩,        c ≥ 1

(rows of W, biases, affine pairs: they keep their directions and are never made longer). So κ_k ≥ (1 − 1/c) Σ ⟨W, B⟩,
and under the flow channel k stays aligned for ever (theory's A1). Only the start looks at the feedback; after it,
nothing is transported.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.streams import Streams, laws
from linfa.nn.streams.law import add
from linfa.nn.streams.terms import Reader, entries
from linfa.nn.streams.trace import Example

ROUNDS = 1000
"""How often rows are shortened; in a chain once per layer is enough."""


@torch.no_grad()
def dominate(model: nn.Module, example: Example, c: float = 1.5) -> Streams:
    """Begin a net where alignment dominates at every channel of every stream, κ_k ≥ (1 − 1/c) Σ_readers ⟨W, B⟩[:,k].

    Args:
        model: converted, under fixed feedback; changed in place.
        example: a batch of inputs, as for `linfa.nn.laws`.
        c: how many times what is owed is paid.

    Returns:
        The laws whose margins were set; `linfa.nn.monitors.Dominance` watches them.

    Raises:
        InputError: where c < 1, there is no law, what reads is not under fixed feedback, or no such start dominates.
        NoLawError: where feedback is no gradient.

    >>> from linfa.nn import convert, models, monitors
    >>> net = convert(models.make("mlp", widths=(5, 4, 3, 2)), "fa")
    >>> seen = monitors.Monitors(net, [monitors.Dominance(dominate(net, torch.ones(1, 5)))]).read()["dominance"]
    >>> all((margins > 0).all() for margins in seen.values())
    True

    Source: theory's A1; neuron dominance is of Robertson & Koyejo 2024, this start is ours.
    """
    if not 1 <= c < float("inf"):
        raise InputError(f"what is owed must be paid at least once, 1 ≤ c < ∞; got {c}")
    streams = laws(model, example)
    if not streams.readers:
        raise InputError(f"no law trades against a feedback of the weight's shape:\n{streams!r}")
    feedback = [_fixed(reader) for reader in streams.readers]
    before = [(p, p.clone()) for p in model.parameters()]
    for reader, B in zip(streams.readers, feedback, strict=True):
        reader.moved.copy_(B)
    traded = _traded(streams)
    for sweep in range(ROUNDS):
        needed, paid = c * owed(streams), _paid(streams)
        if bool((needed <= paid)[traded].all()):
            return streams
        # What writes into a stream may read from it, too: there a round pays less than it was to pay, and some more
        # is taken off, so that rounds come to an end.
        more = 1.0 if sweep <= len(streams) else 0.99
        _shorten(streams, torch.where(traded & (needed > paid), more * (paid / needed).sqrt(), 1.0))
    for parameter, was in before:
        parameter.copy_(was)
    raise InputError(
        f"no start that alignment dominates was found in {ROUNDS} rounds of shortening rows; the model is as it was"
    )


def _fixed(reader: Reader) -> Tensor:
    """Return the B of a layer that reads under fixed feedback."""
    phi = reader.potential()
    if phi.linear is None or phi.alpha or phi.magnitude is not None:
        raise InputError(f"alignment dominates under fixed feedback, 'fa'; the feedback of {reader.name} moves with W")
    B: Tensor = phi.linear
    return B


def _traded(streams: Streams) -> Tensor:
    """Return which channels are read from; what a normalisation follows trades with nobody."""
    read = torch.zeros_like(streams.nothing(), dtype=torch.bool)
    for reader in streams.readers:
        read[reader.index] = True
    return read[:-1]


def owed(streams: Streams) -> Tensor:
    """Return Σ_writers ½‖·‖², what alignment must pay for, by channel: shape (channels,), in double precision."""
    total = streams.nothing()
    for writer in streams.writers:
        add(total, writer.index, writer.slots.sum(writer.potential().value(entries(writer.moved))))
    return total[:-1]


def _paid(streams: Streams) -> Tensor:
    """Return Σ_readers ⟨W, B⟩[:,k] by channel."""
    total = streams.nothing()
    for reader in streams.readers:
        add(total, reader.index, reader.slots.sum(reader.potential().value(entries(reader.moved))))
    return total[:-1]


def _shorten(streams: Streams, factor: Tensor) -> None:
    """Multiply what writes into each channel by its factor, rounded down; what has no law stays."""
    factor = torch.cat([factor, factor.new_ones(1)])
    for writer in streams.writers:
        W = writer.moved
        down = 1 - 4 * torch.finfo(W.dtype).eps
        each = torch.where(factor < 1, factor * down, factor)
        W.copy_(writer.slots.scaled(W, each[writer.index].to(W.dtype)))
