"""When alignment wins: conditions as signed margins, rates with the curves they prove, and certificates.

at a start, for ever          `NeuronDominance`, `LayerDominance`, `MatrixDominance`, `Lyapunov`
at an instant                 `DynamicDominance`: μ(t), split by layer into aligned and misaligned terms
at rest                       `NoSpuriousStationary`, `LocalRate`
how fast                      `ScalarOutputRate`, `LyapunovRate`, `AverageRate`, `SeparableRate`
guaranteed or not             `certify` → `Certificate`, by one of `THEOREMS`, decided in exact arithmetic

A margin is positive where its condition holds: ``condition.margin(rule, state, task)``, or along a run,
``condition.along(run, task)``.
"""

from linfa.conditions.certify import Certificate, certify
from linfa.conditions.dominance import LayerDominance, MatrixDominance, NeuronDominance
from linfa.conditions.dynamic import DynamicDominance, Split
from linfa.conditions.interface import AbstractCondition
from linfa.conditions.lyapunov import Lyapunov, Terms
from linfa.conditions.rates import AbstractRate, AverageRate, LocalRate, LyapunovRate, ScalarOutputRate, SeparableRate
from linfa.conditions.stationary import NoSpuriousStationary
from linfa.conditions.theorems import THEOREMS, AbstractTheorem

REGISTRY: dict[str, type[AbstractCondition]] = {
    condition.name: condition
    for condition in (
        NeuronDominance,
        LayerDominance,
        MatrixDominance,
        DynamicDominance,
        Lyapunov,
        NoSpuriousStationary,
        ScalarOutputRate,
        LyapunovRate,
        AverageRate,
        SeparableRate,
        LocalRate,
    )
}
"""Every condition by name."""

__all__ = [
    "REGISTRY",
    "THEOREMS",
    "AbstractCondition",
    "AbstractRate",
    "AbstractTheorem",
    "AverageRate",
    "Certificate",
    "DynamicDominance",
    "LayerDominance",
    "LocalRate",
    "Lyapunov",
    "LyapunovRate",
    "MatrixDominance",
    "NeuronDominance",
    "NoSpuriousStationary",
    "ScalarOutputRate",
    "SeparableRate",
    "Split",
    "Terms",
    "certify",
]
