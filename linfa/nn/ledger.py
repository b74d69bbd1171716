"""LawLedger: an exact account of every law of a model, kept while an optimiser steps.

SGD as in torch moves a parameter by u = r U + known, where U is the rule's update, r its rate, and `known` what
momentum and decay add to it. Because ⟨dQ, U⟩ is what leaks from the streams,

    Q(s + u) − Q(s) = ⟨dQ(s), known⟩ + r · leaks + D(s, u),      D(s, u) = Q(s + u) − Q(s) − ⟨dQ(s), u⟩

exactly, at every step: *quantity − account* stays put to rounding, in any precision (theory's D1, D3). D is taken of
the step that was really made, and all sums are kept in double precision on the model's device; nothing is waited for
until `read`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from linfa.errors import DivergenceError, InputError, NoLawError
from linfa.nn.book import books
from linfa.nn.sgd import check
from linfa.nn.streams import Streams
from linfa.nn.streams.flow import Leaks
from linfa.nn.streams.terms import entries


class Entry(NamedTuple):
    """What the ledger says of one law: the largest over its channels."""

    law: str
    """The law's name."""
    channels: int
    """How many channels."""
    drift: float
    """max |Q − Q(0)|."""
    residual: float
    """max |Q − Q(0) − account|: what remains unexplained."""
    scale: float
    """The largest sum of magnitudes of one channel's terms so far."""
    units: float
    """residual / (eps · scale), eps that of the parameters."""
    bound: float
    """eps · (1 + steps) · scale: what rounding the weights once a step can do."""


class LawLedger:
    """The running account of a model's laws under an optimiser.

    With a learning rate of its own for every parameter group a law's terms are divided by the rates (theory's L1);
    schedules that scale all rates alike change nothing, and where the ratios change the laws begin anew from there.

    Exact under torch.optim.SGD with momentum, dampening, Nesterov's variant and decay, gradient accumulation, clipping
    of the whole gradient's norm, and scaled losses. Clipping numbers one by one breaks the laws, and the residual shows
    it. What taps of direct feedback are sent is measured in the backward pass: there gradients must be stepped with as
    they come. Fused steps under a GradScaler, which unscales and skips inside them, are refused.

    Args:
        streams: the laws, from `linfa.nn.laws`.
        optimizer: that steps the model's parameters.
        beside: other optimisers that move what laws are read on: the one that `linfa.nn.follow` returns.
        parts: whether this process sees a part of every batch only (DDP): the mean of `account` over all processes is
            then the account, and gradients must be stepped with as they come.

    Raises:
        NoLawError: where the optimiser has no such account; the message is the reason.
        InputError: where there are no laws, or a parameter that they need is not in any of the optimisers.

    >>> from linfa.nn import convert
    >>> from linfa.nn.streams import laws
    >>> net = convert(torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1)).double(), "fa")
    >>> x = torch.ones(1, 2, dtype=torch.double)
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    >>> ledger = LawLedger(laws(net, x), optimizer)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     net(x).square().sum().backward()
    ...     optimizer.step()
    >>> ledger.read()[0].units < 10
    True
    """

    def __init__(self, streams: Streams, optimizer: Optimizer, *beside: Optimizer | None, parts: bool = False) -> None:
        self.streams, self.optimizer = streams, optimizer
        optimizers = [optimizer, *(o for o in beside if o is not None)]
        for o in optimizers:
            check(o)
        if not streams:
            raise InputError(f"there is no law to keep account of:\n{streams!r}")
        self.books = books(streams, optimizers)
        self.leaks = Leaks(streams, parts)
        self.steps = self.restarts = 0
        self.account, self.start = streams.nothing(), self.quantity()
        self.largest = self._magnitude()
        self._rate, self._leaked, self._weighed = 0.0, streams.nothing()[:-1], False
        self._hooks: list[Any] = []
        for o in optimizers:
            self._hooks += [o.register_step_pre_hook(self._before), o.register_step_post_hook(self._after)]

    def close(self) -> None:
        """Stop keeping account: remove all hooks."""
        self.leaks.close()
        for hook in self._hooks:
            hook.remove()

    def quantity(self) -> Tensor:
        """Return Q, channel by channel, every term over its relative rate."""
        total = self.streams.nothing()
        for book in self.books:
            for i, term, sign in book.terms:
                value = term.potential().value(entries(book.tensors[i]))
                total.index_add_(0, term.index, term.slots.sum(value), alpha=sign * book.weights[i])
        return total[:-1]

    def read(self) -> list[Entry]:
        """Return the account, law by law; this waits for the device.

        Raises:
            DivergenceError: where a quantity is not finite any more.
        """
        drift = self.quantity() - self.start
        self.largest = torch.maximum(self.largest, self._magnitude())
        table = torch.stack([drift.abs(), (drift - self.account[:-1]).abs(), self.largest]).cpu()
        eps = max(torch.finfo(t.dtype).eps for book in self.books for t in book.tensors)
        return [self._entry(law.name, table[:, law.place], eps) for law in self.streams]

    def report(self) -> str:
        """Return the account as a table, and what there is to know beside it."""
        lines = [f"after {self.steps} steps      drift   residual   /(eps·scale)   law"]
        lines += [
            f"{e.drift:22.3e} {e.residual:10.1e} {e.units:14.2f}   {e.law}, {e.channels} channels" for e in self.read()
        ]
        if changed := self.changed_outside():
            lines.append(f"changed outside of the optimiser's steps, which no account explains: {', '.join(changed)}")
        if self.leaks.unclear:
            lines.append(
                "several batches, or none, between two steps: the eps is accounted for with the last one's variance "
                f"in {', '.join(sorted(self.leaks.unclear))}"
            )
        if self.restarts:
            lines.append(f"ratios of the learning rates changed {self.restarts} times: the laws began anew each time")
        return "\n".join(lines)

    def changed_outside(self) -> list[str]:
        """Return which parameters something else than the optimiser's steps has changed (a norm constraint, say)."""
        return [n for book in self.books for n, out in zip(book.names, book.outside.tolist(), strict=True) if out]

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs for a run to go on with the same bits: tensors and numbers."""
        return {
            "start": self.start.clone(),
            "account": self.account.clone(),
            "largest": self.largest.clone(),
            "outside": [book.outside.clone() for book in self.books],
            "weights": [list(book.weights) for book in self.books],
            "steps": self.steps,
            "restarts": self.restarts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up the account of a checkpoint; load the model's and the optimiser's state first.

        Raises:
            InputError: where it belongs to other laws.
        """
        here, there = [len(book.tensors) for book in self.books], [len(w) for w in state["weights"]]
        if state["start"].shape != self.start.shape or here != there:
            raise InputError(
                f"this ledger keeps account of {len(self.start)} channels on {sum(here)} tensors; that of the "
                f"checkpoint of {len(state['start'])} on {sum(there)}: it belongs to another model or rule"
            )
        device = self.start.device
        self.start, self.account, self.largest = (state[k].to(device).clone() for k in ("start", "account", "largest"))
        self.steps, self.restarts = state["steps"], state["restarts"]
        for book, weights, outside in zip(self.books, state["weights"], state["outside"], strict=True):
            book.weigh(list(weights))
            book.outside = outside.to(device).clone()
            book.forget()

    def _entry(self, name: str, table: Tensor, eps: float) -> Entry:
        if not bool(torch.isfinite(table).all()):
            raise DivergenceError(
                f"the law {name} is not finite after {self.steps} steps: the weights have diverged; lower the "
                "learning rate"
            )
        drift, residual, scale = table.amax(1).tolist()
        # Channel by channel, so that a large one does not hide a small one.
        units = float((table[1] / (eps * table[2]).clamp(min=1e-300)).max())
        return Entry(name, table.shape[1], drift, residual, scale, units, eps * (1 + self.steps) * scale)

    def _magnitude(self) -> Tensor:
        total = self.streams.nothing()
        for book in self.books:
            for i, term, _ in book.terms:
                R = entries(book.tensors[i])
                size = term.slots.sum(term.potential().bound(R) * R.abs())
                total.index_add_(0, term.index, size, alpha=2 * book.weights[i])
        return total[:-1]

    @torch.no_grad()
    def _before(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Enter what is known of a step that is about to be made."""
        if len(args) > 1 or kwargs.get("closure") is not None:
            raise InputError("the ledger reads gradients before the step: call step() without a closure")
        if getattr(optimizer, "found_inf", None) is not None:
            raise InputError(
                "a fused step under GradScaler unscales its gradients and skips inside, where the ledger cannot see "
                "it: take SGD(fused=False)"
            )
        if not self._weighed:
            # Learnt feedback steps first, before the weights do; the rates are those before either has stepped.
            self._weigh()
            self._weighed = True
        if optimizer is self.optimizer:
            self._leaked = self.leaks.take(-1.0 if optimizer.param_groups[0].get("maximize") else 1.0)
        for book in self.books:
            if book.optimizer is optimizer:
                book.before()

    @torch.no_grad()
    def _after(self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Enter the step that was made."""
        for book in self.books:
            if book.optimizer is optimizer:
                book.after(self.account)
        if optimizer is self.optimizer:
            self._weighed = False
            self.account[:-1] += self._rate * self._leaked
            self.steps += 1

    def _weigh(self) -> None:
        """Set every term's weight to the largest rate over its own, and begin anew where that has changed."""
        rates = [book.rates() for book in self.books]
        self._rate = max((r for each in rates for r in each if r is not None), default=0.0)
        if not self._rate:
            return
        for book, each in zip(self.books, rates, strict=True):
            if 0 in each:
                raise NoLawError(
                    f"the learning rate of {book.names[each.index(0)]} is 0 while others' is not: what flows into it "
                    "is stored nowhere; freeze it with requires_grad_(False) and find the laws again"
                )
        weights = [
            [was if r is None else self._rate / r for r, was in zip(each, book.weights, strict=True)]
            for book, each in zip(self.books, rates, strict=True)
        ]
        changed = [
            abs(w - was) > 1e-13 * w
            for book, each in zip(self.books, weights, strict=True)
            for w, was in zip(each, book.weights, strict=True)
        ]
        if any(changed):
            self._begin_anew(weights)

    def _begin_anew(self, weights: list[list[float]]) -> None:
        """Go on with other weights from the present quantity."""
        before = self.quantity()
        for book, each in zip(self.books, weights, strict=True):
            book.weigh(each)
        self.start = self.start + self.quantity() - before
        self.largest = torch.maximum(self.largest, self._magnitude())
        self.restarts += self.steps > 0
