"""What is watched while a network trains: angles, norms, spectra, dominance."""

from __future__ import annotations

from linfa.nn.monitors.angles import NormRatio, SentAngle, SignalAngle, Spectrum, UpdateAngle, WeightAngle, angle
from linfa.nn.monitors.dominance import Dominance, DynamicDominance
from linfa.nn.monitors.interface import AbstractMonitor, Monitors

__all__ = [
    "AbstractMonitor",
    "Dominance",
    "DynamicDominance",
    "Monitors",
    "NormRatio",
    "SentAngle",
    "SignalAngle",
    "Spectrum",
    "UpdateAngle",
    "WeightAngle",
    "angle",
]
