"""The coordinates of a width-free run: what evolves, what it says of the weights, and how fast it moves.

With Φ (p × n_0) and R_1 … R_{L−1} (p × p), one copy per power of α where weights decay,

    z_l = [Φ^(l−1) | R_1^(l−2) | … | R_{l−1}^(0)],      Z_l = z_l basis_{l−1}ᵀ
    c_l = [α^l I; α^{l−1} Y_1; … ; Y_l],                 X_l = basis_l c_l
    Y_l = Z_l X_{l−1} = z_l 𝒢_{l−1} c_{l−1},             f = X_L x
    Φ̇^(k) = α^k E,      Ṙ_j^(k) = α^k E Y_jᵀ,           α̇ = 0

in continuous time, and the same with sums for gradient descent and mini-batch SGD on any loss: momentum and decay act
on the coordinates as they act on the weights. Derived in theory/width_free.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from array_api_compat import array_namespace, device

from linfa.arrays import Array
from linfa.rules.interface import State
from linfa.systems.reduction import Reduction


@dataclass(frozen=True, eq=False)
class Coordinates:
    """α, Φ and R_1 … R_{L−1}, as the tuple of a state.

    Args:
        grams: what the width leaves behind.
        copies: whether there is one copy per power of α.
        areas: whether only the antisymmetric parts of the R_j are kept, which is for continuous time.

    >>> import numpy as np
    >>> grams = Reduction((1, 1), (np.eye(1),), np.array([[2.0, 1.0]]))
    >>> coordinates = Coordinates(grams, copies=False, areas=False)
    >>> s = coordinates.start()
    >>> coordinates.product(s, coordinates.expansion(s))
    array([[2.]])
    """

    grams: Reduction
    copies: bool
    areas: bool

    def start(self) -> State:
        """Return α = 1, Φ = 0, R_j = 0, with an axis for the copies."""
        G, p, n, L = self.grams.readout, self.grams.widths[-1], self.grams.widths[0], self.grams.depth
        xp = array_namespace(G)

        def zeros(copies: int, columns: int) -> Array:
            shape = (*G.shape[:-2], copies if self.copies else 1, p, columns)
            return xp.zeros(shape, dtype=G.dtype, device=device(G))

        alpha = xp.ones((*G.shape[:-2], 1, 1, 1), dtype=G.dtype, device=device(G))
        return State((alpha, zeros(L, n), *(zeros(L - j, p) for j in range(1, L))))

    def reach(self) -> State:
        """Return how far some weight moves at most where a number moves by one, or one where that is more.

        From W_l = α W_l(0) + M_l z_l basis_{l−1}ᵀ: ‖M_l e_i‖‖basis_{l−1} e_j‖ for the entry (i, j) of z_l. In wide
        networks coordinates are small: under `Weights.standard` ‖A_l e_j‖² ∼ n_l/n_0.

        >>> import numpy as np
        >>> grams = Reduction((1, 9, 1), (np.eye(1), np.diag([16.0, 4.0])), np.array([[1.0, 1.0, 1.0]]))
        >>> [part.item() for part in Coordinates(grams, copies=False, areas=False).reach().weights]
        [1.0, 4.0, 2.0]
        """
        n, p, xp = self.grams.widths[0], self.grams.widths[-1], self._xp
        norms = [xp.sqrt(xp.linalg.diagonal(G)) for G in self.grams.all_grams]
        moved = [M[..., -p:, None] * basis[..., None, :] for M, basis in zip(norms[1:], norms, strict=False)]
        alpha, *parts = self.start().weights
        found = [xp.ones_like(part) for part in parts]
        for l, rows in enumerate(moved):
            for j in range(l + 1):
                columns = rows[..., :n] if j == 0 else rows[..., n + (j - 1) * p : n + j * p]
                found[j] = xp.maximum(found[j], columns[..., None, :, :])
        return State((xp.ones_like(alpha), *found))

    def _decays(self, state: State) -> bool:
        """Whether α may differ from 1: a state with copies; a single layer needs but one."""
        return bool(state.weights[1].shape[-3] > 1) or self.grams.depth == 1

    def rows(self, state: State) -> tuple[Array, ...]:
        """Return z_1 … z_L, linear in the coordinates."""
        _, Phi, *R = state.weights
        n, p, layers = self.grams.widths[0], self.grams.widths[-1], range(1, self.grams.depth + 1)
        if self._decays(state):
            picked = ((Phi[..., l - 1, :, :], *(R[j - 1][..., l - 1 - j, :, :] for j in range(1, l))) for l in layers)
            return tuple(self._xp.concat(parts, axis=-1) for parts in picked)
        if self.areas:
            return self._rows_of_areas(state)[0]
        whole = self._xp.concat((Phi, *R), axis=-1)[..., 0, :, :]
        return tuple(whole[..., : n + (l - 1) * p] for l in layers)

    def _rows_of_areas(self, state: State) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
        """Return z_1 … z_L with R_l = ½ z_l 𝒢_{l−1} z_lᵀ + area, and the z_l 𝒢_{l−1} that this takes, 𝒢_0 = I."""
        _, Phi, *areas = state.weights
        z = [Phi[..., 0, :, :]]
        zG = [z[0]]
        for l, area in enumerate(areas, 1):
            square = zG[-1] @ z[-1].mT
            # Its two halves are rounded apart; the symmetric part must be exactly that.
            z.append(self._xp.concat((z[-1], (square + square.mT) / 4 + area[..., 0, :, :]), axis=-1))
            zG.append(z[-1] @ self.grams.grams[l])
        return tuple(z), tuple(zG)

    def expansion(self, state: State) -> tuple[Array, ...]:
        """Return k_1 … k_L, k_l = [α^{l−1} Y_1; … ; Y_l]: the coefficients c_l = [α^l I; k_l] without their identity.

        Y_l = z_l 𝒢_{l−1} c_{l−1} is taken from the left, so that p rows are multiplied and not n_0 columns.
        """
        n, decays, a = self.grams.widths[0], self._decays(state), state.weights[0][..., 0, :, :]
        if self.areas and not decays:
            zG = self._rows_of_areas(state)[1]
        else:
            z = self.rows(state)
            zG = (z[0], *(row @ G for row, G in zip(z[1:], self.grams.grams[1:], strict=True)))
        k = [zG[0]]  # Y_1 = Φ, for 𝒢_0 = I
        for l, row in enumerate(zG[1:], 1):
            if decays:
                k.append(self._xp.concat((a * k[-1], a**l * row[..., :n] + row[..., n:] @ k[-1]), axis=-2))
            else:
                k.append(self._xp.concat((k[-1], row[..., :n] + row[..., n:] @ k[-1]), axis=-2))
        return tuple(k)

    def product(self, state: State, k: tuple[Array, ...]) -> Array:
        """Return X_L = basis_L c_L."""
        n = self.grams.widths[0]
        top = self.grams.readout[..., :n]
        if self._decays(state):
            top = state.weights[0][..., 0, :, :] ** self.grams.depth * top
        return top + self.grams.readout[..., n:] @ k[-1]

    def velocity(self, state: State, E: Array, k: tuple[Array, ...]) -> State:
        """Return 0, Φ̇^(k) = α^k E and Ṙ_j^(k) = α^k E Y_jᵀ."""
        alpha, Phi, *R = state.weights
        p, xp = self.grams.widths[-1], self._xp
        if not self._decays(state):
            S = (E @ k[-1].mT)[..., None, :, :]
            squares = tuple(S[..., (j - 1) * p : j * p] for j in range(1, len(R) + 1))
            if self.areas:
                squares = tuple((S_j - S_j.mT) / 2 for S_j in squares)
            return State((0 * alpha, E[..., None, :, :], *squares))

        def powers(value: Array, copies: int) -> Array:
            return xp.concat([alpha**i * value[..., None, :, :] for i in range(copies)], axis=-3)

        Y = (c[..., -p:, :] for c in k)
        moved = (powers(E @ y.mT, r.shape[-3]) for y, r in zip(Y, R, strict=False))
        return State((0 * alpha, powers(E, Phi.shape[-3]), *moved))

    @cached_property
    def _xp(self) -> Any:
        """The namespace of the arrays, looked up once: a run asks for it many thousand times."""
        return array_namespace(self.grams.readout)
