"""E7: the kernels of lazy learning, ḟ = K(y − f), which never move (Bordelon & Pehlevan 2022, Table 2).

With L weight matrices, forward kernels Φ^0 … Φ^{L−1} (Φ^l = E[h_l h_l'], width-normalised) and backward kernels
G^1 … G^L = 1,

    backprop Σ_l G^lΦ^{l−1},      ρ-FA Σ_l ρ^{L−l}G^lΦ^{l−1},      direct feedback Φ^{L−1}

since the update of layer l goes through L − l feedback matrices, each of which keeps ρ of the true signal. For weights
from `Weights.standard` these are the kernels where layer l learns at the rate 1/n_{l−1}, as N → ∞.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from linfa.arrays import Array
from linfa.closed_forms.hypotheses import finite
from linfa.errors import InputError

Kernels = tuple[list[np.ndarray], list[np.ndarray]]
"""(Φ^0 … Φ^{L−1}, G^1 … G^L), each of shape (samples, samples)."""


def backprop_kernel(forward: Sequence[Array], backward: Sequence[Array]) -> np.ndarray:
    """Return Σ_l G^lΦ^{l−1}, the neural tangent kernel.

    >>> backprop_kernel(*linear_kernels(np.eye(1), depth=3)).tolist()
    [[3.0]]
    """
    return feedback_kernel(forward, backward, rho=1.0)


def feedback_kernel(forward: Sequence[Array], backward: Sequence[Array], rho: float) -> np.ndarray:
    """Return Σ_l ρ^{L−l}G^lΦ^{l−1}; ρ = 0, plain feedback alignment, is the last layer alone.

    >>> feedback_kernel(*linear_kernels(np.eye(1), depth=3), rho=0.5).tolist()
    [[1.75]]
    """
    if not -1 <= rho <= 1:
        raise InputError(f"ρ is a correlation, −1 ≤ ρ ≤ 1; got {rho}")
    Phi, G = [finite(K, "Φ") for K in forward], [finite(K, "G") for K in backward]
    if len(Phi) != len(G) or not Phi or len({K.shape for K in (*Phi, *G)}) != 1:
        raise InputError(f"L layers have Φ^0 … Φ^(L−1) and G^1 … G^L of one shape; got {len(Phi)} and {len(G)} kernels")
    L = len(Phi)
    return np.asarray(sum(rho ** (L - l) * g * phi for l, (phi, g) in enumerate(zip(Phi, G, strict=True), 1)))


def direct_kernel(forward: Sequence[Array]) -> np.ndarray:
    """Return Φ^{L−1}: direct feedback, like FA with ρ = 0, learns by its last layer."""
    if not len(forward):
        raise InputError("direct feedback needs Φ^0 … Φ^(L−1); got none")
    return finite(forward[-1], "Φ")


def linear_kernels(inputs: Array, depth: int) -> Kernels:
    """Return Φ^l = K and G^l = 1 of linear layers, for the input kernel K = x·x'/n_0."""
    K = _kernel(inputs, depth)
    return [K] * depth, [np.ones_like(K)] * depth


def relu_kernels(inputs: Array, depth: int) -> Kernels:
    """Return the arc-cosine kernels of ReLU layers √2 max(z, 0) (Cho & Saul 2009), all with the diagonal of K.

    Φ^l = |x||x'| (sin θ + (π − θ)cos θ)/π, θ the angle of Φ^{l−1};  G^l = G^{l+1}(π − θ_l)/π, θ_l the angle of Φ^{l−1}.

    >>> forward, backward = relu_kernels(np.array([[1.0, -1.0], [-1.0, 1.0]]), depth=2)   # opposite inputs
    >>> forward[1].round(12).tolist(), backward[0].tolist()
    ([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.0], [0.0, 1.0]])
    """
    K = _kernel(inputs, depth)
    size = np.sqrt(np.outer(np.diag(K), np.diag(K)))
    if np.any(size == 0):
        raise InputError("every input must be non-zero to have an angle; one has K(x, x) = 0")
    forward, slopes = [K], []
    for _ in range(depth - 1):
        cosine = np.clip(forward[-1] / size, -1.0, 1.0)
        theta = np.arccos(cosine)
        forward.append(size * (np.sin(theta) + (np.pi - theta) * cosine) / np.pi)
        slopes.append((np.pi - theta) / np.pi)
    backward = [np.ones_like(K)]
    for slope in reversed(slopes):
        backward.insert(0, backward[0] * slope)
    return forward, backward


def _kernel(inputs: Array, depth: int) -> np.ndarray:
    K = finite(inputs, "the input kernel")
    if K.ndim != 2 or K.shape[0] != K.shape[1] or depth < 1:
        raise InputError(f"a kernel is square and the depth ≥ 1; got {K.shape} and {depth}")
    return K
