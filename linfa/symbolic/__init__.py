"""The calculus: words, derivations, laws and how many there are — exact, and independent of every simulation.

`words` make rules and quantities; `find` returns a rule's laws with certificates; `potential` decides feedback that
depends on the weights; `closure` counts all laws there can be, and `orbit_rank` counts them again by driving the net.
"""

from linfa.symbolic.alphabet import B, E, F, M, Sigma, W, X, letter
from linfa.symbolic.bridge import FoundLaw, WordRule, found_laws
from linfa.symbolic.closure import Closure, closure
from linfa.symbolic.derivation import Derivation, powers, substitute
from linfa.symbolic.entrywise import absolute, hadamard, norm, sign
from linfa.symbolic.finder import Findings, find
from linfa.symbolic.increments import RATE, increment, step, velocity_letter
from linfa.symbolic.laws import Certificate, Law
from linfa.symbolic.letters import DEPTH, LAYER, Letter, width
from linfa.symbolic.numeric import evaluate, exact_point, rate
from linfa.symbolic.orbit import OrbitRank, orbit_rank
from linfa.symbolic.potential import Obstruction, Potential, potential
from linfa.symbolic.printing import latex, text
from linfa.symbolic.relations import Relation, rewrite
from linfa.symbolic.rules import (
    BACKPROP,
    DIRECT_FEEDBACK,
    FEEDBACK_ALIGNMENT,
    KOLEN_POLLACK,
    READ_OUT_ONLY,
    Flow,
    Rule,
    interpolated,
)
from linfa.symbolic.words import Scalar, Word, identity, inner, sym, trace, zero

__all__ = [
    "BACKPROP",
    "DEPTH",
    "DIRECT_FEEDBACK",
    "FEEDBACK_ALIGNMENT",
    "KOLEN_POLLACK",
    "LAYER",
    "RATE",
    "READ_OUT_ONLY",
    "B",
    "Certificate",
    "Closure",
    "Derivation",
    "E",
    "F",
    "Findings",
    "Flow",
    "FoundLaw",
    "Law",
    "Letter",
    "M",
    "Obstruction",
    "OrbitRank",
    "Potential",
    "Relation",
    "Rule",
    "Scalar",
    "Sigma",
    "W",
    "Word",
    "WordRule",
    "X",
    "absolute",
    "closure",
    "evaluate",
    "exact_point",
    "find",
    "found_laws",
    "hadamard",
    "identity",
    "increment",
    "inner",
    "interpolated",
    "latex",
    "letter",
    "norm",
    "orbit_rank",
    "potential",
    "powers",
    "rate",
    "rewrite",
    "sign",
    "step",
    "substitute",
    "sym",
    "text",
    "trace",
    "velocity_letter",
    "width",
    "zero",
]
