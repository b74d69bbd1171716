"""How time passes."""

from linfa.solvers.conservative import Conservative
from linfa.solvers.descent import Descent
from linfa.solvers.flow import Flow
from linfa.solvers.gauss import Gauss
from linfa.solvers.interface import AbstractSolver
from linfa.solvers.projection import Projected
from linfa.solvers.schedules import AbstractSchedule, Constant, Cosine, StepDecay

__all__ = [
    "AbstractSchedule",
    "AbstractSolver",
    "Conservative",
    "Constant",
    "Cosine",
    "Descent",
    "Flow",
    "Gauss",
    "Projected",
    "StepDecay",
]
