"""The study of decay: every run below its bound, bounds that are tight where they should be, and starts without any."""

from dataclasses import replace

import numpy as np
import pytest

import linfa
from linfa.rules.interface import State
from sims.loss_decay import KINDS, Cell, Images, cells, constant, widest

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

CELL = Cell(Images("digits", 60, 4), "scalar", 12, 1.0, 0.1, 4.0)

SOLVER = 1e-6
"""Steps of a relative tolerance of 1e-10, a few thousand at most, add up to less than this part of a loss."""


@pytest.mark.parametrize("kappa", [0.5, 3.0])
@pytest.mark.parametrize("kind", KINDS)
def test_no_run_exceeds_its_bound(kind, kappa):
    data = replace(CELL, kind=kind, kappa=kappa, scale=0.0 if kind == "lyapunov" else 0.1).measure()
    # Where steps end at an absolute tolerance of 1e-13 squared losses stop at its square.
    assert np.all(data["measured"] <= data["bound"] * (1 + SOLVER) + 1e-20)
    assert np.all(data["measured"].isel(time=-1) < data["measured"].isel(time=0))
    assert float(data["rate"].min()) > 0


def test_the_margin_of_a_start_is_the_one_asked_for():
    for kind, factor in (("scalar", 2.0), ("lyapunov", 1.0)):
        data = replace(CELL, kind=kind, kappa=0.7, scale=0.0 if kind == "lyapunov" else 0.1).measure()
        # 2κλ and κλ with λ = 1: white inputs.
        assert float(data["rate"].item()) == pytest.approx(factor * 0.7, rel=1e-9)


def test_for_a_large_margin_the_bound_is_nearly_the_run_and_half_the_bound_is_below_it():
    data = replace(CELL, kappa=30.0, scale=0.01, t=0.1).measure()
    ratio = (data["measured"] / data["bound"]).values
    assert ratio.min() > 0.5
    # Control: a bound with twice the rate is crossed.
    assert np.any(data["measured"] > data["bound"] ** 2 / data["bound"].isel(time=0))


def test_an_opposed_start_has_no_exponential_bound_but_one_in_k_over_t():
    cell = replace(CELL, kind="average")
    task = cell.images.task("average")
    net, rule = cell.start(task)
    wrong = linfa.conditions.ScalarOutputRate()
    with pytest.raises(linfa.InputError, match="proves nothing at this state"):
        wrong.bound(rule, State(net.matrices), task, np.ones(1))


def test_separable_losses_fall_as_one_over_t_and_the_squared_one_exponentially():
    long = replace(CELL, t=1e4)
    for kind in ("exponential", "logistic"):
        data = replace(long, kind=kind).measure().isel(seed=0)
        late = data.isel(time=data["time"] > 1e3)
        fall = np.polyfit(np.log(late["time"]), np.log(late["measured"]), 1)[0]
        assert -1.3 < fall < -1.0
    data = CELL.measure().isel(seed=0, time=slice(20, 40))
    halves = np.diff(np.log(data["measured"]))
    assert np.ptp(halves) < 0.2 * abs(halves.mean())


@pytest.mark.parametrize("kind", ["exponential", "logistic"])
def test_the_constant_is_that_of_the_measured_fall_at_least_one_and_at_most_what_its_terms_allow(kind):
    cell = replace(CELL, kind=kind, t=1e4)
    task = cell.images.task(kind)
    net, rule = cell.start(task)
    u = cell.rate(task).direction
    gamma = np.min(np.asarray(task.targets)[:, 0] * (np.asarray(task.inputs) @ u)) / np.linalg.norm(u)
    # Slow twin: the velocity of the flow and a central difference of the loss along it.
    h = 1e-4
    system, state = linfa.Full(net, rule), State(net.matrices)
    rates = system.velocity(state, system.passes(state, task.everything(net[0]))).weights
    there, back = (
        linfa.metrics.loss(linfa.Weights(tuple(W + s * h * V for W, V in zip(net, rates, strict=True))), task)
        for s in (1, -1)
    )
    aligned = np.sum(net[1] * rule.matrices[0])
    slow = -(there - back) / (2 * h) / (gamma**2 * aligned * linfa.metrics.loss(net, task) ** 2)
    assert constant(task, net, rule, u) == pytest.approx(float(slow), rel=1e-6)  # h² and ε/h
    found = cell.measure()["constant"].isel(seed=0).values
    if kind == "exponential":
        assert found.min() >= 1  # proved
    assert 1 < found[-1] < 4


def test_each_seed_is_another_start_and_the_first_is_that_of_one_seed_alone():
    both, one = (replace(CELL, seeds=n).measure() for n in (2, 1))
    assert both["measured"].sizes["seed"] == 2
    assert np.array_equal(both["measured"].isel(seed=0), one["measured"].isel(seed=0))
    assert not np.array_equal(both["measured"].isel(seed=0), both["measured"].isel(seed=1))


def test_the_widest_direction_is_no_narrower_than_any_other():
    task = CELL.images.task("exponential")
    Z = np.asarray(task.inputs) * np.asarray(task.targets)
    u = widest(Z)
    margin = np.min(Z @ u) / np.linalg.norm(u)
    draw = np.random.default_rng(0)
    for size in (1e-3, 1e-1, 1.0):
        others = u / np.linalg.norm(u) + size * draw.standard_normal((200, len(u)))
        assert np.all(np.min(others @ Z.T, axis=1) / np.linalg.norm(others, axis=1) <= margin * (1 + 1e-9))
    with pytest.raises(linfa.InputError, match="no direction separates"):
        widest(np.array([[1.0, 0.0], [-1.0, 0.0]]))


def test_presets_have_every_kind():
    for fast in (True, False):
        assert {c.kind for c in cells(fast)} == set(KINDS)
