"""The study and figure `alignment`: the closed form against networks, its limits to the printed digit, its refusals."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import linfa
from figures import alignment as picture
from figures import style
from linfa.closed_forms import ZeroStart, spread_cosine
from linfa.rules import State
from sims import alignment as study
from sims.study import Result

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

PRINTED = {
    2: ([0.643], [0.8953]),
    3: ([0.643, 0.5323], [0.9767, 0.9185]),
    4: ([0.643, 0.5323, 0.502], [0.9947, 0.9796, 0.9274]),
}
"""Theory's early and late alignments of σ = (2, 1, ½, ¼), by depth."""

CONTROL = (5, 6, 5, 4)
"""The widths of the controls."""


def allowed(widths: tuple[int, ...], steps: int, rtol: float) -> float:
    """Return how far the solver lets the cosines be from the truth; see `Exact.measure`."""
    size = sum(a * b for a, b in pairwise(widths))
    return 2 ** (len(widths) - 1) * steps * np.sqrt(size) * rtol


def found(*cells) -> list[Result]:
    return [Result(cell, study.compute(cell)) for cell in cells]


@pytest.fixture(scope="module")
def exact() -> list[Result]:
    cells = [study.Exact("fa", (5, *(6,) * (L - 1), 4), study.SPECTRUM, 40.0) for L in PRINTED]
    return found(*cells, study.Exact("dfa", (5, 7, 5, 4), study.SPECTRUM, 40.0))


@pytest.fixture(scope="module")
def controls() -> list[Result]:
    return found(*(study.Control(name, (0.01, 0.1, 1.0), CONTROL, study.SPECTRUM, 40.0) for name in study.VIOLATIONS))


@pytest.fixture(scope="module")
def images() -> list[Result]:
    white = study.Images("digits", (12, 12), whitened=True, orthogonal=True, scale=0.0, t=300.0)
    plain = (
        study.Images("digits", (12, 12), whitened=False, orthogonal=orthogonal, scale=scale, t=10.0)
        for orthogonal, scale in ((True, 0.0), (False, 0.0), (False, 1.0))
    )
    return found(white, *plain)


def test_the_printed_limits_of_theory_are_what_networks_do(exact):
    for result in exact[:3]:
        early, late = PRINTED[len(result.cell.widths) - 1]
        for system in ("full", "width-free"):
            cosine = result.data["cosine"].sel(system=system)
            assert cosine.isel(time=0).values.round(4).tolist() == early
            assert cosine.isel(time=-1).values.round(4).tolist() == late


def test_networks_follow_the_closed_form_as_closely_as_they_are_solved(exact):
    for result in exact:
        apart, bound = np.abs(result.data["cosine"] - result.data["closed"]).max("layer"), result.data["bound"]
        assert bool((apart <= bound).all())
        assert float(bound.sel(system="full").max()) < 1e-6
        assert float(bound.isel(time=-1).max()) < 1e-6
        # The bound sees a wrong exponent, and the layers taken in another order.
        closed = picture.closed_form(result.cell)
        phi = closed.flow.at(result.data["time"].values)
        wrong = spread_cosine(phi, 2.01)
        assert np.max(np.abs(result.data["cosine"][0, :, 0].values - wrong)) > 100 * float(bound[0].max())


def test_a_coarser_tolerance_is_seen(exact):
    coarse = study.compute(study.Exact("fa", exact[1].cell.widths, study.SPECTRUM, 40.0, rtol=1e-4))
    apart, fine = (np.abs(x["cosine"] - x["closed"]).max(("time", "layer")).values for x in (coarse, exact[1].data))
    assert np.all(apart > 100 * fine)
    assert np.all(apart <= coarse["bound"].max("time").values)


def test_controls_are_refused_and_depart_from_the_closed_form(exact, controls):
    bound = max(float(result.data["bound"].sel(system="full").max()) for result in exact)
    why = {"start": "needs a zero start", "feedback": "M_1ᵀM_1 = g I", "inputs": "needs whitened inputs"}
    for result in controls:
        data = result.data
        assert all(why[result.cell.violated] in message for message in data["refused"].values)
        far = np.abs(data["cosine"] - data["closed"]).max(("time", "layer")).values
        assert far.min() > 100 * bound
        # In the end it is a matter of size: first order in ε at least, so that a small fault is a small error.
        end = np.abs(data["cosine"] - data["closed"]).isel(time=-1).max("layer").values
        assert np.all(np.diff(end) > 0)
        assert np.log10(end[1] / end[0]) > 0.8


def test_without_its_violation_a_control_is_accepted_and_follows():
    cell = study.Control("feedback", (0.0,), CONTROL, study.SPECTRUM, 4.0)
    data = study.compute(cell)
    assert data["refused"].values.tolist() == [""]
    bound = allowed(CONTROL, int(data["steps"].max()), study.RTOL)
    assert float(np.abs(data["cosine"] - data["closed"]).max()) <= bound < 1e-6


def test_each_control_violates_one_hypothesis_alone():
    for name in study.VIOLATIONS:
        net, rule, task = study.Control(name, (0.5,), CONTROL, study.SPECTRUM, 4.0).network(0.5)
        gram = [M.T @ M for M in rule.paths(State(net.matrices))[:-1]]
        violated = {
            "start": bool(max(np.abs(W).max() for W in net) > 0),
            "feedback": bool(max(np.abs(G - np.eye(4)).max() for G in gram) > 1e-12),
            "inputs": bool(np.abs(task.second - np.eye(5)).max() > 1e-12),
        }
        assert violated == {other: other == name for other in study.VIOLATIONS}
        # The map to be learnt is the same throughout.
        np.testing.assert_allclose(np.linalg.svd(task.optimum)[1], study.SPECTRUM, rtol=1e-12)


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_the_feedback_paths_have_orthonormal_columns(rule):
    made = study.orthogonal_feedback(rule, (3, 7, 6, 4), np.random.default_rng(0))
    for M in made.paths(State(linfa.Weights.zero((3, 7, 6, 4)).matrices)):
        np.testing.assert_allclose(M.T @ M, np.eye(4), atol=1e-14)


def test_on_whitened_digits_the_closed_form_holds_and_the_tenth_mode_is_silent(images):
    data = images[0].data
    assert str(data["refused"].values) == ""
    bound = allowed((61, 12, 12, 10), int(data["steps"]), study.IMAGES_RTOL)
    assert float(np.abs(data["cosine"] - data["closed"]).max()) <= bound < 1e-3
    spectrum = data["spectrum"].values
    assert np.sum(spectrum < 1e-12) == 1
    np.testing.assert_allclose(data["final"].values, ZeroStart(spectrum, [1.0, 1.0]).final_alignment, rtol=1e-12)
    assert float(data["final"].max()) < np.sqrt(0.9)
    # The least-squares map is the same in white coordinates: so is the least loss.
    plain, white = images[1].cell.task(), images[0].cell.task()
    assert white.least_loss == pytest.approx(plain.least_loss, rel=1e-9)


def test_images_as_they_are_used_reach_less(images):
    assert all(str(result.data["refused"].values) for result in images[1:])
    ends = [result.data["cosine"].isel(time=-1).values for result in images]
    assert np.all(ends[1] > ends[2])
    assert np.all(ends[2] > ends[3])


def test_the_presets_hold_what_the_figure_asks_for():
    for fast in (True, False):
        cells = study.cells(fast)
        assert len(set(cells)) == len(cells)
        assert [c.violated for c in cells if isinstance(c, study.Control)] == list(study.VIOLATIONS)
        shown = [c for c in cells if isinstance(c, study.Exact) for L in picture.DEPTHS if picture._is_main(c, L)]
        assert len(shown) == len(picture.DEPTHS)
        assert {picture._setting(c) for c in cells if isinstance(c, study.Images)} == set(picture.SETTINGS.values())


def test_the_caption_says_what_was_measured(exact, controls, images):
    with style.applied():
        _, caption = picture.draw(True, lambda _: [*exact, *controls, *images])
    assert "L = 4: (0.643, 0.5323, 0.502) to (0.9947, 0.9796, 0.9274)" in caption
    assert "refused in 9 of 9" in caption
    assert "1 of 10 singular values" in caption
    assert "√(9/10) = 0.949" in caption
    assert "Lillicrap et al. (2016)" in caption
