"""The study of narrow hidden layers: ends within what is left to run, and the controls that must miss."""

from dataclasses import replace

import numpy as np
import pytest

from linfa.closed_forms import Factorisation
from sims.low_rank import COSINES, LENGTHS, SYNTHETIC, Angles, Ends, Images, Star, Teacher, excess
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

SMALL = Teacher(6, 5, (2.0, 1.5, 1.0))
"""A teacher of rank three."""


def allowed(cell, data):
    """Return (‖Y‖, the bound on the distance from the limit): what is left to run, and rounding times condition."""
    Y = cell.target.task().cross
    B = np.random.default_rng([cell.seed, cell.hidden]).standard_normal((cell.feedbacks, len(Y), cell.hidden))
    forms = [Factorisation(Y, b / np.sqrt(cell.hidden)) for b in B]
    assert data["predicted"].values.tolist() == [form.excess_loss for form in forms]
    rank = min(cell.hidden, np.linalg.matrix_rank(Y)) - 1
    sketched = [np.linalg.svd(form.sketch, compute_uv=False) for form in forms]
    condition = np.array([s[0] / s[rank] for s in sketched])
    return np.linalg.norm(Y), data["bound"].values + rounding(4 * sum(Y.shape), condition)


@pytest.mark.parametrize(
    ("target", "hidden"), [(SYNTHETIC, 2), (SYNTHETIC, 6), (Images("digits"), 4), (SMALL, 3)], ids=str
)
def test_every_start_ends_at_the_limit_within_what_is_left_to_run(target, hidden):
    cell = Ends(target, hidden, starts=2, feedbacks=3, steady=1e-7)
    data = cell.measure()
    size, bound = allowed(cell, data)
    assert bound.max() < 1e-3
    assert np.all(data["off"] <= bound)
    assert np.all(data["spread"] <= 2 * bound.max(axis=0))
    # |‖Y − X‖² − ‖Y − X'‖²|/2 ≤ ‖X − X'‖(‖Y − X'‖ + ½‖X − X'‖)
    reach = bound * size * (np.sqrt(2 * data["predicted"].values) + bound * size / 2)
    floor = rounding(2 * sum(target.task().cross.shape), size**2)
    assert np.all(np.abs(data["loss"] - data["predicted"]) <= reach + floor)


def test_the_bound_is_no_wider_than_a_few_times_the_distance():
    """A bound that is far above what it bounds would test nothing."""
    data = Ends(SYNTHETIC, 4, starts=2, feedbacks=3, steady=1e-5).measure()
    worst = np.unravel_index(int(data["off"].values.argmax()), data["off"].shape)
    assert data["bound"].values[worst] < 10 * data["off"].values[worst]


def test_where_two_units_share_their_feedback_the_start_matters():
    cell = Ends(SYNTHETIC, 4, starts=2, feedbacks=3, steady=1e-7)
    same, other = cell.measure(), replace(cell, repeated=True).measure()
    assert float(other["spread"].min()) > 0.05 > 1e3 * float(same["spread"].max())


def test_backprop_reaches_the_best_map_and_feedback_alignment_does_not():
    cell = Ends(SYNTHETIC, 4, starts=2, feedbacks=3, steady=1e-7)
    data = cell.measure()
    gap = data["backprop"] - data["eckart_young"]
    # Losses are quadratic in what is left to run, and rates are far above the velocity at rest.
    assert -1e-14 < float(gap.min()) <= float(gap.max()) < cell.steady
    assert float((data["loss"] - data["eckart_young"]).min()) > 0.01
    assert np.all(np.diff(data["drawn"]) > 0)
    assert float(data["drawn"][0]) > float(data["eckart_young"])


def test_at_the_rank_of_the_target_nothing_is_lost_and_below_it_something_is():
    cell = Ends(SMALL, 3, starts=2, feedbacks=3, steady=1e-8)
    data = cell.measure()
    size, bound = allowed(cell, data)
    assert bound.max() < 1e-3
    assert np.all(data["loss"] <= (bound * size) ** 2 / 2)
    # Spare units may fade, and the bound divides by them. Without it: ‖E‖² is of the order of ‖E W_1ᵀ‖‖W_2‖ at rest,
    # ‖E W_1ᵀ‖ = ‖Ẇ_2‖ ≤ 1e-8 (1 + ‖state‖), and norms are below ten.
    wide = replace(cell, hidden=5).measure()
    assert float(wide["loss"].max()) < 1e-6
    assert float(Ends(SMALL, 2, starts=2, feedbacks=3).measure()["loss"].min()) > 0.5


def test_fa_star_turns_on_a_tanh_and_feedback_alignment_does_not():
    data = Star(SYNTHETIC, 1, COSINES, LENGTHS, 8.0).measure()
    # A relative tolerance of 1e-11 a step, over a few hundred steps at most.
    assert float(data["off"].max()) < 1e-9
    # Directions of vectors that differ by off, relative to their length, differ by at most twice that.
    assert np.all(np.abs(data["cosine"] - data["tanh"]) <= 2 * data["off"] + rounding(64, 1))
    assert data["cosine"][:, 0].values == pytest.approx(np.array(COSINES), abs=1e-13)
    assert float(data["gram"].max()) < 2e-9
    assert float(np.abs(data["fa"] - data["tanh"]).max("time").min()) > 0.01


def test_fa_star_of_several_units_keeps_its_gram_matrix_and_its_closed_form():
    data = Star(SYNTHETIC, 3, COSINES[:2], LENGTHS[:2], 8.0).measure()
    assert float(data["off"].max()) < 1e-9
    assert float(data["gram"].max()) < 2e-9
    assert "tanh" not in data


def test_hidden_units_of_both_rules_grow_apart_while_their_losses_meet():
    runs = [Angles(k, 4, 1.2, feedbacks=3).measure() for k in (8, 32)]
    for data in runs:
        # A thousandth of a degree: the velocity at rest, 1e-8, over the slowest rates.
        assert np.abs(data["angle"] - data["predicted"]).max() < np.radians(1e-3)
        assert data["loss"].values == pytest.approx(data["predicted_loss"].values, rel=1e-6)
        assert float(data["backprop"]) == pytest.approx(float(data["eckart_young"]), rel=1e-9)
    near, far = runs
    assert float(far["angle"].min()) > float(near["angle"].min(dim="unit").max())
    assert float((far["loss"] / far["backprop"]).max()) < 1.1 < float((near["loss"] / near["backprop"]).min())


def test_excess_is_half_the_square():
    assert excess(np.ones((2, 2)), np.zeros((2, 2))) == 2.0
