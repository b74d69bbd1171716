"""The slow twin: the whole network, simulated, and how far a simulation may be from the truth."""

import numpy as np

import linfa

FINE = {"rtol": 1e-12, "atol": 1e-14}


def simulated(net, rule, task, t, saves=4, **options):
    """Return (run, bound): the flow of the full network, and what its tolerances allow it to err in any weight."""
    flow = linfa.Flow(t, saves=saves, **{**FINE, **options})
    run = linfa.solve(linfa.Full(net, rule), task, flow)
    size = max(float(np.abs(W).max()) for k in range(len(run)) for W in run.weights(k))
    # Each step errs by at most √D(atol + rtol size); these flows are attracted to rest, so that errors are not
    # stretched by more than a small factor on the way.
    return run, 10 * run.dataset.attrs["steps"] * np.sqrt(net.size) * (flow.atol + flow.rtol * size)


def distance(run, k, weights):
    """Return the largest difference of a weight at the k-th saved moment."""
    return max(float(np.abs(a - b).max()) for a, b in zip(run.weights(k), weights, strict=True))


def moments_task(Y, second=None):
    """Return the task Σ_yx = Y, Σ_xx = I unless given, realisable."""
    xx = np.eye(Y.shape[1]) if second is None else second
    return linfa.Task.from_moments(xx, Y, Y @ np.linalg.pinv(xx) @ Y.T)


def frame(n, r, rng):
    """Return n × r orthonormal columns."""
    return np.linalg.qr(rng.standard_normal((n, r)))[0]
