"""How time passes."""

from linfa.solvers.descent import Descent
from linfa.solvers.flow import Flow
from linfa.solvers.interface import AbstractSolver
from linfa.solvers.schedules import AbstractSchedule, Constant, Cosine, StepDecay

__all__ = ["AbstractSchedule", "AbstractSolver", "Constant", "Cosine", "Descent", "Flow", "StepDecay"]
