"""The book of one optimiser: what each of its steps does to the terms of the laws, all tensors at once.

Before a step ⟨dQ(s), known⟩ is worked out, after it D(s, u) for the step that was made. For a writer both together are
Σ s·known + ½u², for a reader Σ B·known + φ(s + u) − φ(s) − B·u, channel by channel.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from linfa.errors import InputError
from linfa.nn.sgd import known_parts, rate_of
from linfa.nn.streams import Streams
from linfa.nn.streams.terms import Reader, Writer
from linfa.rules.potential import Potential


class Book:
    """What an optimiser moves that laws are read on.

    Args:
        optimizer: whose steps are entered.
        main: the optimiser of the weights, whose options learnt feedback goes by.
    """

    def __init__(self, optimizer: Optimizer, main: Optimizer) -> None:
        self.optimizer, self.main = optimizer, main
        self.names: list[str] = []
        self.tensors: list[Tensor] = []
        self.groups: list[int] = []
        """For every tensor the number of its parameter group."""
        self.terms: list[tuple[int, Writer | Reader, int]] = []
        """(number of the tensor, term, sign in Q)."""
        self.weights: list[float] = []
        """What every tensor's terms are multiplied by: the largest rate over its own."""
        self.outside = torch.zeros(0, dtype=torch.bool)
        """Which tensors something else has changed between two steps."""
        self._last: list[Tensor] | None = None
        self._parts: list[Tensor | None] = []
        self._potentials: list[Potential] = []
        self._index = self._factors = torch.zeros(0)

    def place(self, term: Writer | Reader, sign: int) -> bool:
        """Take in a term if the optimiser moves its tensor; return whether it does."""
        tensor = term.moved
        number = next((i for i, t in enumerate(self.tensors) if t is tensor), None)
        if number is None:
            groups = enumerate(self.optimizer.param_groups)
            group = next((g for g, options in groups if any(p is tensor for p in options["params"])), None)
            if group is None:
                return False
            number = len(self.tensors)
            self.names.append(term.name)
            self.tensors.append(tensor)
            self.groups.append(group)
            self.weights.append(1.0)
            self.outside = torch.zeros(number + 1, dtype=torch.bool, device=tensor.device)
        self.terms.append((number, term, sign))
        return True

    def weigh(self, weights: list[float]) -> None:
        """Set the weights of the tensors' terms."""
        self.weights = weights
        self._index = torch.cat([term.index for _, term, _ in self.terms])
        each = [torch.full_like(t.index, sign * weights[n], dtype=torch.double) for n, t, sign in self.terms]
        self._factors = torch.cat(each)

    def rates(self) -> list[float | None]:
        """Return how far one unit of U moves each tensor in the coming step; None where the step passes it over."""
        beside = self.optimizer is not self.main
        return [
            rate_of(self._options(i), self._momentum(i)) if beside or t.grad is not None else None
            for i, t in enumerate(self.tensors)
        ]

    def before(self) -> None:
        """Look at a step that is about to be made."""
        now = _workable(self.tensors)
        if self._last is None:
            self._last = [t.clone() for t in now]
        else:
            gaps = torch._foreach_norm(torch._foreach_sub(now, self._last))
            self.outside |= torch.stack(gaps) != 0
            torch._foreach_copy_(self._last, now)
        known = self._known(self._last)
        self._potentials = [term.potential() for _, term, _ in self.terms]
        self._parts = [None] * len(self.terms)
        wanted = [k for k, (i, _, _) in enumerate(self.terms) if known[i] is not None]
        if wanted:
            products = torch._foreach_mul([self._slope(k) for k in wanted], [known[self.terms[k][0]] for k in wanted])
            for k, product in zip(wanted, products, strict=True):
                self._parts[k] = product

    def after(self, account: Tensor) -> None:
        """Enter the step that was made."""
        s = self._last
        assert s is not None
        now = _workable(self.tensors)
        u = list(torch._foreach_sub(now, s))
        self._bend(s, u)
        sums = [
            torch.zeros_like(term.index, dtype=torch.double) if part is None else term.slots.sum(part)
            for part, (_, term, _) in zip(self._parts, self.terms, strict=True)
        ]
        account.index_add_(0, self._index, torch.cat(sums).mul_(self._factors))
        torch._foreach_copy_(s, now)
        self._parts, self._potentials = [], []

    def forget(self) -> None:
        """Take the tensors as they are for the end of the last step: after a checkpoint was loaded."""
        self._last = None

    def _slope(self, k: int) -> Tensor:
        """Return φ'(s) of a term: s itself for a writer, B for a reader."""
        assert self._last is not None
        s, phi = self._last[self.terms[k][0]], self._potentials[k]
        if isinstance(self.terms[k][1], Writer):
            return s
        if phi.linear is not None and not phi.alpha and phi.magnitude is None:
            fixed: Tensor = phi.linear
            return fixed.to(s.dtype)
        slope: Tensor = phi.gradient(s)
        return slope

    def _bend(self, s: list[Tensor], u: list[Tensor]) -> None:
        """Add φ(s + u) − φ(s) − φ'(s)u to the terms' parts."""
        written = [k for k, (_, term, _) in enumerate(self.terms) if isinstance(term, Writer)]
        steps = [u[self.terms[k][0]] for k in written]
        squares = torch._foreach_mul(torch._foreach_mul(steps, steps), 0.5) if steps else ()
        bends: dict[int, Tensor] = dict(zip(written, squares, strict=True))
        for k, (i, term, _) in enumerate(self.terms):
            phi = self._potentials[k]
            if isinstance(term, Reader) and (phi.alpha or phi.magnitude is not None):
                bends[k] = phi.defect(s[i], u[i])
        for k, bend in bends.items():
            part = self._parts[k]
            self._parts[k] = bend if part is None else part.add_(bend)

    def _known(self, s: list[Tensor]) -> list[Any]:
        """Return what momentum and decay add to the step of each tensor; None where they add nothing."""
        known: list[Any] = [None] * len(s)
        alike: dict[tuple[int, bool], list[int]] = {}
        for i, t in enumerate(self.tensors):
            if t.grad is not None:
                alike.setdefault((self.groups[i], self._momentum(i) is not None), []).append(i)
        for (_, moving), members in alike.items():
            momenta = _workable([self._momentum(i) for i in members]) if moving else None  # type: ignore[misc]
            parts = known_parts(self._options(members[0]), momenta, [s[i] for i in members])
            for i, part in zip(members, parts or (), strict=parts is not None):
                known[i] = part
        return known

    def _options(self, i: int) -> dict[str, Any]:
        """Return the options that a tensor moves by; learnt feedback follows its weight's."""
        group: dict[str, Any] = self.optimizer.param_groups[self.groups[i]]
        leader = group.get("leader")
        return group if leader is None else self.main.param_groups[leader]

    def _momentum(self, i: int) -> Tensor | None:
        found: Tensor | None = self.optimizer.state.get(self.tensors[i], {}).get("momentum_buffer")
        return found


def _workable(tensors: list[Tensor]) -> list[Tensor]:
    """Return tensors without history, of single or double precision."""
    return [t.detach() if t.dtype in (torch.float, torch.double) else t.detach().double() for t in tensors]


def books(streams: Streams, optimizers: list[Optimizer]) -> list[Book]:
    """Return one book per optimiser, all terms of the laws entered.

    Raises:
        InputError: where none of the optimisers moves what a law is read on.
    """
    found = [Book(o, optimizers[0]) for o in optimizers]
    for term, sign in streams.terms:
        if not any(book.place(term, sign) for book in found):
            what = term.name if term.moved.requires_grad else f"the feedback that learns beside {term.name}"
            raise InputError(
                f"{what} is not in the optimiser, but a law is read on it: give the optimiser all parameters, and for "
                "learnt feedback give the ledger what linfa.nn.follow returned as well"
            )
    for book in found:
        if book.terms:
            book.weigh(book.weights)
    return [book for book in found if book.terms]
