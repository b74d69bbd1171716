"""Study `low_rank`: what a hidden layer narrower than its task costs under feedback alignment, and what it learns.

Y ≈ W_2W_1 through r hidden units, white inputs. Where do runs end, from many starts and under many feedbacks; does the
start matter; does FA* keep its closed form; and what do the hidden units of backprop and of feedback alignment share?
Losses are ½‖Y − W_2W_1‖², with the ½ that papers on factorisation leave out.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import xarray as xr
from scipy.integrate import solve_ivp

import linfa
from linfa.arrays import norm
from linfa.closed_forms import Factorisation
from linfa.metrics import principal_angles
from sims.study import Study

SKETCHES = 400
"""How many feedbacks say, by the formula, how widely losses spread."""


@dataclass(frozen=True)
class Teacher:
    """A linear teacher of given singular values, white inputs.

    Args:
        n_in: n_0.
        n_out: p.
        spectrum: σ_1 ≥ σ_2 ≥ …
        seed: of its frames.
    """

    n_in: int
    n_out: int
    spectrum: tuple[float, ...]
    seed: int = 0

    def task(self) -> linfa.Task:
        """Return the task."""
        return linfa.Task.teacher(self.n_in, self.n_out, self.seed, spectrum=self.spectrum)


@dataclass(frozen=True)
class Images:
    """Real images, whitened: Σ_xx is the projector on what they span, and Y = Σ_yx Σ_xx^{−½} of the raw ones.

    Args:
        data: the name of the set.
    """

    data: str

    def task(self) -> linfa.Task:
        """Return the task of telling the classes apart by the squared loss."""
        return linfa.Task.from_data(*linfa.data.load(self.data)).whitened()


@dataclass(frozen=True)
class Ends:
    """Many runs of one width, to their rest: every start under every feedback, and every start under backprop.

    Args:
        target: what is factorised.
        hidden: r.
        starts: how many.
        feedbacks: how many, Gaussian.
        steady: runs end where ‖velocity‖ ≤ steady · (1 + ‖state‖).
        scale: of the starts, relative to the standard one.
        repeated: whether the last hidden unit has the feedback of the first, so that rank BᵀY < r: the control.
        seed: of all draws.
    """

    target: Teacher | Images
    hidden: int
    starts: int
    feedbacks: int
    steady: float = 1e-8
    scale: float = 0.5
    repeated: bool = False
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the losses in the end, measured and predicted, and how far ends lie apart, relative to ‖Y‖.

        How far from the limit a run may still be follows from the velocities left: see `remaining`.
        """
        task, draw = self.target.task(), np.random.default_rng([self.seed, self.hidden])
        Y, r = task.cross, self.hidden
        B = draw.standard_normal((self.feedbacks, len(Y), r)) / np.sqrt(r)
        if self.repeated:
            B[..., -1] = B[..., 0]
        starts = [linfa.Weights.standard((task.n_in, r, len(Y)), draw, self.scale) for _ in range(self.starts)]
        ends = rest(task, [[start] * self.feedbacks for start in starts], linfa.FeedbackAlignment((B,)), self.steady)
        fa = seen(task, ends)
        found = xr.Dataset({"loss": (("start", "feedback"), excess(Y, fa)), "spread": ("feedback", _spread(Y, fa))})
        if self.repeated:
            return found
        bp = seen(task, rest(task, [[start] for start in starts], linfa.Backprop(), self.steady))[:, 0]
        forms = [Factorisation(Y, b) for b in B]
        drawn = [Factorisation(Y, draw.standard_normal(B[0].shape)).excess_loss for _ in range(SKETCHES)]
        return found.assign(
            predicted=("feedback", [form.excess_loss for form in forms]),
            off=(("start", "feedback"), norm(fa - np.stack([form.limit for form in forms])) / norm(Y)),
            bound=(("start", "feedback"), remaining(task, ends, B) / norm(Y)),
            backprop=("start", excess(Y, bp)),
            eckart_young=forms[0].eckart_young,
            drawn=("quantile", np.quantile(drawn, (0.05, 0.5, 0.95))),
        )


@dataclass(frozen=True)
class Star:
    """FA*, W_2 = YW_1⁺ at every moment: its equation, integrated, against its closed form; one feedback, many starts.

    Args:
        target: what is factorised.
        hidden: r.
        cosines: cos∠(W_1(0), BᵀY), one per start; for r > 1 one draw per start.
        lengths: ‖W_1(0)‖, one per start.
        t: the end of time, in units of ‖W_1(0)‖/‖BᵀY‖.
        seed: of all draws.
    """

    target: Teacher
    hidden: int
    cosines: tuple[float, ...]
    lengths: tuple[float, ...]
    t: float
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the cosine with BᵀY, that of plain feedback alignment, and the distance from both closed forms."""
        task, draw = self.target.task(), np.random.default_rng(self.seed)
        form = Factorisation(task.cross, draw.standard_normal((task.n_out, self.hidden)))
        ticks, rows = np.linspace(0, self.t, 61), []
        for cosine, length in zip(self.cosines, self.lengths, strict=True):
            first = _start_at(cosine, length, form.sketch, draw)
            t = ticks * length / float(np.linalg.norm(form.sketch))
            rows.append(self._compare(form, task, first, t))
        stacked = {name: (("start", "time")[: row.ndim + 1], np.stack([r[name] for r in rows]))
                   for name, row in rows[0].items()}  # fmt: skip
        return xr.Dataset(stacked, coords={"time": ticks})

    def _compare(
        self, form: Factorisation, task: linfa.Task, first: np.ndarray, t: np.ndarray
    ) -> dict[str, np.ndarray]:
        W, exact = optimal_readout(form, first, t), form.optimal_readout(first, t)
        gram = np.linalg.norm(W @ W.mT - first @ first.T, axis=(1, 2)) / np.linalg.norm(first @ first.T)
        found = {"off": norm(W - exact).max() / norm(first), "gram": gram.max()}
        if self.hidden > 1:
            return found
        net, rule = (
            linfa.Weights((first, form.target @ np.linalg.pinv(first))),
            linfa.FeedbackAlignment((form.feedback,)),
        )
        run = linfa.solve(linfa.Full(net, rule), task, linfa.Flow(float(t[-1]), saves=len(t) - 1))
        plain = run.dataset["W_1"].values
        cosine, fa = (np.sum(w * form.sketch, axis=(1, 2)) / norm(w) / norm(form.sketch) for w in (W, plain))
        return found | {"cosine": cosine, "fa": fa, "tanh": form.alignment(first, t)}


@dataclass(frozen=True)
class Angles:
    """What hidden units read, row(W_1), after backprop and after feedback alignment, on a target of high rank.

    The target has r singular values slightly above one, and then ones: the best map is unique, and little better.

    Args:
        rank: of the target, n_0 = p = rank.
        hidden: r.
        lead: the least of the first r singular values; the largest is 5 % larger.
        feedbacks: how many.
        seed: of all draws.
    """

    rank: int
    hidden: int
    lead: float
    feedbacks: int
    seed: int = 0

    def measure(self) -> xr.Dataset:
        """Return the principal angles between the row spaces, and the losses; both simulated and by the closed form."""
        k, r = self.rank, self.hidden
        spectrum = (*np.linspace(1.05 * self.lead, self.lead, r).tolist(), *(1.0,) * (k - r))
        task, draw = Teacher(k, k, spectrum, self.seed).task(), np.random.default_rng([self.seed, k])
        net = linfa.Weights.standard((k, r, k), draw, 0.5)
        B = draw.standard_normal((self.feedbacks, k, r)) / np.sqrt(r)
        fa = seen(task, rest(task, [[net] * self.feedbacks], linfa.FeedbackAlignment((B,))))[0]
        bp = seen(task, rest(task, [[net]], linfa.Backprop()))[0, 0]
        forms = [Factorisation(task.cross, b) for b in B]
        return xr.Dataset(
            {
                "angle": (("feedback", "unit"), np.stack([_between(x, bp, r) for x in fa])),
                "predicted": (("feedback", "unit"), np.stack([_between(f.limit, f.best, r) for f in forms])),
                "loss": ("feedback", excess(task.cross, fa)),
                "predicted_loss": ("feedback", [form.excess_loss for form in forms]),
                "backprop": float(excess(task.cross, bp)),
                "eckart_young": forms[0].eckart_young,
            }
        )


def rest(
    task: linfa.Task, nets: list[list[linfa.Weights]], rule: linfa.rules.AbstractRule, steady: float = 1e-8
) -> linfa.Weights:
    """Return the weights where each run comes to rest; networks in rows and columns, as given."""
    batch = linfa.Weights(tuple(np.stack([[net[l] for net in row] for row in nets]) for l in range(2)))
    # Tolerances far below the velocity at rest, or their noise would keep it up.
    flow = linfa.Flow(1e4, rtol=steady / 100, atol=steady / 1e4, saves=1, steady=steady, max_steps=1_000_000)
    return linfa.solve(linfa.Full(batch, rule), task, flow).weights(-1)


def seen(task: linfa.Task, weights: linfa.Weights) -> np.ndarray:
    """Return W_2W_1 on the span of the inputs: what lies outside is never seen, and never moves."""
    return np.asarray(weights.products()[-1] @ task.second)


def remaining(task: linfa.Task, weights: linfa.Weights, B: np.ndarray) -> np.ndarray:
    """Return a bound on ‖W_2W_1 − Y P_row(BᵀY)‖ from the velocities, ‖Ẇ_2‖/σ_min(W_1) + √2‖Y‖_2‖Ẇ_1‖/σ_min(BᵀY).

    With P the projector on row(W_1), W_2W_1 − YP = −Ẇ_2(W_1W_1ᵀ)⁻¹W_1, and BᵀY(I − P) = Ẇ_1(I − P) says how far P is
    from P_row(BᵀY); σ_min is the least singular value that is not zero. To rounding, and where Gaussian B is generic.

    Args:
        task: white on the span of its inputs.
        weights: W_1 and W_2, with leading axes.
        B: the feedback, shape (..., p, r).
    """
    first, Y = weights[0] @ task.second, task.cross
    E, A = Y - weights[1] @ first, B.mT @ Y
    rank = min(B.shape[-1], np.linalg.matrix_rank(Y)) - 1
    sketched = np.linalg.svd(A, compute_uv=False)[..., rank]
    learnt = np.linalg.svd(first, compute_uv=False)[..., -1]
    onto = np.sqrt(2) * np.linalg.norm(Y, 2) * norm(B.mT @ E) / sketched
    return np.asarray(norm(E @ first.mT) / learnt + onto)


def excess(Y: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Return ½‖Y − X‖², the loss above the least that any linear map has.

    >>> float(excess(np.ones((2, 2)), np.zeros((2, 2))))
    2.0
    """
    return np.asarray(norm(Y - X) ** 2 / 2)


def optimal_readout(form: Factorisation, first: np.ndarray, t: np.ndarray) -> np.ndarray:
    """Return W_1 of FA* at the given times, by an adaptive integration of Ẇ_1 = Bᵀ(Y − YW_1⁺W_1)."""

    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        W = y.reshape(first.shape)
        return np.asarray((form.sketch - form.sketch @ np.linalg.pinv(W) @ W).ravel())

    run = solve_ivp(velocity, (0.0, float(t[-1])), first.ravel(), "DOP853", t, rtol=1e-11, atol=1e-13)
    return np.asarray(run.y.T.reshape(len(t), *first.shape))


def _start_at(cosine: float, length: float, A: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Return W_1 of a given norm whose cosine with A is the given one."""
    along, other = A / norm(A), draw.standard_normal(A.shape)
    across = other - np.sum(other * along) * along
    return np.asarray(length * (cosine * along + np.sqrt(1 - cosine**2) * across / norm(across)))


def _spread(Y: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the largest distance between the ends of two starts, relative to ‖Y‖, for each feedback."""
    return np.max([norm(a - b) / norm(Y) for a, b in combinations(ends, 2)], axis=0)


def _between(X: np.ndarray, Z: np.ndarray, r: int) -> np.ndarray:
    """Return the principal angles between the row spaces of two maps of rank r, largest first."""
    rows = [np.linalg.svd(M)[2][:r].T for M in (X, Z)]
    return principal_angles(*rows)


SYNTHETIC = Teacher(16, 12, tuple(0.85**i for i in range(10)))
COSINES, LENGTHS = (-0.9999, -0.9, -0.5, 0.0, 0.5), (0.5, 1.0, 2.0, 1.0, 0.5)


def cells(fast: bool) -> tuple[Ends | Star | Angles, ...]:
    """Return the cells: fast, few starts and feedbacks; full, many of both, and larger targets."""
    many, steady = ((3, 4), 1e-7) if fast else ((5, 8), 1e-8)
    found: list[Ends | Star | Angles] = []
    for target, few, most in ((SYNTHETIC, (1, 2, 4, 6, 8, 10), 12), (Images("digits"), (1, 4, 9), 10)):
        hidden = few if fast else tuple(range(1, most + 1))
        found += [Ends(target, r, *many, steady) for r in hidden]
        found += [Ends(target, r, *many, steady, repeated=True) for r in hidden if 1 < r < 9]
    found += [Star(SYNTHETIC, r, COSINES, LENGTHS, 8.0) for r in (1, 3)]
    return (*found, *(Angles(k, 4, 1.2, many[1]) for k in ((8, 16, 32) if fast else (8, 16, 32, 64, 128, 256))))


def compute(cell: Ends | Star | Angles) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="low_rank",
    paper="Garg & Vempala 2021; theory/low_rank",
    claim="Narrower than its task, feedback alignment ends at a random sketch of it, from every start; backprop at the "
    "best map of that rank.",
    cells=cells,
    compute=compute,
)
