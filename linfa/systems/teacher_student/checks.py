"""What can be asked of a teacher and a student: each refusal names the hypothesis that failed."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from linfa.errors import InputError
from linfa.rules.interface import AbstractRule
from linfa.systems.teacher_student.activation import AbstractActivation
from linfa.weights import Weights


def checked_array(value: Any, axes: int, name: str) -> np.ndarray:
    """Return an array of finite floats with at least so many axes."""
    array = np.asarray(value, dtype=float)
    if array.ndim < axes or min(array.shape) < 1 or not np.all(np.isfinite(array)):
        raise InputError(f"{name} must hold finite numbers in {axes} or more axes, none empty; got {array.shape}")
    return array


def check_shapes(Q: np.ndarray, R: np.ndarray, T: np.ndarray, v: np.ndarray, heads: np.ndarray) -> None:
    """Raise InputError unless all speak of K students and M teachers."""
    K, M = v.shape[-1], heads.shape[-1]
    for name, array, shape in (("Q", Q, (K, K)), ("R", R, (K, M)), ("T", T, (M, M))):
        if array.shape[-2:] != shape:
            raise InputError(f"{K} students and {M} teachers need {name} of shape {shape}; got {array.shape}")


def check_activation(activation: Any) -> None:
    """Raise InputError unless the integrals of an activation are known."""
    if not isinstance(activation, AbstractActivation):
        raise InputError(
            "the activation must be one whose Gaussian integrals are known: Erf(), ReLU() or Linear(); "
            f"got {activation!r}"
        )


def check_rule(rule: Any, v: np.ndarray) -> None:
    """Raise InputError unless the feedback to the hidden layer is fixed, or a function of the read-out."""
    if not isinstance(rule, AbstractRule):
        raise InputError(f"TeacherStudent takes a rule such as linfa.FeedbackAlignment; got {rule!r}")
    net = Weights((np.zeros((*v.shape, 1)), v[..., None, :]))
    rule.check(net)
    if not rule.autonomous or rule.start(net):
        raise InputError(
            f"{rule.name}: the equations close where the feedback is fixed or a function of the read-out; this rule "
            "draws or learns it; use backprop, feedback alignment or direct feedback"
        )


def check_overlaps(C: np.ndarray) -> None:
    """Raise InputError unless C is symmetric and positive semi-definite, to rounding."""
    slack = 1e-13 * C.shape[-1] * np.trace(C, axis1=-2, axis2=-1)
    least = least_eigenvalue(C)
    if np.any(np.max(np.abs(C - C.mT), axis=(-2, -1)) > slack) or np.any(least < -slack):
        raise InputError(
            "Q, R and T must be overlaps of weights: [[Q, R], [Rᵀ, T]] symmetric and positive semi-definite; its least "
            f"eigenvalue is {float(np.min(least)):.3g}. Draw them with TeacherStudent.gaussian, or take them from "
            "weights with TeacherStudent.of"
        )


def least_eigenvalue(C: np.ndarray) -> np.ndarray:
    """Return the least eigenvalue of the symmetric part of each matrix.

    >>> float(least_eigenvalue(np.diag([2.0, -1.0])))
    -1.0
    """
    return np.asarray(np.linalg.eigvalsh((C + C.mT) / 2)[..., 0])


def check_rate(value: float, name: str, zero: bool = False) -> None:
    """Raise InputError unless a rate is finite and positive (or zero, where that means something)."""
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        raise InputError(f"{name} must be finite and {'≥' if zero else '>'} 0; got {value}")


def check_count(value: int, name: str, least: int = 1) -> None:
    """Raise InputError unless a number of things is whole and large enough."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} must be a whole number ≥ {least}; got {value!r}")
