"""Study `dominance`: alignment dominance at the start, and what it does for two-layer nets on real images.

Two layers f = V σ(Wx), linear or ReLU, feedback B fixed. For one output (theory's A2) with q_k = E[ℓ' σ'(w_k·x) x]

    κ_k = a_k b_k − ½‖w_k‖² is constant,   dL/dt = −Σ_k a_k b_k ‖q_k‖² − ‖∇_a L‖²,

so that κ_k ≥ 0 at the start keeps a_k b_k ≥ κ_k and the loss falling for ever. Which starts have it, what happens to
those that have not, and how far does the hypothesis reach with several outputs, where only V = ½E‖Bᵀ(y − f)‖² is
known to fall (linear nets, C_1 ⪯ 0 on range Bᵀ)? Steps are small ones of the flow; each lowers κ_k by exactly
½η²‖U_1[k,:]‖², and that account is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import xarray as xr

import linfa
from linfa.arrays import norm
from linfa.conditions import MatrixDominance, NeuronDominance
from linfa.rules.interface import State
from sims.study import Study

STARTS = ("dominated", "random", "opposed")
"""Starts with the same |a_k| and w_k: signs of the feedback, random signs, opposite signs."""

MOMENTS = 80
"""How many moments of a path are kept, evenly spread on a logarithmic axis."""


@dataclass(frozen=True)
class Images:
    """A few real images, made coarse, centred and white on what they span: every direction is learnt at one pace.

    Args:
        data: the name of the set.
        samples: N, the first ones of the training set.
        outputs: p = 1: even against odd, ±1; otherwise one-hot classes.
        side: images are averaged in blocks down to side × side.
    """

    data: str
    samples: int
    outputs: int
    side: int

    def task(self) -> linfa.Task:
        """Return the task, squared loss."""
        images, labels, *_ = linfa.data.load(self.data)
        x, y = images[: self.samples, 0].astype(float), labels[: self.samples].astype(int)
        block = x.shape[-1] // self.side
        x = x.reshape(len(x), self.side, block, self.side, block).mean((2, 4)).reshape(len(x), -1)
        signs = 1.0 - 2.0 * (y[:, None] % 2)
        return linfa.Task.from_samples(x - x.mean(0), signs if self.outputs == 1 else np.eye(10)[y]).whitened()


class Instant(NamedTuple):
    """One look at nets of two layers; leading axes are a batch of nets."""

    loss: np.ndarray
    updates: tuple[np.ndarray, np.ndarray]
    """U_1, U_2."""
    gradients: tuple[np.ndarray, np.ndarray]
    """−∇_1, −∇_2."""
    lyapunov: tuple[np.ndarray, np.ndarray]
    """The negative gradients of V = ½E‖Bᵀ(y − f)‖²."""


def look(task: linfa.Task, W: np.ndarray, V: np.ndarray, B: np.ndarray, relu: bool) -> Instant:
    """Return loss, updates and gradients of f = V σ(Wx) under feedback B, squared loss.

    Args:
        task: with samples.
        W: shape (…, n, n_0).
        V: shape (…, p, n).
        B: likewise.
        relu: σ(z) = max(z, 0), or z.
    """
    x, y = np.asarray(task.inputs), np.asarray(task.targets)
    z = x @ W.mT
    on = (z > 0).astype(float) if relu else np.ones_like(z)
    h = z * on
    E = y - h @ V.mT
    e = E / len(x)

    def back(out: np.ndarray, through: np.ndarray) -> np.ndarray:
        return np.asarray((on * (out @ through)).mT @ x)

    potential = e @ B @ B.mT
    U = back(e, B), e.mT @ h
    return Instant(np.sum(E * e, axis=(-2, -1)) / 2, U, (back(e, V), U[1]), (back(potential, V), potential.mT @ h))


def slope(updates: tuple[np.ndarray, ...], gradients: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return −Σ_l ⟨U_l, −∇_l⟩, the slope along the flow, and the rounding it may carry.

    >>> one = np.ones((1, 1))
    >>> float(slope((one, one), (2 * one, -one))[0])
    -1.0
    """
    terms = [u * g for u, g in zip(updates, gradients, strict=True)]
    total = sum(np.sum(t, axis=(-2, -1)) for t in terms)
    size = sum(np.sum(np.abs(t), axis=(-2, -1)) for t in terms)
    # Of a sum of D products, each of which is a sum over the samples, the error is far below √D units.
    return -np.asarray(total), np.asarray(size) * np.finfo(float).eps * np.sqrt(sum(t[..., 0, 0].size for t in terms))


def moved(W: np.ndarray, V: np.ndarray, now: Instant, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Return W + ηU_1 and V + ηU_2.

    Raises:
        DivergenceError: where the loss is no longer finite.
    """
    if not np.all(np.isfinite(now.loss)):
        raise linfa.DivergenceError(f"the loss is no longer finite: steps of {rate:g} are too large, take smaller ones")
    return W + rate * now.updates[0], V + rate * now.updates[1]


@dataclass(frozen=True)
class Paths:
    """One ReLU net with one output from three starts, moment by moment.

    Args:
        images: what is learnt.
        hidden: n.
        scale: of W_1(0), N(0, scale²/n_0).
        margin: a_k(0) = ±(1 + margin)·½‖w_k‖²/b_k, so that a dominated start has κ_k = margin·½‖w_k‖²; b_k = ±1.
        rate: η.
        steps: how many.
        seed: of all draws.
    """

    images: Images
    hidden: int
    scale: float
    margin: float
    rate: float
    steps: int
    seed: int = 0

    def starts(self, n_in: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return W, V, B of the starts, one after the other."""
        draw = np.random.default_rng(self.seed)
        W = self.scale / np.sqrt(n_in) * draw.standard_normal((self.hidden, n_in))
        b = draw.choice((-1.0, 1.0), (1, self.hidden))
        a = (1 + self.margin) * np.sum(W * W, axis=1) / 2 * b
        signs = draw.permutation(np.resize((-1.0, 1.0), self.hidden))
        return np.stack([W] * 3), np.stack([a, a * signs, -a]), np.stack([b] * 3)

    def measure(self) -> xr.Dataset:
        """Return loss, μ, κ_k, a_k b_k, the slope with its bound, and what the account of κ_k leaves unexplained."""
        task = self.images.task()
        W, V, B = self.starts(task.n_in)
        start, lost, rows, times = _kappas(W, V, B), np.zeros((3, self.hidden)), [], []
        kept = {0, *np.geomspace(1, self.steps, MOMENTS).astype(int).tolist()}
        for k in range(self.steps + 1):
            now = look(task, W, V, B, relu=True)
            if k in kept:
                rows.append(self._moment(now, W, V, B, start, lost))
                times.append(k * self.rate)
            W, V = moved(W, V, now, self.rate)
            lost = lost + self.rate**2 / 2 * np.sum(now.updates[0] ** 2, axis=-1)
        dims = {1: ("time", "start"), 2: ("time", "start", "neuron")}
        data = {name: (dims[np.ndim(row)], np.stack([r[name] for r in rows])) for name, row in rows[0].items()}
        return xr.Dataset(data, coords={"time": times, "start": list(STARTS)})

    def _moment(
        self, now: Instant, W: np.ndarray, V: np.ndarray, B: np.ndarray, start: np.ndarray, lost: np.ndarray
    ) -> dict[str, np.ndarray]:
        downhill, _ = slope(now.updates, now.gradients)
        steep = sum(np.sum(g * g, axis=(-2, -1)) for g in now.gradients)
        kappa = _kappas(W, V, B)
        # U_1[k,:] = b_k q_k, and b_k = ±1 here.
        q = np.sum(now.updates[0] ** 2, axis=(-2, -1))
        size = np.abs(V * B)[:, 0] + np.sum(W * W, axis=-1) / 2
        return {
            "loss": now.loss,
            "mu": -downhill / steep,
            "kappa": kappa,
            "aligned": (V * B)[:, 0],
            "slope": downhill,
            "bound": -np.min(kappa, axis=-1) * q - np.sum(now.updates[1] ** 2, axis=(-2, -1)),
            "unexplained": np.abs(kappa - start + lost) / (np.finfo(float).eps * size),
        }


@dataclass(frozen=True)
class Phase:
    """Many starts of one scale: does the loss fall at every step, and is the task learnt in the end?

    W_1(0) = s G/√n_0 and W_2(0) = s ‖B‖ (c B/‖B‖ + √(1 − c²) H/‖H‖), H ⊥ B Gaussian, B with entries ±1,
    c the cosine of the angle between W_2(0) and B.

    Args:
        images: what is learnt.
        relu: whether hidden units are ReLUs, or linear.
        hidden: n.
        scale: s.
        angles: in degrees.
        draws: of W_1, B and H.
        rate: η.
        steps: how many.
        seed: of all draws.
    """

    images: Images
    relu: bool
    hidden: int
    scale: float
    angles: tuple[float, ...]
    draws: int
    rate: float
    steps: int
    seed: int = 0

    def starts(self, n_in: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Yield W, V for all angles, and B, draw by draw; scales share their draws."""
        draw, c = np.random.default_rng(self.seed), np.cos(np.radians(self.angles))[:, None, None]
        p, n = self.images.outputs, self.hidden
        for _ in range(self.draws):
            W = self.scale / np.sqrt(n_in) * draw.standard_normal((n, n_in))
            B, H = draw.choice((-1.0, 1.0), (p, n)), draw.standard_normal((p, n))
            H = H - np.sum(H * B) / np.sum(B * B) * B
            V = self.scale * (c * B + np.sqrt(1 - c**2) * norm(B) / norm(H) * H)
            yield np.stack([W] * len(c)), V, B

    def measure(self) -> xr.Dataset:
        """Return by draw and angle whether L and V fell throughout, what is left of L, its peak, and dominance."""
        task = self.images.task()
        least = 0.0 if self.relu else task.least_loss
        rows = [self._run(task, least, W, V, B) for W, V, B in self.starts(task.n_in)]
        dims = ("draw", "angle")
        data = {name: (dims, np.stack([r[name] for r in rows])) for name in rows[0]}
        return xr.Dataset(data, coords={"angle": list(self.angles)})

    def _run(
        self, task: linfa.Task, least: float, W: np.ndarray, V: np.ndarray, B: np.ndarray
    ) -> dict[str, np.ndarray]:
        rule, state = linfa.FeedbackAlignment((B,)), State((W, V))
        found = {
            "neuron": NeuronDominance().margin(rule, state)[..., 0] >= 0,
            "matrix": MatrixDominance(reached=True).margin(rule, state)[..., 0] >= 0,
        }
        first = look(task, W, V, B, self.relu).loss
        falls, lyapunov, peak = np.full(len(V), True), np.full(len(V), True), first
        for _ in range(self.steps):
            now = look(task, W, V, B, self.relu)
            for kept, gradients in ((falls, now.gradients), (lyapunov, now.lyapunov)):
                steep, rounding = slope(now.updates, gradients)
                kept &= steep <= rounding
            peak = np.maximum(peak, now.loss)
            W, V = moved(W, V, now, self.rate)
        zero = float(np.sum(np.asarray(task.targets) ** 2)) / (2 * len(np.asarray(task.targets)))
        left = (look(task, W, V, B, self.relu).loss - least) / (zero - least)
        return found | {"falls": falls, "lyapunov": lyapunov, "left": left, "peak": peak / first}


def _kappas(W: np.ndarray, V: np.ndarray, B: np.ndarray) -> np.ndarray:
    return np.asarray(NeuronDominance().neurons(linfa.FeedbackAlignment((B,)), State((W, V)))[0])


KINDS = ((False, 1), (True, 1), (False, 10), (True, 10))
"""(ReLU or not, outputs) of the phase diagrams."""


ANGLES = (180.0, 135.0, 90.0, 60.0, 45.0, 20.0, 0.0)
SCALES = (0.125, 0.25, 0.5, 1.0)


def cells(fast: bool) -> tuple[Paths | Phase, ...]:
    """Return the cells: fast, digits and a coarse diagram; full, also MNIST, and finer."""
    found: list[Paths | Phase] = []
    for data, samples, side in (("digits", 128, 8),) if fast else (("digits", 300, 8), ("mnist", 300, 7)):
        found.append(Paths(Images(data, samples, 1, side), 16, 0.3, 1.0, 0.02, 1000))
        for relu, outputs in KINDS:
            images = Images(data, samples, outputs, side)
            found += [
                Phase(images, relu, 16, s, ANGLES[::2], 3, 0.01, 600)
                if fast
                else Phase(images, relu, 16, s, ANGLES, 8, 0.01, 1200)
                for s in (SCALES[::2] if fast else SCALES)
            ]
    return tuple(found)


def compute(cell: Paths | Phase) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="dominance",
    paper="Robertson & Koyejo 2024; theory.md A1, A2, A4",
    claim="Where alignment dominates at the start, one output's loss falls for ever; many starts without it learn too.",
    cells=cells,
    compute=compute,
    recorded=1,
)
