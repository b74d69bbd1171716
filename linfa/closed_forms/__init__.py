"""Exact solutions: formulas that hold under hypotheses, and refuse where a hypothesis fails.

E1  `ScalarChain`                           all widths one, any depth: one polynomial equation
E2  `AlignedModes`                          two layers, everything diagonal together: one cubic per mode
E3  `ZeroStart`, `spread_cosine`            zero start, orthogonal feedback, any depth: the run and its alignment
E4  `Factorisation`                         a narrow hidden layer: limits, their price, and FA* for all times
E5  `ScalarOutput`                          two layers, one output, zero start: aligned for ever, minimum norm
E6  `BalancedBackprop`, `SaxeModes`         backprop's own: the λ-balanced Riccati flow, Saxe's modes
E7  `RichFeedback`, `RichBackprop`          two layers, one target direction, any width or none
    `backprop_kernel`, `feedback_kernel`, `direct_kernel`, `linear_kernels`, `relu_kernels`   lazy learning
    `ScalarFlow`, `PowerFlow`               the scalar equations that they come down to

What belongs to a network is made by ``X.of(weights, rule, task)``, which checks every hypothesis and raises
`InputError` with the one that failed. Times are those of `linfa.Flow`; losses are those above the least loss of any
linear map.

    >>> import numpy as np, linfa
    >>> net, task = linfa.Weights.zero((4, 2, 2)), linfa.Task.teacher(4, 2, rng=0, spectrum=[2.0, 1.0])
    >>> rule = linfa.FeedbackAlignment((np.eye(2),))
    >>> exact = AlignedModes.of(net, rule, task)
    >>> run = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(t=3.0))
    >>> bool(np.abs(run.weights(-1)[1] - exact.weights(3.0)[1]).max() < 1e-8)
    True
"""

from linfa.closed_forms.aligned_modes import AlignedModes
from linfa.closed_forms.alignment import ZeroStart, early_exponent, late_exponent, spread_cosine
from linfa.closed_forms.backprop import BalancedBackprop, SaxeModes
from linfa.closed_forms.factorisation import Factorisation
from linfa.closed_forms.lazy_kernels import (
    backprop_kernel,
    direct_kernel,
    feedback_kernel,
    linear_kernels,
    relu_kernels,
)
from linfa.closed_forms.power_flow import PowerFlow
from linfa.closed_forms.scalar_chain import ScalarChain
from linfa.closed_forms.scalar_flow import Polynomial, ScalarFlow, first_zero
from linfa.closed_forms.scalar_output import ScalarOutput
from linfa.closed_forms.two_layer import RichBackprop, RichFeedback, backprop_error_rate

__all__ = [
    "AlignedModes",
    "BalancedBackprop",
    "Factorisation",
    "Polynomial",
    "PowerFlow",
    "RichBackprop",
    "RichFeedback",
    "SaxeModes",
    "ScalarChain",
    "ScalarFlow",
    "ScalarOutput",
    "ZeroStart",
    "backprop_error_rate",
    "backprop_kernel",
    "direct_kernel",
    "early_exponent",
    "feedback_kernel",
    "first_zero",
    "late_exponent",
    "linear_kernels",
    "relu_kernels",
    "spread_cosine",
]
