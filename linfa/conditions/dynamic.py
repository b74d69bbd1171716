"""Dynamic dominance: whether, at this instant, the rule goes down the loss, and which neurons pull which way."""

from __future__ import annotations

from typing import NamedTuple

from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.conditions.interface import AbstractCondition, needs_task
from linfa.rules import Backprop
from linfa.rules.interface import AbstractRule, State
from linfa.systems.full import Full
from linfa.task import Task
from linfa.weights import Weights


class Split(NamedTuple):
    """μ by layer: Σ_l (aligned_l + misaligned_l) = μ. Each part has shape (..., L)."""

    aligned: Array
    """Σ_k of the positive ⟨U_l[k,:], −∇_l[k,:]⟩, over Σ_l ‖∇_l‖²."""
    misaligned: Array
    """Σ_k of the negative ones, over Σ_l ‖∇_l‖²."""

    def total(self) -> Array:
        """Return μ, shape (...,)."""
        return array_namespace(self.aligned).sum(self.aligned + self.misaligned, axis=-1)


class DynamicDominance(AbstractCondition):
    """μ(t) = Σ_l ⟨U_l, −∇_l⟩ / Σ_l ‖∇_l‖²: the loss obeys dL/dt = −μ Σ_l ‖∇_l‖², any rule, any loss.

    Backprop has μ = 1; alignment dominates while μ > 0. Unlike the dominance of a start, nothing keeps μ positive.
    Where the gradient vanishes nothing is gained or lost, and μ is 0. Derived in theory's A4.

    >>> import linfa, numpy as np
    >>> net, task = linfa.Weights((np.eye(1), np.eye(1))), linfa.Task.from_moments(*[np.eye(1) * c for c in (1, 3, 9)])
    >>> state = linfa.State(net.matrices)
    >>> [float(DynamicDominance().margin(linfa.FeedbackAlignment((b * np.eye(1),)), state, task)) for b in (1, 0, -3)]
    [1.0, 0.5, -1.0]
    """

    name = "dynamic_dominance"
    statement = "While the updates have a positive share of the negative gradient, the loss falls."
    latex = r"\mu = \sum_l\langle U_l, -\nabla_l\rangle \big/ \sum_l\lVert\nabla_l\rVert^2"

    def margin(self, rule: AbstractRule, state: State, task: Task | None = None) -> Array:
        """Return μ, shape (...,)."""
        return self.split(rule, state, task).total()

    def split(self, rule: AbstractRule, state: State, task: Task | None = None, step: int | None = None) -> Split:
        """Return μ split by layer into what aligned and what misaligned neurons contribute.

        Args:
            rule: how the error comes back.
            state: the weights.
            task: what is learnt.
            step: which step, for a rule that is redrawn at each.
        """
        U, D = _directions(rule, state, needs_task(task, self.name), step)
        xp = array_namespace(U[0])
        squares = xp.stack([xp.sum(d * d, axis=(-2, -1)) for d in D], axis=-1)
        total = xp.sum(squares, axis=-1, keepdims=True)
        total = xp.where(total > 0, total, xp.ones_like(total))
        rows = [xp.sum(u * d, axis=-1) for u, d in zip(U, D, strict=True)]
        up = [xp.sum(xp.where(r > 0, r, xp.zeros_like(r)), axis=-1) for r in rows]
        down = [xp.sum(xp.where(r < 0, r, xp.zeros_like(r)), axis=-1) for r in rows]
        return Split(xp.stack(up, axis=-1) / total, xp.stack(down, axis=-1) / total)

    def slope(self, rule: AbstractRule, state: State, task: Task, step: int | None = None) -> Array:
        """Return dL/dt = −Σ_l ⟨U_l, −∇_l⟩ along the rule's flow, shape (...,)."""
        U, D = _directions(rule, state, task, step)
        xp = array_namespace(U[0])
        slopes = [xp.sum(u * d, axis=(-2, -1)) for u, d in zip(U, D, strict=True)]
        return -xp.sum(xp.stack(slopes, axis=-1), axis=-1)


def _directions(rule: AbstractRule, state: State, task: Task, step: int | None) -> tuple[tuple[Array, ...], ...]:
    """Return U_1 … U_L and −∇_1 … −∇_L."""
    weights = Weights(state.weights)
    system = Full(weights, rule)
    system.check(task.n_in, task.n_out)
    batch = task.everything(weights[0])
    U = system.passes(state, batch, step).updates()
    return U, Full(weights, Backprop()).passes(State(state.weights), batch).updates()
