"""The study of alignment dominance: its identities to rounding, its theorems on every start, its controls."""

from dataclasses import replace

import numpy as np
import pytest

import linfa
from linfa.conditions import DynamicDominance, Lyapunov
from linfa.rules.interface import State
from sims.dominance import KINDS, STARTS, Images, Paths, Phase, cells, look, moved, slope
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

FEW = Images("digits", 80, 1, 4)
"""Digits of 4×4."""

PATHS = Paths(FEW, 8, 0.3, 1.0, 0.02, 300)
PHASE = Phase(FEW, False, 16, 0.25, (180.0, 90.0, 0.0), 2, 0.01, 200)


def nets(task, n=5, p=1, seed=0):
    draw = np.random.default_rng(seed)
    return draw.standard_normal((2, n, task.n_in)) / 4, draw.standard_normal((2, p, n)), draw.standard_normal((p, n))


@pytest.mark.parametrize(("relu", "p"), KINDS)
def test_one_look_is_what_finite_differences_see(relu, p):
    task = replace(FEW, outputs=p).task()
    W, V, B = nets(task, p=p)
    now, eps, draw = look(task, W, V, B, relu), 1e-6, np.random.default_rng(1)
    dW, dV = draw.standard_normal(W.shape), draw.standard_normal(V.shape)
    up, down = (look(task, W + s * eps * dW, V + s * eps * dV, B, relu).loss for s in (1, -1))
    seen = -sum(np.sum(g * d, axis=(-2, -1)) for g, d in zip(now.gradients, (dW, dV), strict=True))
    # Second differences are of the order eps² (a ReLU passed on the way: eps), and rounding of eps_machine/eps.
    assert (up - down) / (2 * eps) == pytest.approx(seen, rel=1e-4)


def test_of_linear_nets_the_library_knows_every_part():
    task = replace(FEW, outputs=10).task()
    W, V, B = nets(task, p=10)
    now, rule = look(task, W, V, B, relu=False), linfa.FeedbackAlignment((B,))
    for k in range(2):
        state = State((W[k], V[k]))
        one = [[part[k] for part in parts] for parts in (now.updates, now.gradients, now.lyapunov)]
        known = DynamicDominance().slope(rule, state, task), Lyapunov().terms(rule, state, task).total()
        for gradients, expected in zip(one[1:], known, strict=True):
            size = sum(np.linalg.norm(u) * np.linalg.norm(g) for u, g in zip(one[0], gradients, strict=True))
            # Sums over the samples, over the units on the way, and over the entries; twice, by two routes.
            terms = 2 * (len(task.inputs) + task.n_in + W.shape[1] + 10 + W[k].size)
            assert abs(slope(one[0], gradients)[0] - expected) <= rounding(terms, size)


def test_a_dominated_net_keeps_its_promise_and_its_account():
    data = PATHS.measure().sel(start="dominated")
    kappa = data["kappa"]
    assert float(kappa[0].min()) > 0
    # The least κ of the end is still positive, and every a_kb_k is above its own.
    assert np.all(data["aligned"] >= kappa)
    assert np.all(data["slope"] <= data["bound"] + rounding(200, 1))
    assert np.all(np.diff(data["loss"]) < 0)
    assert float(data["mu"].min()) > 0


def test_steps_lower_kappa_by_exactly_what_the_account_says():
    data = PATHS.measure()
    # Two sums of at most 16 terms a step, for 300 steps, in units of eps times their sizes.
    assert float(data["unexplained"].max()) < 2 * 300
    # Control: without the account something is missing.
    assert float(np.abs(data["kappa"] - data["kappa"][0]).max()) > 1e-5


def test_the_opposed_start_violates_and_rises_and_random_signs_violate():
    data = PATHS.measure()
    opposed = data.sel(start="opposed")
    assert float(opposed["kappa"][0].max()) < 0
    assert float(opposed["loss"].max() / opposed["loss"][0]) > 1.01
    assert float(opposed["mu"].min()) < 0
    assert float(data["kappa"].sel(start="random")[0].min()) < 0
    sizes = [np.sort(np.abs(data["aligned"].sel(start=s)[0])) for s in STARTS]
    assert np.array_equal(sizes[0], sizes[1])
    assert np.array_equal(sizes[0], sizes[2])


@pytest.mark.parametrize(("relu", "p"), KINDS)
def test_every_start_that_a_theorem_speaks_of_falls_and_opposed_ones_do_not(relu, p):
    cell = replace(PHASE, relu=relu, images=replace(FEW, outputs=p))
    data = cell.measure()
    promised = data["neuron" if relu else "matrix"].values
    assert promised[:, -1].all()  # at 0° every start of this scale is dominated
    assert not promised[:, 0].any()
    if p == 1:
        assert data["falls"].values[promised].all()
    if not relu:
        assert data["lyapunov"].values[promised].all()
    assert not data["falls"].values[:, 0].any()  # at 180°
    assert np.all(data["peak"].values[:, 0] > 1)
    assert np.all(data["left"].values[:, -1] <= 1)


def test_a_step_from_a_loss_that_is_not_finite_is_refused():
    task = FEW.task()
    W, V, B = nets(task)
    with np.errstate(over="ignore", invalid="ignore"):
        broken = look(task, W * 1e200, V * 1e200, B, relu=False)
    with pytest.raises(linfa.DivergenceError, match=r"steps of 0\.1 are too large"):
        moved(W, V, broken, 0.1)


def test_presets_share_their_kinds():
    for fast in (True, False):
        phases = [c for c in cells(fast) if isinstance(c, Phase)]
        assert {(c.relu, c.images.outputs) for c in phases} == set(KINDS)
    assert {c.images.data for c in cells(False)} == {"digits", "mnist"}
