"""Draws, exact in law, of all that a width-free run needs of a Gaussian network, at a cost that knows no hidden width.

Take W_l(0)[i, j] ~ N(0, s_l²) and B_l = ρ W_l(0) + √(1−ρ²) B̃_l with B̃_l[i, j] ~ N(0, τ_l²), all independent. What is
asked of W_l are its products with M_l on the left and with basis_{l−1} on the right, and both are thin.

From the top down. M_L = I. Write M_l = O_l S_l, O_l an orthonormal frame. M_l is made of the layers above l, so W_l and
B̃_l are independent of it, and W_lᵀO_l = s_l κ_{l−1}, B̃_lᵀO_l = τ_l κ̃_{l−1} with independent normals κ, κ̃. Hence

    M_{l−1} = B_lᵀ M_l = (ρ s_l κ_{l−1} + √(1−ρ²) τ_l κ̃_{l−1}) S_l.

From the bottom up. Off the frame, W_l is still what it was: W_l = s_l (O_l κ_{l−1}ᵀ + (I − O_l O_lᵀ) N), N normal and
independent of κ. For basis_{l−1} = E_{l−1} root_{l−1}, E a frame, N E is normal again, and is called N_l:

    W_l basis_{l−1} = s_l O_l κ_{l−1}ᵀ basis_{l−1} + s_l (I − O_l O_lᵀ) N_l root_{l−1}

(without the frame at l = 1, where nothing was asked of W_1 from above; with nothing off the frame at l = L). So level l
holds n_l independent rows of [N_l | κ̃_l | κ_l], n_0 + (l+1)p numbers each, and everything above is made of these
columns by products from the right and by projections onto their combinations. A rotation of R^{n_l} changes none of it:
the columns may be replaced by the triangle R_l of their Wishart matrix, min(n_l, n_0 + (l+1)p) rows (Bartlett).

Norms. Of W_l, s_l²(‖κ_{l−1}‖² + ‖(I − O_l O_lᵀ) N_l‖²) is known by then, and the rest is s_l² χ² with
(n_l − k)(n_{l−1} − d) degrees of freedom, k and d the columns of O_l and E_{l−1}. Of B̃_l, τ_l κ̃_{l−1} alone is known;
off the frame it is a vector of (n_l − k) n_{l−1} normals, independent of W_l: its component along W_l is one of them,
and the square of all others is χ². So ‖W_l‖², ⟨B_l, W_l⟩ and ‖B_l‖² are drawn jointly with the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from linfa.arrays import inner
from linfa.errors import InputError
from linfa.systems.reduction import Reduction, Squares
from linfa.weights import check_scale


class Level(NamedTuple):
    """The columns of level l, up to a rotation."""

    N: np.ndarray
    kappa_tilde: np.ndarray
    kappa: np.ndarray


class Frame(NamedTuple):
    """M_l = O_l S_l, with orthonormal columns O_l."""

    O: np.ndarray
    S: np.ndarray

    def off(self, A: np.ndarray) -> np.ndarray:
        """Return (I − O Oᵀ) A."""
        return np.asarray(A - self.O @ (self.O.mT @ A))


def draw(
    widths: tuple[int, ...],
    s: tuple[float, ...],
    tau: tuple[float, ...],
    rho: float,
    rng: np.random.Generator,
    lead: tuple[int, ...] = (),
) -> Reduction:
    """Return the Gram matrices, the read-out and the norms of Gaussian networks, drawn jointly.

    The normals of the read-out are drawn first and triangles have diagonals ≥ 0, which makes them unique: draws with
    one seed and growing widths converge.

    Args:
        widths: n_0 … n_L.
        s: s_1 … s_L.
        tau: τ_2 … τ_L.
        rho: ρ.
        rng: drawn from in place.
        lead: the leading axes, an ensemble of independent networks.

    >>> draw((4, 10**9, 10**9, 2), (0.5, 3e-5, 3e-5), (3e-5, 3e-5), 0.5, np.random.default_rng(0)).readout.shape
    (2, 10)
    """
    n, p, L = widths[0], widths[-1], len(widths) - 1
    normals = rng.standard_normal((*lead, p, n + (L - 1) * p))
    levels = _levels(widths, normals, rng, lead)
    paths, frames = _from_the_top(levels, s, tau, rho, np.broadcast_to(np.eye(p), (*lead, p, p)))
    basis, grams, squares = np.broadcast_to(np.eye(n), (*lead, n, n)), [np.eye(n)], []
    for l in range(1, L + 1):
        frame, columns = frames[l - 1], min(basis.shape[-2:])
        if l == 1:
            N = levels[0].N if L > 1 else normals
            pushed = s[0] * N @ basis
            squares.append(Squares(s[0] ** 2 * inner(N, N)))
        else:
            below, k = levels[l - 2], frame.S.shape[-2]
            on = frame.O @ (below.kappa[..., :k].mT @ basis)
            off = frame.off(levels[l - 1].N) if l < L else np.zeros((*lead, p, basis.shape[-1]))
            pushed = s[l - 1] * (on + off @ _root(basis))
            free = (widths[l] - k, widths[l - 1], columns)
            squares.append(_squares(below, k, off[..., :columns], free, (s[l - 1], tau[l - 2], rho), rng))
        basis = np.concatenate([pushed, paths[l - 1]], axis=-1)
        if l < L:
            grams.append(basis.mT @ basis)
    return Reduction(widths, tuple(grams), basis, tuple(squares))


def deviations(scale: float | Sequence[float], fan_in: tuple[int, ...], what: str) -> tuple[float, ...]:
    """Return scale/√fan_in for every layer, from one scale or one per layer.

    >>> deviations(2.0, (4, 16), "weight_scale")
    (1.0, 0.5)
    """
    scales = tuple(scale) if isinstance(scale, Sequence) else (scale,) * len(fan_in)
    if len(scales) != len(fan_in):
        raise InputError(f"{what} is one number, or one per matrix, {len(fan_in)} of them here; got {len(scales)}")
    return tuple(check_scale(a, what) / float(np.sqrt(n)) for a, n in zip(scales, fan_in, strict=True))


def _levels(
    widths: tuple[int, ...], normals: np.ndarray, rng: np.random.Generator, lead: tuple[int, ...]
) -> list[Level]:
    """Return the columns [N_l | κ̃_l | κ_l] of levels 1 … L−1; κ_{L−1} is W_L's, and has its normals already."""
    n, p, L, levels = widths[0], widths[-1], len(widths) - 1, []
    for l in range(1, L):
        a = n + (l - 1) * p
        R = _triangle(rng, lead, a + 2 * p, widths[l])
        if l == L - 1:
            rows = min(R.shape[-2], a + p)
            R[..., :rows, -p:] = normals.mT[..., :rows, :]
        levels.append(Level(R[..., :a], R[..., a : a + p], R[..., -p:]))
    return levels


def _from_the_top(
    levels: list[Level], s: tuple[float, ...], tau: tuple[float, ...], rho: float, one: np.ndarray
) -> tuple[list[np.ndarray], list[Frame]]:
    """Return M_1 … M_L and their frames."""
    paths, frames = [one], [Frame(one, one)]
    for level, s_next, tau_next in zip(reversed(levels), reversed(s), reversed(tau), strict=False):
        S = frames[0].S
        k = S.shape[-2]
        mixed = rho * s_next * level.kappa + np.sqrt(1 - rho**2) * tau_next * level.kappa_tilde
        paths.insert(0, mixed[..., :k] @ S)
        frames.insert(0, _frame(paths[0]))
    return paths, frames


def _squares(
    below: Level,
    k: int,
    off: np.ndarray,
    free: tuple[int, int, int],
    law: tuple[float, float, float],
    rng: np.random.Generator,
) -> Squares:
    """Return ‖W_l‖², ⟨B_l, W_l⟩ and ‖B_l‖² given what was drawn of them; free = (n_l − k, n_{l−1}, d)."""
    (height, width, d), (s, tau, rho) = free, law
    kappa, tilde, lead, mix = below.kappa[..., :k], below.kappa_tilde[..., :k], off.shape[:-2], np.sqrt(1 - rho**2)
    rest = inner(off, off) + _chi_square(height * (width - d), lead, rng)
    along = rng.standard_normal(lead) * (height > 0)
    WW = s**2 * (inner(kappa, kappa) + rest)
    TW = s * tau * (inner(kappa, tilde) + np.sqrt(rest) * along)
    TT = tau**2 * (inner(tilde, tilde) + along**2 + _chi_square(max(height * width - 1, 0), lead, rng))
    return Squares(WW, rho * WW + mix * TW, rho**2 * WW + 2 * rho * mix * TW + mix**2 * TT)


def _chi_square(degrees: int, lead: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return χ²; zero where there are no degrees of freedom."""
    return np.asarray(2 * rng.standard_gamma(degrees / 2, lead))


def _triangle(rng: np.random.Generator, lead: tuple[int, ...], size: int, n: int) -> np.ndarray:
    """Return R (min(n, size) × size) with RᵀR ~ Wishart(n, I): Bartlett's triangle of χ and normals, thin if short."""
    rows = min(n, size)
    R = np.triu(rng.standard_normal((*lead, rows, size)), 1)
    degrees = n - np.arange(rows)
    R[..., np.arange(rows), np.arange(rows)] = np.sqrt(rng.chisquare(degrees, (*lead, rows)))
    return R


def _frame(M: np.ndarray) -> Frame:
    """Return M = O S, S upper triangular with diagonal ≥ 0; where M has no full rank, O is a frame of more than it."""
    O, S = np.linalg.qr(M)
    signs = np.where(np.diagonal(S, axis1=-2, axis2=-1) < 0, -1.0, 1.0)
    return Frame(O * signs[..., None, :], S * signs[..., :, None])


def _root(basis: np.ndarray) -> np.ndarray:
    """Return the triangle with the Gram matrix of a basis, rows of zeros below where it has too few rows."""
    S = _frame(basis).S
    missing = basis.shape[-1] - S.shape[-2]
    return np.concatenate([S, np.zeros((*S.shape[:-2], missing, S.shape[-1]))], axis=-2)
