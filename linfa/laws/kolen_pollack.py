"""The law that is Kolen–Pollack's alone: the gap between feedback and weight is untouched by learning."""

from __future__ import annotations

from array_api_compat import array_namespace

from linfa.arrays import Array
from linfa.errors import NoLawError
from linfa.laws.interface import AbstractLaw, Layers
from linfa.rules.interface import AbstractRule, State
from linfa.rules.kolen_pollack import KolenPollack


class FeedbackGapLaw(AbstractLaw):
    """B_{l+1} − W_{l+1} is conserved: both move by U_{l+1}; with decay λ on both it falls as e^{−λt}.

    Kolen & Pollack 1994. The quantity of layer l has the shape of W_{l+1}. Derived in theory/kolen_pollack.

    >>> import linfa
    >>> net = linfa.Weights.standard((3, 4, 2), rng=0)
    >>> FeedbackGapLaw().applies_to(linfa.KolenPollack.random(net, rng=1))
    True
    """

    name = "feedback_gap"
    statement = "The gap between the feedback and the weight it stands in for is untouched by learning."
    latex = r"B_{l+1} - W_{l+1}"

    def check(self, rule: AbstractRule) -> None:
        """Raise NoLawError for every rule but Kolen–Pollack."""
        if not isinstance(rule, KolenPollack):
            raise NoLawError(f"{rule.name}: only Kolen–Pollack moves the feedback by the weight's own update")

    def sides(self, rule: AbstractRule, state: State) -> tuple[Layers, Layers]:
        """Return B_{l+1} and W_{l+1}."""
        return state.learnt, state.weights[1:]

    def differential(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return the gap of the step."""
        return tuple(b - w for b, w in zip(u.learnt, u.weights[1:], strict=True))

    def defect(self, rule: AbstractRule, state: State, u: State) -> Layers:
        """Return zero: the quantity is linear."""
        return tuple(0 * w for w in u.weights[1:])

    def sensitivity(self, rule: AbstractRule, state: State, sizes: State) -> tuple[Array, ...]:
        """Return the sizes of both parts together."""
        return tuple(b + w for b, w in zip(sizes.learnt, sizes.weights[1:], strict=True))

    def terms(self, rule: AbstractRule, state: State) -> Layers:
        """Return max_ij |B_{l+1}[i,j]| + |W_{l+1}[i,j]|."""
        pairs = zip(state.learnt, state.weights[1:], strict=True)
        return tuple(array_namespace(W).max(abs(B) + abs(W), axis=(-2, -1)) for B, W in pairs)
