"""The torch backend: feedback rules for any module at no extra cost, and laws that are watched while it trains."""

from __future__ import annotations

from linfa.errors import missing_extra

try:
    import torch  # noqa: F401
except ImportError as error:  # pragma: no cover - there is torch where the tests run
    raise missing_extra("torch", "torch", "for linfa.nn") from error

from linfa.nn import conformance, draws, functional, models, monitors, rules, streams, train
from linfa.nn.activity import InactiveFeedbackError, assert_feedback_active
from linfa.nn.bridge import sequential
from linfa.nn.convert import convert, fed_layers, restore, truth
from linfa.nn.dominated import dominate
from linfa.nn.learnt import follow, unfollow
from linfa.nn.ledger import LawLedger
from linfa.nn.monitors import Monitors
from linfa.nn.streams import laws, master_identity
from linfa.nn.targets import targets

__all__ = [
    "InactiveFeedbackError",
    "LawLedger",
    "Monitors",
    "assert_feedback_active",
    "conformance",
    "convert",
    "dominate",
    "draws",
    "fed_layers",
    "follow",
    "functional",
    "laws",
    "master_identity",
    "models",
    "monitors",
    "restore",
    "rules",
    "sequential",
    "streams",
    "targets",
    "train",
    "truth",
    "unfollow",
]
