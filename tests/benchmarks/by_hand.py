"""What one would write without linfa: three layers under feedback alignment by hand, for SciPy, diffrax and torch.

Each is as cheap as it can be written: the feedback is multiplied out beforehand, M_1 = B_2ᵀB_3ᵀ and M_2 = B_3ᵀ, inputs
are white (Σ_xx = I), and matrices are multiplied in the cheapest order,

    E = Σ_yx − W_3 (W_2 W_1),   Ẇ_1 = M_1 E,   Ẇ_2 = M_2 (E W_1ᵀ),   Ẇ_3 = E (W_2 W_1)ᵀ
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import scipy.integrate

import linfa
from linfa.rules.interface import State

Matrices = tuple[Any, ...]
"""W_1, W_2, W_3; leading axes are a batch of networks."""


def paths(net: linfa.Weights, rule: linfa.FeedbackAlignment) -> Matrices:
    """Return M_1 and M_2."""
    return rule.paths(State(net.matrices))[:2]


def by_scipy(W: Matrices, M: Matrices, cross: np.ndarray, t: float, rtol: float, method: str) -> Matrices:
    """Return W(t) by an explicit method of SciPy's, stepped without keeping what it passes."""
    shapes, ends = [w.shape for w in W], np.cumsum([0, *(w.size for w in W)])

    def split(y: np.ndarray) -> Matrices:
        return tuple(y[a:b].reshape(s) for a, b, s in zip(ends, ends[1:], shapes, strict=False))

    def velocity(_: float, y: np.ndarray) -> np.ndarray:
        (W1, W2, W3), out = split(y), np.empty_like(y)
        V1, V2, V3 = split(out)
        h = W2 @ W1
        E = cross - W3 @ h
        np.matmul(M[0], E, out=V1)
        np.matmul(M[1], E @ W1.T, out=V2)
        np.matmul(E, h.T, out=V3)
        return out

    start = np.concatenate([w.ravel() for w in W])
    stepper = getattr(scipy.integrate, method)(velocity, 0.0, start, t, rtol=rtol, atol=1e-3 * rtol)
    while stepper.status == "running":
        stepper.step()
    return split(stepper.y)


def missing(package: str) -> bool:
    """Say in one sentence that a peer is not installed, if so."""
    if importlib.util.find_spec(package):
        return False
    print(f"  {package} is not installed, so that it is left out: pip install {package}")
    return True


def by_diffrax(
    W: Matrices, M: Matrices, cross: np.ndarray, t: float, rtol: float, method: str, over: str = ""
) -> Callable[[], Matrices]:
    """Return the call that gives W(t) by diffrax in float64, already compiled; over a batch by "vmap" or "lax.map"."""
    import diffrax
    import jax

    jax.config.update("jax_enable_x64", True)
    control = diffrax.PIDController(rtol=rtol, atol=1e-3 * rtol)
    solver, ends = getattr(diffrax, method)(), diffrax.SaveAt(t1=True)

    def velocity(_: Any, y: Matrices, M: Matrices) -> Matrices:
        W1, W2, W3 = y
        h = W2 @ W1
        E = cross - W3 @ h
        return M[0] @ E, M[1] @ (E @ W1.T), E @ h.T

    def final(start: tuple[Matrices, Matrices]) -> Matrices:
        y, M = start
        term, options = diffrax.ODETerm(velocity), {"stepsize_controller": control, "saveat": ends, "max_steps": None}
        return tuple(w[0] for w in diffrax.diffeqsolve(term, solver, 0.0, t, None, y, M, **options).ys)

    batches = {"": final, "vmap": jax.vmap(final), "lax.map": lambda starts: jax.lax.map(final, starts)}
    start = jax.tree.map(jax.numpy.asarray, (tuple(W), tuple(M)))
    whole = jax.jit(batches[over]).lower(start).compile()
    return lambda: jax.block_until_ready(whole(start))


def by_torch(
    net: linfa.Weights, rule: linfa.FeedbackAlignment, x: Any, y: Any, rate: float, order: Any, dtype: str
) -> Iterator[tuple[float, Matrices]]:
    """Yield the seconds of each step of mini-batch SGD on softmax cross-entropy, and the weights after it."""
    import torch

    def tensor(a: Any) -> Any:
        return torch.tensor(a, dtype=getattr(torch, dtype))

    torch.set_num_threads(1)
    W, B = [tensor(w) for w in net], [tensor(b) for b in rule.feedback(State(net.matrices))]
    x, y = tensor(x), tensor(y)
    for rows in order:
        began = time.process_time()
        with torch.no_grad():
            index = torch.as_tensor(rows)
            h = [x[index]]
            for w in W:
                h.append(h[-1] @ w.T)
            signals = [(y[index] - torch.softmax(h[-1], 1)) / len(rows)]
            for b in reversed(B):
                signals.insert(0, signals[0] @ b)
            for w, signal, activity in zip(W, signals, h, strict=False):
                w.addmm_(signal.T, activity, alpha=rate)
        yield time.process_time() - began, tuple(W)
