"""Networks, tasks, rules and ways of stepping, drawn by their structure: sizes, rank, condition, scale and a seed.

No entry is ever drawn, so that a failing case shrinks to a small network that one can write down.
"""

import dataclasses

import numpy as np
from hypothesis import strategies as st

import linfa
from linfa.losses import LOSSES
from linfa.rules import REGISTRY
from tests.shapes import shapes_unchecked

LAWS = tuple(law() for law in linfa.laws.REGISTRY.values())
RULES = tuple(REGISTRY)


def matrix(shape, rank, condition, scale, rng):
    """Return a matrix of a rank, its singular values spread evenly in logarithm from scale to scale/condition."""
    r = min(rank, *shape)
    left, right = (np.linalg.qr(rng.standard_normal((n, r)))[0] for n in shape)
    return (left * (scale * condition ** -np.linspace(0, 1, r))) @ right.T


@shapes_unchecked()
def network(widths, rank=99, condition=1.0, scale=1.0, zeros=False, seed=0):
    """Return weights whose every layer has that rank, condition and scale; with `zeros` every third entry is 0."""
    rng = np.random.default_rng(seed)
    matrices = [matrix(shape, rank, condition, scale, rng) for shape in zip(widths[1:], widths, strict=False)]
    if zeros:
        matrices = [np.where(np.arange(W.size).reshape(W.shape) % 3 == 0, 0.0, W) for W in matrices]
    return linfa.Weights(tuple(matrices))


@shapes_unchecked()
def rule_of(name, net, seed=0, condition=None, rank=99):
    """Return a rule of the registry, its feedback replaced by one of a given condition and rank where one is given."""
    rule = linfa.rules.make(name, net, seed)
    if condition is None:
        return rule
    rng = np.random.default_rng([seed, 1])
    names = {field.name for field in dataclasses.fields(rule)} & {"matrices", "magnitudes"}
    shaped = {k: tuple(matrix(B.shape, rank, condition, 1.0, rng) for B in getattr(rule, k)) for k in names}
    return dataclasses.replace(
        rule, **{k: tuple(abs(B) if k == "magnitudes" else B for B in v) for k, v in shaped.items()}
    )


def targets_of(loss, N, p, rng):
    """Return targets that a loss is meant for: real numbers, distributions, or signs."""
    if loss == "squared":
        return rng.standard_normal((N, p))
    if loss == "softmax-ce":
        hot = np.eye(p)[rng.integers(0, p, N)]
        return hot if rng.integers(2) else 0.9 * hot + 0.1 / p
    return rng.choice([-1.0, 1.0], (N, p))


@shapes_unchecked()
def task_of(n_in, n_out, N=8, loss="squared", scale=1.0, rank=99, moments=False, seed=0):
    """Return a task with N samples of a rank and scale; with `moments` the squared loss knows these alone."""
    rng = np.random.default_rng([seed, 2])
    x = matrix((N, n_in), rank, 1.0, scale * np.sqrt(N), rng)
    y = targets_of(loss, N, n_out, rng)
    if moments and loss == "squared":
        xx = x.T @ x / N
        return linfa.Task.from_moments((xx + xx.T) / 2, y.T @ x / N, y.T @ y / N)
    return linfa.Task.from_samples(x, y, LOSSES[loss])


def speed(system, task):
    """Return ‖velocity‖/(1 + ‖state‖) at the start: one over the time in which the start is forgotten."""
    s = system.start()
    v = system.velocity(s, system.passes(s, task.everything(system.weights[0]), 0))
    size = [np.sqrt(sum(float(np.sum(np.square(a, dtype=float))) for a in (*x.weights, *x.learnt))) for x in (v, s)]
    return size[0] / (1 + size[1])


@shapes_unchecked()
def descent_of(system, task, fraction=0.1, steps=5, momentum=0.0, decay=0.0, batch=None, schedule="constant", seed=0):
    """Return a descent whose first step moves the state by about a fraction of itself: few steps stay finite."""
    eta = fraction / (1 + speed(system, task))
    rates = {
        "constant": eta,
        "steps": linfa.StepDecay(eta, (2, 4), 0.3),
        "cosine": linfa.Cosine(eta, steps + 1),
    }
    size = None if batch is None or task.inputs is None else min(batch, len(task.inputs))
    return linfa.Descent(rates[schedule], steps, size, momentum, decay, saves=steps, seed=seed)


seeds = st.integers(0, 2**16)
conditions = st.sampled_from([1.0, 10.0, 1e4])


def widths(depth=(2, 6), width=(1, 12)):
    """Draw (n_0, …, n_L)."""
    return st.lists(st.integers(*width), min_size=depth[0] + 1, max_size=depth[1] + 1).map(tuple)


def networks(depth=(2, 6), width=(1, 12)):
    """Draw a network."""
    return st.builds(
        network,
        widths(depth, width),
        rank=st.integers(1, 12),
        condition=conditions,
        scale=st.sampled_from([1.0, 0.3, 1.5, 1e-3, 0.0]),
        zeros=st.booleans(),
        seed=seeds,
    )


def rules(net, names=RULES):
    """Draw a rule for a network, its feedback random or of a given condition and rank."""
    return st.builds(
        rule_of,
        st.sampled_from(names),
        st.just(net),
        seed=seeds,
        condition=st.none() | conditions,
        rank=st.integers(1, 12),
    )


@shapes_unchecked()
def tasks(net, losses=tuple(LOSSES)):
    """Draw a task that fits a network."""
    return st.builds(
        task_of,
        st.just(net.widths[0]),
        st.just(net.widths[-1]),
        N=st.integers(1, 20),
        loss=st.sampled_from(losses),
        scale=st.sampled_from([1.0, 0.1, 2.0]),
        rank=st.integers(1, 12),
        moments=st.booleans(),
        seed=seeds,
    )


def descents(system, task):
    """Draw a way of stepping."""
    return st.builds(
        descent_of,
        st.just(system),
        st.just(task),
        fraction=st.sampled_from([0.1, 0.01, 0.3]),
        steps=st.integers(1, 8),
        momentum=st.sampled_from([0.0, 0.9, 0.5]),
        decay=st.sampled_from([0.0, 1e-3, 0.1]),
        batch=st.none() | st.integers(1, 7),
        schedule=st.sampled_from(["constant", "steps", "cosine"]),
        seed=seeds,
    )


@st.composite
def systems(draw, names=RULES, depth=(2, 6), width=(1, 12), losses=tuple(LOSSES)):
    """Draw a network under a rule, and a task for it."""
    net = draw(networks(depth, width))
    rule, task = draw(rules(net, names)), draw(tasks(net, losses))
    with shapes_unchecked():
        return linfa.Full(net, rule), task
