"""Scalar equations: zeros that are not stepped over, times that agree with partial fractions, and their inverses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from linfa import InputError
from linfa.closed_forms import Polynomial, PowerFlow, ScalarFlow, first_zero
from tests.tolerance import rounding

P = np.polynomial.polynomial


def factored(zeros, leading):
    return Polynomial(leading * P.polyfromroots(zeros))


def by_partial_fractions(zeros, leading, start, x):
    """Return t(x) = ∫dx/q = Σ ln((x − r)/(start − r))/q'(r) for simple zeros."""
    slope = [leading * np.prod([r - s for s in zeros if s != r]) for r in zeros]
    return sum(np.log(abs((x - r) / (start - r))) / d for r, d in zip(zeros, slope, strict=True))


@given(
    zeros=st.sets(st.integers(-6, 6), min_size=1, max_size=5), half=st.integers(-7, 6), sign=st.sampled_from([-1, 1])
)
def test_the_first_zero_on_the_way_is_found_and_none_is_stepped_over(zeros, half, sign):
    zeros, start = sorted(zeros), half + 0.5
    q = factored(zeros, sign * 0.5)
    up = P.polyval(start, q.coefficients) > 0
    ahead = [r for r in zeros if (r > start) == up]
    if not ahead:
        with pytest.raises(InputError, match="runs away to infinity"):
            first_zero(q.taylor, start)
        return
    expected = min(ahead) if up else max(ahead)
    # A zero is as well defined as q can be evaluated, divided by its slope there.
    slope = abs(P.polyval(expected, P.polyder(q.coefficients)))
    scale = P.polyval(abs(expected), np.abs(q.coefficients))
    assert abs(first_zero(q.taylor, start) - expected) <= rounding(40, 1 + scale / slope)


def test_zeros_a_hair_apart_are_not_confused():
    q = factored([1.0, 1.0 + 2.0**-20, 3.0], -1.0)
    assert first_zero(q.taylor, 0.0) == pytest.approx(1.0, abs=1e-9)
    assert first_zero(q.taylor, 4.0) == pytest.approx(3.0, abs=1e-12)


def test_a_double_zero_stops_the_flow():
    q = factored([-1.0, -1.0, 2.0], -0.5)
    assert first_zero(q.taylor, -2.5) == pytest.approx(-1.0, abs=1e-7)
    flow = ScalarFlow(q, -2.5)
    # t ≈ 2/(3 |x + 1|) near a double zero: algebraic, not exponential.
    assert (flow.at(1e5) + 1) * 1.5 * 1e5 == pytest.approx(-1.0, rel=1e-3)


@pytest.mark.parametrize("start", [-3.0, -0.9, 0.2, 1.7, 9.0])
def test_times_agree_with_partial_fractions_and_are_inverted(start):
    zeros, leading = (-2.0, -1.0, 0.0, 1.0, 4.0), -0.3
    flow = ScalarFlow(factored(zeros, leading), start)
    left = np.array([0.99, 0.6, 0.1, 1e-3, 1e-6])
    x = flow.limit + (start - flow.limit) * left
    t = flow.time(x)
    assert np.allclose(t, by_partial_fractions(zeros, leading, start, x), rtol=1e-9, atol=0)  # x is rounded near rest
    back = (flow.at(t[::-1])[::-1] - flow.limit) / (start - flow.limit)
    assert np.allclose(back, left, rtol=1e-8, atol=0)


def test_a_slow_passage_is_neither_missed_nor_hurried():
    # ẋ = (x² + δ²)(1 − x): the bottleneck at 0 takes π/δ.
    delta = 1e-4
    q = Polynomial(P.polymul([delta**2, 0.0, 1.0], [1.0, -1.0]))
    flow = ScalarFlow(q, -1.0)
    exact = quad(lambda s: 1 / (1 - delta * np.tan(s)), *np.arctan([-1 / delta, 0.5 / delta]), epsabs=0, epsrel=1e-13)
    t = flow.time(0.5)
    assert t == pytest.approx(exact[0] / delta, rel=1e-10)
    assert flow.at(t) == pytest.approx(0.5, abs=1e-7)


def test_at_rest_nothing_happens_and_elsewhere_one_never_gets():
    flow = ScalarFlow(factored([1.0], -1.0), 1.0)
    assert flow.limit == 1.0
    assert flow.at([0.0, 5.0]).tolist() == [1.0, 1.0]
    assert flow.time(1.0) == 0
    moving = ScalarFlow(factored([1.0], -1.0), 0.0)
    assert moving.time(1.0) == np.inf
    for x in (-0.1, 1.1):
        with pytest.raises(InputError, match="never passes"):
            moving.time(x)
    with pytest.raises(InputError, match="times must be ≥ 0"):
        moving.at(-1.0)
    with pytest.raises(InputError, match="must be finite"):
        moving.at(np.nan)
    with pytest.raises(InputError, match="finite number"):
        ScalarFlow(factored([1.0], -1.0), np.inf)


@pytest.mark.parametrize("degree", [1, 3, 7, 15])
def test_a_power_flow_keeps_its_time(degree):
    flow = PowerFlow([2.0, -0.7, 0.0], 0.4, degree)
    x = np.array([1e-12, 1e-6, 0.1, 0.5, 0.9, 1 - 1e-9])[:, None]
    t = flow.time(x * flow.limit)
    for i, point in enumerate(x[:, 0]):
        # ∫dx/(1 − x^m) with x = 1 − e^{−g}; 1 − x carries the rounding of x.
        end = -np.log1p(-point)
        f = quad(lambda g: 1 / sum((1 - np.exp(-g)) ** k for k in range(degree)), 0, end, epsabs=0, epsrel=1e-13)[0]
        assert np.allclose(t[i, :2] / flow.unit[:2], f, rtol=1e-12 + 4e-16 * point / (1 - point) / f, atol=0)
    for i in range(2):
        phi = flow.at(t[:, i])[:, i]
        assert np.allclose(phi / flow.limit[i], x[:, 0], rtol=1e-12, atol=0)
        assert np.allclose(flow.strength(t[:, i])[:, i] + flow.error(t[:, i])[:, i], flow.drive[i], rtol=1e-13)
    assert np.all(flow.at(t[:, 0])[:, 2] == 0)
    assert np.all(t[:, 2] == 0)


def test_the_power_flow_of_two_layers_is_theory_s_formula():
    sigma, kappa, phi = 1.7, 0.6, 0.8
    a = np.cbrt(sigma / kappa)
    s3 = np.sqrt(3)
    written = 0.5 * np.log((phi**2 + a * phi + a**2) / (a - phi) ** 2) + s3 * (
        np.arctan((2 * phi + a) / (s3 * a)) - np.pi / 6
    )
    t = PowerFlow(sigma, kappa, 3).time(phi).item()
    assert t == pytest.approx(written / (3 * kappa * a**2), rel=1e-13)
    assert ScalarFlow(Polynomial(np.array([sigma, 0, 0, -kappa])), 0.0).time(phi) == pytest.approx(t, rel=1e-12)


@pytest.mark.parametrize("degree", [3, 7, 15])
def test_half_times_fall_as_a_power(degree):
    sigma = np.geomspace(1e-3, 1e3, 9)
    slope = np.polyfit(np.log(sigma), np.log(PowerFlow(sigma, 0.5, degree).half_time()), 1)[0]
    assert slope == pytest.approx(1 / degree - 1, abs=1e-12)  # −2/3 for two layers


def test_a_power_flow_refuses_what_it_cannot_solve():
    for degree in (0, 2, -1):
        with pytest.raises(InputError, match="must be odd"):
            PowerFlow(1.0, 1.0, degree)
    for damping in (0.0, -1.0, np.nan):
        with pytest.raises(InputError, match="κ must be"):
            PowerFlow(1.0, damping, 3)
    with pytest.raises(InputError, match="never passes"):
        PowerFlow(1.0, 1.0, 3).time(1.5)
    with pytest.raises(InputError, match="never passes"):
        PowerFlow(0.0, 1.0, 3).time(0.5)
