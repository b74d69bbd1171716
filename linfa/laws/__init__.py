"""What stays put: laws as objects, each with a quantity, an exact step defect, and a statement."""

from linfa.laws.count import Count, count
from linfa.laws.fixed_path import DirectFeedbackLaw, NullSpaceLaw
from linfa.laws.interface import AbstractLaw
from linfa.laws.kolen_pollack import FeedbackGapLaw
from linfa.laws.ledger import Entry, Ledger
from linfa.laws.potential import MatrixLaw, NeuronLaw

REGISTRY: dict[str, type[AbstractLaw]] = {
    law.name: law for law in (MatrixLaw, NeuronLaw, NullSpaceLaw, DirectFeedbackLaw, FeedbackGapLaw)
}
"""Every law by name."""

__all__ = [
    "REGISTRY",
    "AbstractLaw",
    "Count",
    "DirectFeedbackLaw",
    "Entry",
    "FeedbackGapLaw",
    "Ledger",
    "MatrixLaw",
    "NeuronLaw",
    "NullSpaceLaw",
    "count",
]
