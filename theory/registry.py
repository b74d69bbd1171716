"""Every claim, in the order in which it is told."""

from __future__ import annotations

import importlib

from linfa.errors import InputError
from theory.claim import Claim

NAMES = (
    "matrix_law",
    "backprop_limit",
    "null_space_law",
    "direct_feedback",
    "potential",
    "strict_normal_sign",
    "kolen_pollack",
    "virtual_readouts",
    "partial_feedback",
    "step_defect",
    "ledger",
    "depth_doubling_decay",
    "decay_dominance",
    "antisymmetric_momentum",
    "width_free",
    "completeness_two_layers",
    "completeness",
    "scalar_chain",
    "dominance",
    "lyapunov",
    "stationary_points",
    "rates",
    "minimum_norm",
    "low_rank",
    "convergence",
    "open_convergence",
    "open_depth",
)
"""The files that hold a claim, from the laws through completeness to convergence and what is open."""


def claims(names: list[str] | None = None) -> list[Claim]:
    """Return the claims of the given names, or all of them.

    Raises:
        InputError: for an unknown name; the message lists the known ones.
    """
    unknown = [name for name in names or () if name not in NAMES]
    if unknown:
        raise InputError(f"the known claims are {', '.join(NAMES)}; got {', '.join(unknown)}")
    return [importlib.import_module(f"theory.{name}").CLAIM for name in names or NAMES]
