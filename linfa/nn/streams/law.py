"""The laws of a module graph: one number per channel of every stream that has writers, readers and nothing in between.

    Q_k = Σ_writers ½‖·‖² − Σ_readers Φ(W[:,k])

At every instant and on every batch ⟨dQ_k, U⟩ is what leaks (a BatchNorm's eps, a tap), and zero where nothing does
(theory's potential principle, stream by stream).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.streams.channels import ZERO
from linfa.nn.streams.modules import Part
from linfa.nn.streams.terms import EpsLeak, Leak, Reader, TapLeak, Writer, entries
from linfa.nn.streams.trace import Example, trace


@dataclass(frozen=True)
class StreamLaw:
    """One law per channel of a stream.

    Args:
        name: "what writes → what reads".
        statement: the quantity that is conserved, for channel k.
        channels: how many channels.
        place: of these channels among all laws' channels.
    """

    name: str
    statement: str
    channels: int
    place: slice

    def __str__(self) -> str:
        return f"{self.statement} stays put, {self.channels} channels"


@dataclass(frozen=True)
class Refusal:
    """Channels without a law.

    Args:
        name: "what writes → what reads".
        channels: how many.
        reason: why there is none.
    """

    name: str
    channels: int
    reason: str

    def __str__(self) -> str:
        return f"{self.name}, {self.channels} channels: {self.reason}"


class Streams(Sequence[StreamLaw]):
    """The laws of a model, and what they are made of.

    Args:
        model: the model; its present weights are looked at whenever a quantity is asked for.
        found: the laws.
        refused: the channels without a law.
        writers: of all laws.
        readers: of all laws.
        leaks: of all laws.
    """

    def __init__(
        self,
        model: nn.Module,
        found: list[StreamLaw],
        refused: list[Refusal],
        writers: list[Writer],
        readers: list[Reader],
        leaks: list[Leak],
    ) -> None:
        self.model, self._laws, self.refused = model, found, refused
        self.writers, self.readers, self.leaks = writers, readers, leaks
        self.terms: list[tuple[Writer | Reader, int]] = [(t, 1) for t in writers] + [(t, -1) for t in readers]
        """Writers and readers, with their signs in Q."""
        self.channels = sum(law.channels for law in found)

    def __len__(self) -> int:
        return len(self._laws)

    def __getitem__(self, place):  # type: ignore[no-untyped-def] # Sequence's two overloads
        return self._laws[place]

    def __iter__(self) -> Iterator[StreamLaw]:
        return iter(self._laws)

    def __repr__(self) -> str:
        kept = [f"  {law}" for law in self] or ["  none"]
        lost = [f"  {refusal}" for refusal in self.refused]
        return "\n".join(["laws:", *kept, *(["no law:"] if lost else []), *lost])

    def quantity(self) -> Tensor:
        """Return Q, shape (channels,), in double precision."""
        total = self.nothing()
        for term, sign in self.terms:
            add(total, term.index, sign * term.slots.sum(term.potential().value(entries(term.moved))))
        return total[:-1]

    def nothing(self) -> Tensor:
        """Return zeros for all channels, and one more place for what belongs to none."""
        device = self.terms[0][0].index.device if self.terms else None
        return torch.zeros(self.channels + 1, dtype=torch.double, device=device)


def add(total: Tensor, index: Tensor, values: Tensor) -> None:
    """Add the values of a term's channels in the places of the laws' channels."""
    if index.device != total.device:
        raise InputError(
            f"the model has moved from {index.device} to {total.device} since its laws were found: find them again"
        )
    total.index_add_(0, index, values.double())


def laws(model: nn.Module, example: Example) -> Streams:
    """Return the conservation laws of a model, derived from its graph, and the reason wherever there is none.

    ½‖·‖² of all that writes into a channel of a stream, less the feedback potentials of all that reads from it,
    Σ_writers ½‖·‖² − Σ_readers Φ(W[:,k]), is constant under the rule's flow.

    Args:
        model: converted, or as torch made it (backprop); the laws hold for training, whatever mode it is in.
        example: a batch of inputs, a tuple where there are several; two samples are looked at.

    Raises:
        InputError: where the graph cannot be traced.

    >>> net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    >>> print(laws(net, torch.ones(1, 3)))
    laws:
      ½‖0.weight[k]‖² + ½‖0.bias[k]‖² − ½‖2.weight[:,k]‖² stays put, 4 channels
    no law:
      → 0.weight, 3 channels: the model's input: nothing writes into it
      2.weight, 2.bias →, 2 channels: the model's output: its flow is the loss's, not a reader's
    """
    modules = trace(model, example)
    parts = modules.all()
    classes = modules.channels.classes()
    reasons = modules.channels.reasons(classes)
    signatures = _signatures(parts, classes)
    groups = _groups(signatures, reasons, parts)
    kept = {key: members for key, members in groups.items() if not key[1]}
    order = {c: k for k, c in enumerate(c for members in kept.values() for c in members)}
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    terms = _terms(parts, classes, order, device)
    found, start = [], 0
    for (signature, _), members in kept.items():
        place = slice(start, start := start + len(members))
        found.append(_law([terms[i] for i in signature], place))
    refused = [
        Refusal(_name([parts[i] for i in signature]), len(members), "; ".join(why))
        for (signature, why), members in groups.items()
        if why
    ]
    used = [term for term in terms if bool((term.index < len(order)).any())]
    writers = [t for t in used if isinstance(t, Writer)]
    readers = [t for t in used if isinstance(t, Reader)]
    leaks = [t for t in used if isinstance(t, EpsLeak | TapLeak)]
    return Streams(model, found, refused, writers, readers, leaks)


Term = Writer | Reader | Leak
Key = tuple[tuple[int, ...], tuple[str, ...]]


def _signatures(parts: list[Part], classes: np.ndarray) -> dict[int, list[int]]:
    """Return for every class which parts touch it."""
    found: dict[int, list[int]] = {}
    for i, part in enumerate(parts):
        names = part.ids.numpy()
        for c in np.unique(classes[names[names != ZERO]]).tolist():
            found.setdefault(c, []).append(i)
    return found


def _groups(signatures: dict[int, list[int]], reasons: dict[int, list[str]], parts: list[Part]) -> dict[Key, list[int]]:
    """Return the classes by what touches them and why they have no law (nothing: they have one)."""
    groups: dict[Key, list[int]] = {}
    for c, signature in signatures.items():
        why = tuple(reasons.get(c, ()))
        if not why and not any(parts[i].kind == "writer" for i in signature):
            why = ("nothing writes into it: it is always zero",)
        groups.setdefault((tuple(signature), why), []).append(c)
    return groups


def _terms(parts: list[Part], classes: np.ndarray, order: dict[int, int], device: torch.device) -> list[Term]:
    """Return the parts as terms of the laws, each with the places of its channels."""
    place = np.full(int(classes.max(initial=0)) + 1, len(order))
    place[list(order)] = list(order.values())

    def term(part: Part) -> Term:
        names = part.ids.numpy()
        index = torch.from_numpy(np.where(names == ZERO, len(order), place[classes[names]])).to(device)
        if part.kind == "writer":
            return Writer(part.name, part.module, part.parameter, part.slots, index)
        if part.kind == "reader":
            return Reader(part.name, part.module, part.slots, index)
        if part.kind == "eps":
            return EpsLeak(part.name, part.module, index)
        return TapLeak(part.name, part.module, part.axis, index)

    return [term(part) for part in parts]


def _law(terms: list[Term], place: slice) -> StreamLaw:
    written = [t for t in terms if isinstance(t, Writer)]
    others = [t for t in terms if not isinstance(t, Writer)]
    # A sum of several parts is subtracted whole.
    less = [f"({t.words})" if " + " in t.words else t.words for t in others]
    statement = " − ".join([" + ".join(t.words for t in written), *less])
    if any(isinstance(t, TapLeak) for t in others):
        statement += ", where V̇ = ė hᵀ,"
    name = f"{', '.join(t.name for t in written)} → {', '.join(t.name for t in others)}".strip()
    return StreamLaw(name, statement, place.stop - place.start, place)


def _name(parts: list[Part]) -> str:
    written = ", ".join(p.name for p in parts if p.kind == "writer")
    read = ", ".join(p.name for p in parts if p.kind != "writer")
    return f"{written} → {read}".strip()
