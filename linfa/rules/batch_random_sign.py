"""brSF: the signs of the weights, with magnitudes redrawn at every step (Liao, Leibo & Poggio 2016)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NoReturn

import numpy as np

from linfa.arrays import Array
from linfa.errors import InputError, NoLawError
from linfa.rules.interface import AbstractRule, State
from linfa.rules.potential import Potential
from linfa.rules.sign_concordant import SignConcordant, xavier_magnitudes
from linfa.weights import Weights, check_scale


@dataclass(frozen=True, eq=False)
class BatchRandomSign(AbstractRule):
    """B_l = M_l ⊙ sign(W_l) with M_l = |Xavier-uniform| redrawn at every step, from (seed, step): no law.

    Args:
        widths: n_0 … n_L.
        seed: the same seed draws the same magnitudes at the same step, in every run.
        scale: multiplies the magnitudes.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> rule = BatchRandomSign(net.widths, seed=1)
    >>> bool(np.all(rule.at(7).magnitudes[0] == rule.at(7).magnitudes[0]))
    True

    """

    name: ClassVar[str] = "brsf"
    autonomous: ClassVar[bool] = False
    layerwise: ClassVar[bool] = True
    widths: tuple[int, ...]
    seed: int
    scale: float = 1.0

    def at(self, step: int | None) -> SignConcordant:
        """Return the rule of one step, with that step's magnitudes."""
        if step is None:
            raise InputError(
                "brSF redraws its magnitudes at every step, and continuous time has none: use Descent, "
                "or SignConcordant for magnitudes that stay"
            )
        return SignConcordant(xavier_magnitudes(self.widths, np.random.default_rng([self.seed, step]), self.scale))

    def signals(self, state: State, delta: Array) -> NoReturn:
        """Raise: the signals are those of `at(step)`."""
        raise InputError("brSF has signals only at a step: use rule.at(step).signals(...)")

    def stand_ins(self, state: State) -> NoReturn:
        """Raise: the feedback is that of `at(step)`."""
        raise InputError("brSF has feedback only at a step: use rule.at(step).stand_ins(...)")

    def potential(self, k: int) -> Potential:
        """Raise NoLawError: the potential changes at every step."""
        raise NoLawError(
            "brSF redraws its magnitudes at every step, so its potential Σ M|W| is another one each time and nothing "
            "is conserved; in expectation the law is that of uSF with magnitudes E|M|"
        )

    def check(self, weights: Weights) -> None:
        """Raise InputError unless the network has the widths of the template."""
        check_scale(self.scale)
        if weights.widths != tuple(self.widths):
            raise InputError(f"this rule is for widths {tuple(self.widths)}; the network has {weights.widths}")
