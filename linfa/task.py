"""Task: what is to be learnt — samples, or the second moments Σ_xx, Σ_yx, Σ_yy that are all a squared loss sees.

Samples are rows, as every data set has them: inputs (N, n_0), targets (N, p). The mean over the samples is
E[·]; the error that drives every rule is E = −∂ℓ/∂X_L, and for the squared loss E = Σ_yx − X_L Σ_xx.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from linfa.arrays import Array, Rng, generator, like
from linfa.batches import Batch, MomentBatch
from linfa.errors import InputError
from linfa.losses import AbstractLoss, Squared
from linfa.provenance import describe


@dataclass(frozen=True, eq=False)
class Task:
    """What is to be learnt: samples and a loss, or second moments and the squared loss.

    Args:
        inputs: x, shape (N, n_0); None where only moments are known.
        targets: y, shape (N, p).
        loss: ℓ, the squared loss unless said otherwise.
        moments: (Σ_xx, Σ_yx, Σ_yy) of shapes (n_0, n_0), (p, n_0), (p, p), where there are no samples.
        test: the held-out task, where there is one.
        origin: where it came from (data set, teacher, seed), kept for provenance.

    >>> task = Task.from_samples(np.eye(2), np.array([[1.0], [0.0]]))
    >>> task.n_in, task.n_out, task.cross.tolist()
    (2, 1, [[0.5, 0.0]])
    """

    inputs: Float[np.ndarray, "N n0"] | None
    targets: Float[np.ndarray, "N p"] | None
    loss: AbstractLoss = field(default_factory=Squared)
    moments: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None
    test: Task | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.loss, AbstractLoss):
            raise InputError(f"a loss is an object such as linfa.Squared(); got {self.loss!r}")
        if self.moments is None:
            _check_samples(self.inputs, self.targets)
            self.loss.check(np.asarray(self.targets))
        else:
            _check_moments(self.inputs, *self.moments, self.loss)

    # Makers ---------------------------------------------------------------------------------------------------------

    @classmethod
    def from_samples(cls, inputs: Array, targets: Array, loss: AbstractLoss | None = None) -> Task:
        """Return the task of fitting targets (N, p) to inputs (N, n_0), given as real arrays."""
        return cls(_real(inputs, "inputs"), _real(targets, "targets"), loss or Squared())

    @classmethod
    def from_moments(cls, xx: Array, yx: Array, yy: Array) -> Task:
        """Return the squared-loss task with the moments Σ_xx (n_0, n_0), Σ_yx (p, n_0), Σ_yy (p, p)."""
        return cls(None, None, moments=(_real(xx, "Σ_xx"), _real(yx, "Σ_yx"), _real(yy, "Σ_yy")))

    @classmethod
    def teacher(
        cls,
        n_in: int,
        n_out: int,
        rng: Rng,
        *,
        spectrum: Sequence[float] | np.ndarray | None = None,
        rank: int | None = None,
        input_spectrum: Sequence[float] | np.ndarray | None = None,
    ) -> Task:
        """Return a random linear teacher y = T x with chosen singular values, T = U diag(spectrum) Vᵀ, U, V Haar.

        Args:
            n_in: n_0.
            n_out: p.
            rng: a seed or generator.
            spectrum: singular values of T, at most min(n_0, p); default ones.
            rank: how many singular values are kept.
            input_spectrum: eigenvalues of Σ_xx, n_0 of them ≥ 0 (in a Haar-random basis); default Σ_xx = I, whitened.

        >>> task = Task.teacher(4, 3, rng=0, spectrum=[2.0, 1.0])
        >>> np.linalg.svd(task.cross)[1].round(12).tolist()
        [2.0, 1.0, 0.0]
        """
        draw, most = generator(rng), min(n_in, n_out)
        values = np.ones(most) if spectrum is None else np.asarray(spectrum, float)
        rank = len(values) if rank is None else rank
        if len(values) > most or not 0 <= rank <= len(values) or not np.all(np.isfinite(values)):
            raise InputError(
                f"a teacher from {n_in} to {n_out} has at most {most} finite singular values and a rank within their "
                f"number; got spectrum {values.tolist()} and rank {rank}"
            )
        U, V = (np.linalg.qr(draw.standard_normal((n, most)))[0] for n in (n_out, n_in))
        T = (U[:, :rank] * values[:rank]) @ V[:, :rank].T
        A = np.eye(n_in)
        if input_spectrum is not None:
            Q = np.linalg.qr(draw.standard_normal((n_in, n_in)))[0]
            eigenvalues = np.asarray(input_spectrum, float)
            if eigenvalues.shape != (n_in,) or not np.all(np.isfinite(eigenvalues)) or np.any(eigenvalues < 0):
                raise InputError(f"Σ_xx needs {n_in} finite eigenvalues ≥ 0; got {eigenvalues.tolist()}")
            A = Q * np.sqrt(eigenvalues)
        # Gram matrices of one pair of factors x = Az, y = TAz, so that rounding keeps them second moments.
        TA = T @ A
        return replace(cls.from_moments(A @ A.T, TA @ A.T, TA @ TA.T), origin={"teacher": values[:rank].tolist()})

    @classmethod
    def from_data(
        cls,
        train_images: Array,
        train_labels: Array,
        test_images: Array | None = None,
        test_labels: Array | None = None,
        *,
        loss: AbstractLoss | None = None,
        classes: Sequence[int] | None = None,
        samples: int | None = None,
        label_noise: float = 0.0,
        rng: Rng = 0,
    ) -> Task:
        """Return a classification task: images flattened, centred and scaled by the training set, labels encoded.

        x = (pixels − mean pixel vector) / (their common standard deviation), so that E‖x‖² = n_0 on the training set.

        Args:
            train_images: (N, ...) of any real dtype.
            train_labels: (N,) integers.
            test_images: held-out images, or None.
            test_labels: held-out labels, or None.
            loss: ℓ, which also decides how labels are encoded (one-hot, or ±1); default squared.
            classes: keep these labels only, and number them in this order; default all that occur.
            samples: keep this many training images, drawn without replacement; default all.
            label_noise: the fraction of training labels that are replaced by another class, uniformly.
            rng: a seed or generator for the draw of samples and of noise.

        >>> images = np.arange(16.0).reshape(4, 1, 2, 2)
        >>> Task.from_data(images, np.array([0, 1, 1, 0])).targets.tolist()
        [[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
        """
        loss, draw = loss or Squared(), generator(rng)
        x, labels, names = _select(train_images, train_labels, classes)
        if len(set(names)) != len(names) or not names:
            raise InputError(f"classes must be different labels, at least one; got {names}")
        absent = [name for i, name in enumerate(names) if i not in labels]
        if absent:
            raise InputError(
                f"classes {absent} do not occur among the training labels {np.unique(train_labels).tolist()}"
            )
        if samples is not None:
            if not 1 <= samples <= len(x):
                raise InputError(f"samples must lie between 1 and the {len(x)} images there are; got {samples}")
            kept = draw.permutation(len(x))[:samples]
            x, labels = x[kept], labels[kept]
        labels = _flip(labels, len(names), label_noise, draw)
        mean = x.mean(0)
        spread = float(np.sqrt(np.mean((x - mean) ** 2)))
        if spread == 0:
            raise InputError("the images are all the same, so they cannot be scaled: nothing can be learnt from them")
        test = None
        if (test_images is None) != (test_labels is None):
            raise InputError("test images and test labels come together; one of them is missing")
        if test_images is not None and test_labels is not None:
            x_test, l_test, _ = _select(test_images, test_labels, names)
            if x_test.shape[1:] != x.shape[1:]:
                raise InputError(f"training images have {x.shape[1]} pixels, test images {x_test.shape[1]}")
            test = cls((x_test - mean) / spread, loss.encode(l_test, len(names)), loss)
        seed = rng if isinstance(rng, int) else "a generator"
        origin = {"classes": [int(c) for c in names], "samples": len(x), "label_noise": label_noise, "seed": seed}
        return cls((x - mean) / spread, loss.encode(labels, len(names)), loss, test=test, origin=origin)

    def whitened(self) -> Task:
        """Return the task with inputs Σ_xx^{−1/2} x, so that Σ_xx is the projector on the span of the data."""
        values, Q = self.spectrum
        root = (Q / np.sqrt(values)) @ Q.T
        test = None if self.test is None else _transformed(self.test, root, None)
        return _transformed(self, root, test)

    # What a network sees --------------------------------------------------------------------------------------------

    @property
    def n_in(self) -> int:
        """n_0, the width of the input."""
        return int(self.cross.shape[1]) if self.inputs is None else int(self.inputs.shape[1])

    @property
    def n_out(self) -> int:
        """p, the width of the output."""
        return int(self.cross.shape[0]) if self.targets is None else int(self.targets.shape[1])

    @cached_property
    def _moments(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if self.moments is not None:
            return self.moments
        x, y = np.asarray(self.inputs), np.asarray(self.targets)
        return x.T @ x / len(x), y.T @ x / len(x), y.T @ y / len(x)

    @property
    def second(self) -> np.ndarray:
        """Σ_xx = E[x xᵀ], shape (n_0, n_0)."""
        return self._moments[0]

    @property
    def cross(self) -> np.ndarray:
        """Σ_yx = E[y xᵀ], shape (p, n_0)."""
        return self._moments[1]

    @property
    def target_second(self) -> np.ndarray:
        """Σ_yy = E[y yᵀ], shape (p, p)."""
        return self._moments[2]

    @cached_property
    def spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """The eigenvalues of Σ_xx above its rounding, increasing, and their eigenvectors as columns."""
        values, basis = np.linalg.eigh(self.second)
        kept = values > values[-1] * len(values) * np.finfo(float).eps * 8
        return values[kept], basis[:, kept]

    @cached_property
    def optimum(self) -> np.ndarray:
        """X* = Σ_yx Σ_xx⁺, the best linear map under the squared loss, shape (p, n_0)."""
        values, Q = self.spectrum
        return np.asarray(self.cross @ (Q / values) @ Q.T)

    @cached_property
    def least_loss(self) -> float:
        """L* = ½ tr (Σ_yy − X* Σ_xx X*ᵀ), the least squared loss of any linear map; rounding below zero is zero."""
        return max(float(np.trace(self.target_second - self.optimum @ self.second @ self.optimum.T)) / 2, 0.0)

    @cached_property
    def _description(self) -> dict[str, Any]:
        fields = ("inputs", "targets", "loss", "moments", "test", "origin")
        return {"type": "Task", **{name: describe(getattr(self, name)) for name in fields}}

    def described(self) -> dict[str, Any]:
        """Return the task as provenance states it; large arrays are hashed once."""
        return self._description

    def everything(self, reference: Array) -> Batch | MomentBatch:
        """Return all samples as one batch, by their moments where the loss is squared and that is cheaper.

        Args:
            reference: an array whose namespace, dtype and device the batch takes.
        """
        if not isinstance(self.loss, Squared) or (self.inputs is not None and len(self.inputs) <= self.n_in):
            return self.samples(reference)
        identity, xx, xy, optimum = (
            like(part, reference) for part in (np.eye(self.n_in), self.second, self.cross.T, self.optimum.T)
        )
        return MomentBatch(identity, xx, xy, optimum, self.least_loss)

    def samples(self, reference: Array) -> Batch:
        """Return all samples as one batch, in the namespace, dtype and on the device of `reference`.

        Raises:
            InputError: where the task has moments only.
        """
        if self.inputs is None or self.targets is None:
            raise InputError(
                "mini-batches need samples, and this task has moments only: make it with Task.from_samples"
            )
        return Batch(like(self.inputs, reference), like(self.targets, reference), self.loss)


def _real(values: Array, name: str) -> np.ndarray:
    """Return values as a float64 array with finite entries, or say which are not."""
    array = np.asarray(values, dtype=float)
    bad = int(np.sum(~np.isfinite(array)))
    if bad:
        raise InputError(
            f"{name} must be finite; {bad} of {array.size} entries are nan or inf: drop or impute them first"
        )
    return array


def _check_samples(inputs: Any, targets: Any) -> None:
    shapes = np.shape(inputs), np.shape(targets)
    if len(shapes[0]) != 2 or len(shapes[1]) != 2 or shapes[0][0] != shapes[1][0] or 0 in (*shapes[0], *shapes[1]):
        raise InputError(
            f"samples are rows: inputs (N, n_0) and targets (N, p) with the same N ≥ 1; got {shapes[0]} and {shapes[1]}"
        )
    _real(inputs, "inputs")
    _real(targets, "targets")


def _check_moments(inputs: Any, xx: np.ndarray, yx: np.ndarray, yy: np.ndarray, loss: AbstractLoss) -> None:
    if inputs is not None:
        raise InputError("give samples or moments, not both: moments are computed from samples")
    if not isinstance(loss, Squared):
        raise InputError(f"moments are enough for the squared loss only; {type(loss).__name__} needs samples")
    p, n = yx.shape if yx.ndim == 2 else (0, 0)
    if xx.shape != (n, n) or yy.shape != (p, p) or n == 0:
        raise InputError(
            f"moments need shapes Σ_xx (n_0, n_0), Σ_yx (p, n_0), Σ_yy (p, p); got {xx.shape}, {yx.shape}, {yy.shape}"
        )
    # Together they must be the second moments of some (x, y): symmetric and without negative directions up to rounding,
    # in units in which neither x nor y is larger.
    units = [1 / np.sqrt(top) if (top := np.abs(np.diag(S)).max()) > 0 else 1.0 for S in (xx, yy)]
    scale = np.repeat(units, (n, p))
    joint = np.block([[xx, yx.T], [yx, yy]]) * scale * scale[:, None]
    slack = 32 * (n + p) * np.finfo(float).eps
    if np.abs(joint - joint.T).max() > slack or np.linalg.eigvalsh((joint + joint.T) / 2)[0] < -(n + p) * slack:
        raise InputError(
            "Σ_xx, Σ_yx, Σ_yy must be second moments of one (x, y): [[Σ_xx, Σ_yxᵀ], [Σ_yx, Σ_yy]] symmetric with "
            "eigenvalues ≥ 0; these are not"
        )


def _select(images: Array, labels: Array, classes: Sequence[int] | None) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Return flattened images, labels numbered 0 …, and the original label of each number."""
    x, original = np.asarray(images), np.asarray(labels)
    if x.ndim < 2 or original.ndim != 1 or len(x) != len(original) or len(x) == 0:
        raise InputError(f"images (N, ...) and labels (N,) must agree in N ≥ 1; got {x.shape} and {original.shape}")
    if not np.issubdtype(original.dtype, np.integer):
        raise InputError(f"labels must be whole numbers; their dtype is {original.dtype}")
    names = np.unique(original).tolist() if classes is None else list(classes)
    kept = np.isin(original, names)
    if not np.any(kept):
        raise InputError(f"none of the classes {names} occurs among the labels {np.unique(original).tolist()}")
    number = {name: i for i, name in enumerate(names)}
    numbered = np.array([number[int(c)] for c in original[kept]], dtype=int)
    return _real(x[kept].reshape(int(kept.sum()), -1), "images"), numbered, names


def _flip(labels: np.ndarray, classes: int, fraction: float, draw: np.random.Generator) -> np.ndarray:
    """Return the labels with a fraction of them moved to another class, uniformly."""
    if not 0 <= fraction <= 1 or (fraction > 0 and classes < 2):
        raise InputError(f"label noise is a fraction between 0 and 1 of labels of two classes or more; got {fraction}")
    chosen = draw.permutation(len(labels))[: round(fraction * len(labels))]
    noisy = labels.copy()
    noisy[chosen] = (labels[chosen] + draw.integers(1, max(classes, 2), len(chosen))) % classes
    return noisy


def _transformed(task: Task, root: np.ndarray, test: Task | None) -> Task:
    """Return the task with inputs x ↦ root x."""
    origin = {**task.origin, "whitened": True}
    if task.inputs is not None:
        return replace(task, inputs=task.inputs @ root, test=test, origin=origin)
    xx = root @ task.second @ root
    return replace(task, moments=((xx + xx.T) / 2, task.cross @ root, task.target_second), origin=origin)
