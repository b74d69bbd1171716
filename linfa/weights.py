"""Weights: the tuple of matrices W_1 … W_L of a deep linear network, and the usual ways to start it.

`W_l` has shape (n_l, n_{l−1}), rows are post-synaptic. The paper counts layers from 1 and Python from 0:
``weights[0]`` is W_1. The starts that satisfy alignment dominance by construction are in `linfa.dominated`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from jaxtyping import Float

from linfa.arrays import Array, Rng, eye, generator, like
from linfa.errors import InputError
from linfa.matrices import AbstractMatrix, Seeded


def check_widths(widths: Sequence[int]) -> tuple[int, ...]:
    """Return the widths n_0 … n_L as a tuple, or say what is wrong with them.

    >>> check_widths([3, 4, 2])
    (3, 4, 2)
    """
    if len(widths) < 2:
        raise InputError(f"a network needs at least two widths, input and output; got {tuple(widths)}")
    for l, n in enumerate(widths):
        if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 1:
            raise InputError(f"every width must be a whole number ≥ 1; n_{l} is {n!r} in {tuple(widths)}")
    return tuple(int(n) for n in widths)


def check_scale(scale: float, what: str = "scale") -> float:
    """Return a scale, or say that it must be finite and not negative."""
    if not np.isfinite(scale) or scale < 0:
        raise InputError(f"{what} must be finite and ≥ 0; got {scale}")
    return float(scale)


@dataclass(frozen=True, eq=False)
class Weights(Sequence[Array]):
    """The weight matrices of a deep linear network, f(x) = W_L … W_1 x.

    Args:
        matrices: W_1 … W_L, `W_l` of shape (..., n_l, n_{l−1}); leading axes are a batch of networks. They may be
            `linfa.matrices`, given by seeds or factors, which `WidthFree` never makes.
        origin: how they were drawn (initialiser, seed, scale), kept for provenance.

    Raises:
        InputError: where shapes do not chain, or an entry is not finite.

    >>> net = Weights.standard((3, 4, 2), rng=0)
    >>> net.depth, net.widths, net[0].shape
    (2, (3, 4, 2), (4, 3))

    """

    matrices: tuple[Float[Any, ...], ...]
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "matrices", tuple(self.matrices))
        if not self.matrices:
            raise InputError("a network needs at least one weight matrix; got none")
        for l, W in enumerate(self.matrices, 1):
            if getattr(W, "ndim", 0) < 2:
                raise InputError(f"W_{l} must be a matrix (..., n_{l}, n_{l - 1}); got {np.shape(W)}")
            xp = array_namespace(W)
            if not xp.isdtype(W.dtype, "real floating"):
                raise InputError(f"W_{l} must hold real floating numbers; its dtype is {W.dtype}")
            if min(W.shape[-2:]) < 1:
                raise InputError(f"every width must be a whole number ≥ 1; W_{l} has shape {tuple(W.shape)}")
            if not bool(xp.all(xp.isfinite(W))):
                raise InputError(f"every weight must be finite; W_{l} holds nan or inf")
        for l, (W, W_next) in enumerate(zip(self.matrices, self.matrices[1:], strict=False), 1):
            if W_next.shape[-1] != W.shape[-2]:
                raise InputError(
                    f"shapes must chain: W_{l} {tuple(W.shape)} gives {W.shape[-2]} units, "
                    f"but W_{l + 1} {tuple(W_next.shape)} takes {W_next.shape[-1]}"
                )

    def __len__(self) -> int:
        return len(self.matrices)

    def __getitem__(self, index: Any) -> Any:
        return self.matrices[index]

    def __iter__(self) -> Iterator[Array]:
        return iter(self.matrices)

    @property
    def depth(self) -> int:
        """Depth L: the number of weight matrices."""
        return len(self.matrices)

    @property
    def widths(self) -> tuple[int, ...]:
        """Widths (n_0, …, n_L)."""
        return (self.matrices[0].shape[-1], *(W.shape[-2] for W in self.matrices))

    @property
    def size(self) -> int:
        """Number of parameters D = Σ n_l n_{l−1} of one network."""
        return sum(W.shape[-2] * W.shape[-1] for W in self.matrices)

    def products(self) -> tuple[Float[Any, ...], ...]:
        """Return the partial products X_0 = I, X_l = W_l … W_1.

        >>> Weights((2 * np.eye(1), 3 * np.eye(1))).products()[-1]
        array([[6.]])
        """
        X = [eye(self.widths[0], self.matrices[0])]
        for W in self.matrices:
            X.append(W @ X[-1])
        return tuple(X)

    def map(self, change: Callable[[Array], Array]) -> Weights:
        """Return the weights with `change` applied to every matrix (a cast, a move to torch, a scale)."""
        return Weights(tuple(change(W) for W in self.matrices), self.origin)

    @classmethod
    def standard(cls, widths: Sequence[int], rng: Rng, scale: float = 1.0) -> Weights:
        """Return Gaussian weights, W_l[i, j] ~ N(0, scale²/n_{l−1}): every layer keeps the norm of its input.

        >>> bool(abs(np.std(Weights.standard((400, 400), rng=0)[0]) * 20 - 1) < 0.01)
        True
        """
        widths, scale = check_widths(widths), check_scale(scale)
        draw = generator(rng)
        matrices = tuple(
            scale / np.sqrt(n_in) * draw.standard_normal((n_out, n_in))
            for n_in, n_out in zip(widths, widths[1:], strict=False)
        )
        return cls(matrices, drawn("standard", rng, scale=scale))

    @classmethod
    def seeded(cls, widths: Sequence[int], seed: int, scale: float = 1.0) -> Weights:
        """Return a start with the law of the standard one whose entries are drawn again whenever they are needed.

        A width-free run multiplies them block by block, and `FeedbackAlignment.random` makes seeded feedback for them.
        Where they fit in memory, `net.map(np.asarray)` makes them.

        >>> net = Weights.seeded((3, 10**6, 10**6, 2), seed=0)
        >>> net[1].rows(7, 9).shape
        (2, 1000000)
        """
        widths, scale = check_widths(widths), check_scale(scale)
        matrices = tuple(
            Seeded((n_out, n_in), scale / float(np.sqrt(n_in)), (seed, 0, l))
            for l, (n_in, n_out) in enumerate(zip(widths, widths[1:], strict=False), 1)
        )
        return cls(matrices, drawn("seeded", seed, scale=scale))

    @classmethod
    def small(cls, widths: Sequence[int], rng: Rng, scale: float = 1e-3) -> Weights:
        """Return the standard start times a small scale: the rich regime, close to the saddle at zero."""
        return cls(cls.standard(widths, rng, scale).matrices, drawn("small", rng, scale=scale))

    @classmethod
    def zero(cls, widths: Sequence[int]) -> Weights:
        """Return W_l = 0, from where feedback alignment (not backprop) still learns.

        >>> float(np.sum(Weights.zero((2, 3))[0]))
        0.0
        """
        widths = check_widths(widths)
        matrices = tuple(np.zeros(shape) for shape in zip(widths[1:], widths, strict=False))
        return cls(matrices, drawn("zero", None))

    @classmethod
    def mean_field(cls, widths: Sequence[int], rng: Rng, scale: float = 1.0) -> Weights:
        """Return the standard start with a read-out of variance scale²/n_{L−1}², which vanishes with the width."""
        start = cls.standard(widths, rng, scale).matrices
        readout = start[-1] / np.sqrt(start[-1].shape[-1])
        return cls((*start[:-1], readout), drawn("mean_field", rng, scale=scale))

    @classmethod
    def orthogonal(cls, widths: Sequence[int], rng: Rng, scale: float = 1.0) -> Weights:
        """Return Haar-distributed (semi-)orthogonal matrices times a scale.

        >>> W = Weights.orthogonal((5, 3), rng=0)[0]
        >>> bool(np.allclose(W @ W.T, np.eye(3)))
        True
        """
        widths, scale = check_widths(widths), check_scale(scale)
        draw = generator(rng)
        matrices = tuple(
            scale * (_frame(max(pair), min(pair), draw) if pair[0] <= pair[1] else _frame(*pair, draw).T)
            for pair in zip(widths, widths[1:], strict=False)
        )
        return cls(matrices, drawn("orthogonal", rng, scale=scale))

    @classmethod
    def balanced(cls, widths: Sequence[int], rng: Rng, scale: float = 1.0) -> Weights:
        """Return weights with W_l W_lᵀ = W_{l+1}ᵀ W_{l+1}, backprop's conserved quantity at zero.

        W_l = U_l S U_{l−1}ᵀ with orthonormal U_l of shape (n_l, r), r = min n_l, and one spectrum S for all layers
        (Arora, Cohen & Hazan 2018).

        >>> W, V = Weights.balanced((3, 4, 2), rng=0)
        >>> bool(np.allclose(W @ W.T, V.T @ V))
        True
        """
        widths, scale = check_widths(widths), check_scale(scale)
        draw, r = generator(rng), min(widths)
        spectrum = scale * draw.uniform(0.5, 1.5, r)
        frames = [_frame(n, r, draw) for n in widths]
        matrices = tuple((U * spectrum) @ V.T for V, U in zip(frames, frames[1:], strict=False))
        return cls(matrices, drawn("balanced", rng, scale=scale))

    @classmethod
    def dominated(
        cls,
        feedback: Sequence[Array],
        n_in: int,
        rng: Rng,
        scale: float = 1e-2,
        margin: float = 1.0,
        per_neuron: bool = False,
    ) -> Weights:
        """Return weights that satisfy alignment dominance for the feedback B_2 … B_L, so that alignment never ends.

        Matrix dominance C_l ⪯ 0, or the weaker neuron dominance; see `linfa.dominated` for the construction.

        >>> B = np.array([[1.0, 2.0]])
        >>> W, V = Weights.dominated([B], n_in=3, rng=0)
        >>> bool(np.linalg.eigvalsh(W @ W.T - B.T @ V - V.T @ B).max() < 1e-12)
        True
        """
        from linfa.dominated import matrix_dominated, neuron_dominated  # it makes Weights itself

        start = neuron_dominated if per_neuron else matrix_dominated
        return start(feedback, n_in, rng, scale, margin)


def _frame(n: int, r: int, draw: np.random.Generator) -> np.ndarray:
    """Return n × r orthonormal columns, Haar-distributed: the signs of R make the factor Q unique."""
    Q, R = np.linalg.qr(draw.standard_normal((n, r)))
    return Q * np.where(np.diag(R) < 0, -1.0, 1.0)


def drawn(initialiser: str, rng: Rng | None, **options: float) -> dict[str, Any]:
    """Return what provenance says of a start; a generator's place in its stream has no short name."""
    seed = rng if rng is None or isinstance(rng, int) else "a generator"
    return {"initialiser": initialiser, "seed": seed, **options}


def as_weights(matrices: Weights | Sequence[Array]) -> Weights:
    """Return the weights themselves, or the weights that a sequence of matrices makes."""
    return matrices if isinstance(matrices, Weights) else Weights(tuple(matrices))


def feedback_shapes(widths: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Return the shapes (n_l, n_{l−1}) of B_2 … B_L.

    >>> feedback_shapes((3, 4, 5, 2))
    ((5, 4), (2, 5))
    """
    return tuple(zip(widths[2:], widths[1:], strict=False))


def draw_feedback(weights: Weights, rng: Rng, scale: float = 1.0) -> tuple[Array, ...]:
    """Return B_2 … B_L with the law of the standard start, B_l[i, j] ~ N(0, scale²/n_{l−1}).

    Where W_l is implicit, B_l is seeded, and independent of what `Weights.seeded` makes of the same seed.
    """
    scale, draw, seed = check_scale(scale), generator(rng), 0
    if any(isinstance(W, AbstractMatrix) for W in weights):
        seed = rng if isinstance(rng, int) else int(draw.integers(2**63))
    feedback = []
    for l, (W, shape) in enumerate(zip(weights[1:], feedback_shapes(weights.widths), strict=True), 2):
        deviation = scale / float(np.sqrt(shape[1]))
        if isinstance(W, AbstractMatrix):
            feedback.append(Seeded(shape, deviation, (seed, 1, l)))
        else:
            feedback.append(like(deviation * draw.standard_normal(shape), weights[0]))
    return tuple(feedback)


def check_feedback_widths(feedback: Sequence[Array], n_in: int) -> tuple[int, ...]:
    """Return the widths (n_0, …, n_L) of the network that B_2 … B_L belong to.

    >>> check_feedback_widths([np.ones((2, 4))], 3)
    (3, 4, 2)
    """
    if len(feedback) == 0:
        raise InputError("dominance speaks of hidden layers: B_2 … B_L are needed; got none")
    # Weights checks that the shapes chain and that every entry is finite.
    hidden = Weights(tuple(feedback)).widths
    return check_widths((n_in, *hidden))
