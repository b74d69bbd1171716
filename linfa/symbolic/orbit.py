"""The orbit rank: the number of directions a net can be driven in, counted by driving it; the second witness of
`closure`.

    θ ↦ φ_{E_m} ∘ … ∘ φ_{E_1}(θ) ,   rank ∂(end point)/∂(E_1, …, E_m) = dim Lie(θ)

φ_E is the time-one flow of Ẇ_l = M_l E X_{l-1}ᵀ with constant E, by its Taylor series; the Jacobian is taken by the
complex step, so that both are exact to rounding. The rank is read off the widest gap between singular values, which
is stated.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from linfa.errors import InputError
from linfa.symbolic.named import FIXED, check_rule
from linfa.symbolic.problems import check_widths, parameters

Reals: TypeAlias = NDArray[np.float64]
Series: TypeAlias = NDArray[Any]
Paths: TypeAlias = Callable[[Sequence[Series], int], list[Series]]

LARGEST = 400
_STEP = 1e-30
_ORDER = 18
_FLOOR = 1e-15
_TAIL = 1e-15
_STRENGTHS = tuple(2.0**-k for k in range(8))


@dataclass(frozen=True)
class OrbitRank:
    """`rank` = dim Lie(θ) as measured, `laws` = parameters − rank, `gap` = σ_rank / σ_{rank+1}, `singular_values` =
    all of them, relative.
    """

    widths: tuple[int, ...]
    rule: str
    rank: int
    laws: int
    gap: float
    singular_values: tuple[float, ...]


def orbit_rank(widths: Sequence[int], rule: str = "fa", *, seed: int = 0, smallest_gap: float = 1e2) -> OrbitRank:
    """Measure how many directions the flows of a rule reach from a random net.

        rank ∂φ_{E_m} ∘ … ∘ φ_{E_1}(θ) / ∂(E_1, …, E_m)

    Args:
        widths: (n_0, …, n_L), at most 400 parameters.
        rule: "bp", "fa", "dfa", "rho-fa" or "readout".
        seed: of the net, the feedback and the flows.
        smallest_gap: refuse an answer whose singular values do not separate by this factor.

    Returns: an `OrbitRank`.
    Raises: InputError for unknown rules, bad or too large widths, or singular values without a gap.

    >>> orbit_rank((2, 3, 2)).laws
    7
    """
    sizes = check_widths(widths)
    check_rule(rule, "orbit_rank", ("bp", *FIXED))
    if parameters(sizes) > LARGEST:
        raise InputError(
            f"orbit_rank takes at most {LARGEST} parameters, which can take minutes; the widths {sizes} have "
            f"{parameters(sizes)}: use smaller widths of the same shape"
        )
    rng = np.random.default_rng(seed)
    weights = [rng.normal(size=(n, m)) / np.sqrt(m) for n, m in zip(sizes[1:], sizes[:-1], strict=True)]
    values = np.linalg.svd(_jacobian(weights, _paths(rule, weights, rng), rng), compute_uv=False)
    rank, gap = _gap(values / values[0], parameters(sizes))
    if gap < smallest_gap:
        raise InputError(
            f"the singular values of {rule!r} at {sizes} separate by {gap:.1e} only, "
            f"{smallest_gap:.0e} is needed: try another seed, or closure"
        )
    relative = tuple(float(s) for s in values / values[0])
    return OrbitRank(sizes, rule, rank, parameters(sizes) - rank, gap, relative)


def _gap(relative: Reals, largest: int) -> tuple[int, float]:
    padded = np.full(min(largest, relative.size) + 1, _FLOOR)
    padded[: relative.size] = np.maximum(relative[: padded.size], _FLOOR)
    ratios = padded[:-1] / padded[1:]
    rank = int(np.argmax(ratios)) + 1
    return rank, float(ratios[rank - 1])


def _jacobian(weights: Sequence[Reals], paths: Paths, rng: np.random.Generator) -> Reals:
    p, n0 = weights[-1].shape[0], weights[0].shape[1]
    flows = -(-sum(W.size for W in weights) // (p * n0)) + 2
    directions = flows * p * n0
    unit = rng.normal(size=(flows, 1, p, n0)) / np.sqrt(flows * p * n0)
    push = 1j * _STEP * np.eye(directions).reshape(directions, flows, p, n0).swapaxes(0, 1)
    for strength in _STRENGTHS:
        end = _end(weights, strength * unit + push, paths)
        if end is not None:
            return np.concatenate([W.imag.reshape(directions, -1) for W in end], axis=1).T / _STEP
    raise InputError(
        "the flows leave the finite numbers at every strength that was tried: try another seed, or closure"
    )


def _end(weights: Sequence[Reals], controls: Series, paths: Paths) -> list[Series] | None:
    state: list[Series] | None = [np.broadcast_to(W + 0j, (controls.shape[1], *W.shape)) for W in weights]
    for E in controls:
        if state is not None:
            state = _flow(state, E, paths)
    return state


def _flow(state: Sequence[Series], E: Series, paths: Paths, halvings: int = 3) -> list[Series] | None:
    """W(1) = Σ_k w_k; where the series is slow, the flow of E is twice the flow of E/2; None where it runs away."""
    with np.errstate(over="ignore", invalid="ignore"):
        series = _series(state, E, paths)
        if all(_settled(w) for w in series):
            return [np.asarray(w.sum(axis=0)) for w in series]
    if halvings == 0:
        return None
    half = _flow(state, E / 2, paths, halvings - 1)
    return None if half is None else _flow(half, E / 2, paths, halvings - 1)


def _settled(w: Series) -> bool:
    real, imaginary = (np.abs(part).reshape(len(w), -1).max(axis=1) for part in (w.real, w.imag))
    return bool(np.all(real[-2:] <= _TAIL * real[0]) and np.all(imaginary[-2:] <= _TAIL * max(imaginary[0], _STEP)))


def _series(state: Sequence[Series], E: Series, paths: Paths) -> list[Series]:
    """(k + 1) w_{k+1} = [M_l E X_{l-1}ᵀ]_k."""
    series = [np.zeros((_ORDER + 1, *W.shape), dtype=complex) for W in state]
    signals = [np.zeros((_ORDER + 1, W.shape[0], E.shape[-2], W.shape[-1]), dtype=complex) for W in state]
    for w, W in zip(series, state, strict=True):
        w[0] = W
    signals[0][0] = E
    for k in range(_ORDER):
        for l in range(1, len(state)):
            signals[l][k] = _coefficient(signals[l - 1], np.swapaxes(series[l - 1], -1, -2), k)
        for l, M in enumerate(paths(series, k)):
            series[l][k + 1] = _coefficient(M, signals[l], k) / (k + 1)
    return series


def _coefficient(a: Series, b: Series, k: int) -> Series:
    """The k-th coefficient of a product of two series; a constant is a series of length one."""
    if a.shape[0] == 1:
        return np.asarray(a[0] @ b[k])
    return np.asarray((a[: k + 1] @ b[k::-1]).sum(axis=0))


def _paths(rule: str, weights: Sequence[Reals], rng: np.random.Generator) -> Paths:
    if rule == "bp":
        return _backprop(weights)
    constant = [M[None, None] + 0j for M in FIXED[rule](weights, lambda *shape: rng.normal(size=shape))]
    return lambda _series, _k: constant


def _backprop(weights: Sequence[Reals]) -> Paths:
    p = weights[-1].shape[0]
    kept: dict[int, Series] = {}

    def paths(series: Sequence[Series], k: int) -> list[Series]:
        result = [np.eye(p)[None, None] + 0j]
        for l in range(len(series) - 1, 0, -1):
            if k == 0:
                kept[l] = np.zeros((_ORDER + 1, series[l].shape[1], series[l].shape[-1], p), dtype=complex)
            kept[l][k] = _coefficient_left(np.swapaxes(series[l], -1, -2), result[-1], k)
            result.append(kept[l])
        return result[::-1]

    return paths


def _coefficient_left(a: Series, b: Series, k: int) -> Series:
    return np.asarray(a[k] @ b[0]) if b.shape[0] == 1 else _coefficient(a, b, k)
