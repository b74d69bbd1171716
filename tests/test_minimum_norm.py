"""The study of interpolation: norms within what is left to fit of the prediction, and starts that miss the least."""

from dataclasses import replace

import numpy as np
import pytest

from sims.minimum_norm import PARTS, RULES, Cell, Gaussian, Images, cells
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

SMALL = Gaussian(9, 2, 4)
CELL = Cell(SMALL, "fa", (5,), (0.1, 1.0))


@pytest.mark.parametrize("hidden", [(5,), (5, 6)])
@pytest.mark.parametrize("rule", RULES)
def test_the_excess_is_the_predicted_one_within_what_is_left_to_fit(rule, hidden):
    data = replace(CELL, rule=rule, hidden=hidden).measure()
    left = data["left"].values
    assert left.max() < 1e-5
    # ‖YX⁺ + D‖² − ‖YX⁺‖², in units of ‖YX⁺‖², and the rounding of squared norms near one.
    error = np.abs(data["excess"] - data["predicted"]).values
    assert np.all(error <= 2 * left + left**2 + rounding(200, 1 + data["predicted"].values))
    assert float(data["predicted"][0, -1]) > 1e3 * error[0, -1]  # something was predicted


@pytest.mark.parametrize("rule", RULES)
def test_the_first_layer_never_moves_off_the_span_and_moves_on_it(rule):
    data = replace(CELL, rule=rule).measure()
    # Some thousand steps, each of which rounds by a unit of ‖W_1‖ ≤ 10.
    assert float(data["off_span"].max()) < rounding(2000, 10)
    assert float(data["moved"].min()) > 0.1


@pytest.mark.parametrize("part", ["span", "zero"])
def test_inside_the_span_the_norm_is_the_least_and_outside_it_is_not(part):
    inside, outside = (replace(CELL, part=p, hidden=(5, 6)).measure() for p in (part, "random"))
    left = inside["left"].values
    assert np.all(np.abs(inside["excess"].values) <= 2 * left + left**2 + rounding(200, 1))
    assert float(outside["excess"][0, -1]) > 0.01


def test_the_excess_grows_with_the_square_of_the_scale_while_the_layers_above_do_not_notice():
    data = replace(CELL, scales=(1e-3, 1e-2)).measure()
    grown = float(data["predicted"][0, 1] / data["predicted"][0, 0])
    assert grown == pytest.approx(100, rel=0.1)


def test_digits_have_fewer_samples_than_inputs_and_are_fitted():
    data = Cell(Images("digits", 5), "dfa", (8,), (1.0,)).measure()
    assert float(data["misfit"].max()) < 1e-4
    assert float(data["excess"].max()) > 0.1


def test_every_start_is_drawn_from_one_seed_and_says_what_it_is():
    task = SMALL.task()
    parts = {part: replace(CELL, part=part).starts(task) for part in PARTS}
    (random, rule, off), (span, again, _), (zero, *_) = (parts[p] for p in PARTS)
    assert np.array_equal(rule.matrices[0], again.matrices[0])
    assert np.allclose(off @ np.asarray(task.inputs).T, 0, atol=1e-13)
    assert np.allclose(span[0] @ off, 0, atol=1e-13)
    assert np.allclose((random[0] - span[0]) @ (np.eye(9) - off), 0, atol=1e-13)
    assert not np.any(zero[0])
    assert all(np.array_equal(a[1], random[1]) for a in (span, zero))


def test_presets_cross_rules_depths_and_starts():
    for fast in (True, False):
        found = {(c.rule, len(c.hidden), c.part) for c in cells(fast)}
        assert len(found) == 9 * (2 if fast else 3)
    real = {c.source.data for c in cells(False) if isinstance(c.source, Images)}
    assert real == {"mnist", "fashion_mnist"}


def test_each_seed_is_another_start_and_feedback():
    data = replace(CELL, seeds=2).measure()
    assert data["excess"].sizes == {"seed": 2, "scale": 2}
    assert np.array_equal(data["excess"][0], CELL.measure()["excess"][0])
    assert not np.array_equal(data["excess"][0], data["excess"][1])
