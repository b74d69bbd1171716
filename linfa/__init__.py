"""linfa: theory and simulation of deep linear networks under feedback alignment.

what is to be learnt        `Task`, `losses`, `data`: samples, teachers, classification, real image sets
where it starts             `Weights`: standard, small, zero, mean-field, orthogonal, balanced; `dominated`
of any width                `Weights.seeded`, `matrices`: entries given by seeds or factors, never made
how the error comes back    `rules`: backprop, feedback alignment, direct feedback, sign-concordant, Kolen–Pollack, …
what evolves                `systems`: `Full`, `WidthFree` (any width), `InfiniteWidth`, `TeacherStudent`
how time passes             `solvers`: `Flow`, `Descent`, `Conservative`, `Gauss`, `Projected`
what stays put              `laws`: matrix, neuron, null-space, direct-feedback and feedback-gap laws; the ledger
when alignment wins         `conditions`: dominance, Lyapunov functions, rates, each a signed margin; `certify`
what is known exactly       `closed_forms`: chains, aligned modes, factorisation, Riccati, rich and lazy solutions
what was seen               `Trajectory`, `metrics`: losses, alignments, laws, states, provenance

    >>> import linfa
    >>> net = linfa.Weights.standard((3, 8, 2), rng=0)
    >>> rule = linfa.FeedbackAlignment.random(net, rng=1)
    >>> run = linfa.solve(linfa.Full(net, rule), linfa.Task.teacher(3, 2, rng=2), linfa.Flow(t=5.0))
    >>> bool(linfa.laws.MatrixLaw().residual(run).max() < 1e-9)
    True
"""

from linfa import closed_forms, conditions, data, dominated, laws, losses, matrices, metrics, rules, solvers, systems
from linfa.errors import (
    DataError,
    DivergenceError,
    InputError,
    LinfaError,
    MissingExtraError,
    NoLawError,
    ResultError,
)
from linfa.losses import Exponential, Logistic, SoftmaxCrossEntropy, Squared
from linfa.rules import (
    Backprop,
    BatchRandomSign,
    DirectFeedback,
    FeedbackAlignment,
    Interpolated,
    KolenPollack,
    SignConcordant,
    State,
    StrictNormalSign,
)
from linfa.solve import solve
from linfa.solvers import Conservative, Constant, Cosine, Descent, Flow, Gauss, Projected, StepDecay
from linfa.systems import Full, InfiniteWidth, TeacherStudent, WidthFree
from linfa.task import Task
from linfa.trajectory import Trajectory
from linfa.version import __version__
from linfa.weights import Weights

__all__ = [
    "Backprop",
    "BatchRandomSign",
    "Conservative",
    "Constant",
    "Cosine",
    "DataError",
    "Descent",
    "DirectFeedback",
    "DivergenceError",
    "Exponential",
    "FeedbackAlignment",
    "Flow",
    "Full",
    "Gauss",
    "InfiniteWidth",
    "InputError",
    "Interpolated",
    "KolenPollack",
    "LinfaError",
    "Logistic",
    "MissingExtraError",
    "NoLawError",
    "Projected",
    "ResultError",
    "SignConcordant",
    "SoftmaxCrossEntropy",
    "Squared",
    "State",
    "StepDecay",
    "StrictNormalSign",
    "Task",
    "TeacherStudent",
    "Trajectory",
    "Weights",
    "WidthFree",
    "__version__",
    "closed_forms",
    "conditions",
    "data",
    "dominated",
    "laws",
    "losses",
    "matrices",
    "metrics",
    "rules",
    "solve",
    "solvers",
    "systems",
]
