"""How the error comes back: one small file per rule, one registry for command lines and tests."""

from __future__ import annotations

from collections.abc import Callable

from linfa.errors import InputError
from linfa.rules.backprop import Backprop
from linfa.rules.batch_random_sign import BatchRandomSign
from linfa.rules.direct_feedback import DirectFeedback
from linfa.rules.feedback_alignment import FeedbackAlignment
from linfa.rules.interface import AbstractLayerwise, AbstractRule, Passes, State
from linfa.rules.interpolated import Interpolated
from linfa.rules.kolen_pollack import KolenPollack
from linfa.rules.potential import Potential
from linfa.rules.sign_concordant import SignConcordant
from linfa.rules.strict_normal_sign import StrictNormalSign
from linfa.weights import Weights

REGISTRY: dict[str, Callable[[Weights, int], AbstractRule]] = {
    "bp": lambda net, seed: Backprop(),
    "fa": lambda net, seed: FeedbackAlignment.random(net, seed),
    "rho-fa": lambda net, seed: FeedbackAlignment.interpolated(net, 0.5, seed),
    "dfa": lambda net, seed: DirectFeedback.random(net, seed),
    "dfa-virtual": lambda net, seed: DirectFeedback.random(net, seed, virtual=True),
    "readout": lambda net, seed: DirectFeedback.readout_only(net),
    "interpolated": lambda net, seed: Interpolated.random(net, seed),
    "usf": lambda net, seed: SignConcordant.uniform(net),
    "brsf": lambda net, seed: BatchRandomSign(net.widths, seed),
    "frsf": lambda net, seed: SignConcordant.fixed_random(net, seed),
    "usf-init": lambda net, seed: SignConcordant.initial(net, seed),
    "usf-sn": lambda net, seed: StrictNormalSign(),
    "kp": lambda net, seed: KolenPollack.random(net, seed),
}
"""Every rule by name, as a function of the network and a seed, with its default options."""


def make(name: str, weights: Weights, seed: int = 0) -> AbstractRule:
    """Return the rule of a registry name, drawn for a network.

    Raises:
        InputError: where the name is unknown; the message lists the known ones.

    >>> make("fa", Weights.standard((3, 4, 2), rng=0), seed=1).name
    'fa'

    """
    if name not in REGISTRY:
        raise InputError(f"the known rules are {', '.join(REGISTRY)}; got {name!r}")
    return REGISTRY[name](weights, seed)


__all__ = [
    "REGISTRY",
    "AbstractLayerwise",
    "AbstractRule",
    "Backprop",
    "BatchRandomSign",
    "DirectFeedback",
    "FeedbackAlignment",
    "Interpolated",
    "KolenPollack",
    "Passes",
    "Potential",
    "SignConcordant",
    "State",
    "StrictNormalSign",
    "make",
]
