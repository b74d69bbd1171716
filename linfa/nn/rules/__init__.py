"""How the error comes back in a torch model: one small file per rule, one registry for names."""

from __future__ import annotations

from collections.abc import Callable

from linfa.errors import InputError
from linfa.nn.rules.backprop import Backprop, Interpolated
from linfa.nn.rules.direct_feedback import DirectFeedback
from linfa.nn.rules.feedback_alignment import FeedbackAlignment
from linfa.nn.rules.interface import AbstractRule, Place
from linfa.nn.rules.kolen_pollack import KolenPollack
from linfa.nn.rules.product_feedback import ProductFeedback
from linfa.nn.rules.sign_concordant import (
    BatchRandomSign,
    FixedRandomSign,
    InitialSign,
    StrictNormalSign,
    UniformSign,
)
from linfa.nn.rules.target_projection import TargetProjection
from linfa.nn.rules.two_routes import TwoRoutes
from linfa.nn.rules.weight_mirror import WeightMirror

REGISTRY: dict[str, Callable[[], AbstractRule]] = {
    "bp": Backprop,
    "fa": FeedbackAlignment,
    "fa-dense": lambda: FeedbackAlignment(dense=True),
    "rho-fa": lambda: FeedbackAlignment(rho=0.5),
    "dfa": DirectFeedback,
    "interpolated": Interpolated,
    "usf": UniformSign,
    "brsf": BatchRandomSign,
    "frsf": FixedRandomSign,
    "usf-init": InitialSign,
    "usf-sn": StrictNormalSign,
    "drtp": TargetProjection,
    "kp": KolenPollack,
    "mirror": WeightMirror,
    "pfa": ProductFeedback,
    "symmetric": TwoRoutes.symmetric,
    "activation": TwoRoutes.activation,
    "route-mirror": TwoRoutes.mirror,
    "information": TwoRoutes.information,
}
"""Every rule by name, with its default options."""


def make(rule: AbstractRule | str) -> AbstractRule:
    """Return a rule itself, or the one of a registry name.

    Raises:
        InputError: where the name is unknown; the message lists the known ones.

    >>> make("fa").name
    'fa'
    """
    if isinstance(rule, AbstractRule):
        return rule
    if not isinstance(rule, str) or rule not in REGISTRY:
        raise InputError(f"a rule is an object, or one of the names {', '.join(REGISTRY)}; got {rule!r}")
    return REGISTRY[rule]()


__all__ = [
    "REGISTRY",
    "AbstractRule",
    "Backprop",
    "BatchRandomSign",
    "DirectFeedback",
    "FeedbackAlignment",
    "FixedRandomSign",
    "InitialSign",
    "Interpolated",
    "KolenPollack",
    "Place",
    "ProductFeedback",
    "StrictNormalSign",
    "TargetProjection",
    "TwoRoutes",
    "UniformSign",
    "WeightMirror",
    "make",
]
