"""Teacher and student: every integral against a slow twin, every equation against the run it stands for."""

import dataclasses
from fractions import Fraction
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

import linfa
from linfa.systems.teacher_student import (
    Erf,
    Linear,
    Overlaps,
    ReLU,
    TeacherStudent,
    moments,
    recovery_probability,
    sign_patterns,
)
from linfa.systems.teacher_student.moments import covariance
from linfa.systems.teacher_student.quadrivariate import quadrivariate
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

ACTIVATIONS = (Erf(), ReLU(), Linear())
EVERY = pytest.mark.parametrize("g", ACTIVATIONS, ids=lambda g: g.name)
RARE = 1e-6
"""A statistical test here fails a true claim with at most this probability (its seed is fixed all the same)."""


def fa(*signs):
    return linfa.FeedbackAlignment((np.array(signs, dtype=float)[None],))


def gram(n, rank, spread, seed):
    """Return a covariance of n variables of about unit variance; beyond the rank only `spread` is left."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n + 2)) / np.sqrt(rank)
    Z = (Z + np.sqrt(spread) * rng.standard_normal(Z.shape)) / np.sqrt(n + 2)
    return Z @ Z.T


def system(g, rule=None, K=3, M=2, seed=5, **options):
    rule = fa(1.0, -0.7, 0.5, 0.9) if rule is None else rule
    if isinstance(rule, linfa.FeedbackAlignment):
        rule = linfa.FeedbackAlignment((rule.matrices[0][..., :K],))
    options = {"student_scale": 0.5, "noise": 0.1, **options}
    return TeacherStudent.gaussian(K, M, seed, n_in=200, rule=rule, activation=g, **options)


def start(ts):
    return Overlaps(ts.Q, ts.R, ts.v)


# Integrals ---------------------------------------------------------------------------------------------------------


def hermite(function, C, n):
    """Return ⟨function(x_1, …)⟩ of a Gaussian by a product rule; exact for polynomials, else for smooth functions."""
    x, w = np.polynomial.hermite_e.hermegauss(n)
    grid = np.stack(np.meshgrid(*[x] * len(C), indexing="ij"))
    weight = np.prod(np.stack(np.meshgrid(*[w / np.sqrt(2 * np.pi)] * len(C), indexing="ij")), axis=0)
    return np.sum(weight * function(*np.tensordot(np.linalg.cholesky(C), grid, axes=1)))


@pytest.mark.parametrize(("g", "tolerance"), [(Erf(), 1e-8), (Linear(), 1e-13)], ids=["erf", "linear"])
@pytest.mark.parametrize("seed", range(3))
def test_smooth_integrals_are_those_of_gauss_and_hermite(g, tolerance, seed):
    C = 0.5 * gram(4, 4, 0.1, seed)
    v, s = g.value, g.slope
    assert g.I2(C, 0, 1) == pytest.approx(hermite(lambda a, b, *_: v(a) * v(b), C, 24), abs=tolerance)
    assert g.J2(C, 0, 1) == pytest.approx(hermite(lambda a, b, *_: s(a) * s(b), C, 24), abs=tolerance)
    assert g.I3(C, 0, 1, 2) == pytest.approx(hermite(lambda a, b, c, d: s(a) * b * v(c), C, 24), abs=tolerance)
    fourth = hermite(lambda a, b, c, d: s(a) * s(b) * v(c) * v(d), C, 24)
    assert g.I4(C, 0, 1, 2, 3) == pytest.approx(fourth, abs=tolerance)


def bivariate(h, k, r):
    """Return P(x < h, y < k) by Owen's T."""
    s = np.sqrt(1 - r * r)
    T = special.owens_t(h, (k - r * h) / (h * s)) + special.owens_t(k, (h - r * k) / (k * s))
    return (special.ndtr(h) + special.ndtr(k)) / 2 - T - np.where(h * k > 0, 0, 0.5)


def wedge(C, inner, n=120, far=9.5):
    """Return ⟨c d θ(c) θ(d) inner(c, d)⟩ in polar coordinates, where integrands are smooth; C of c and d."""
    x, w = np.polynomial.legendre.leggauss(n)
    x, w = (x + 1) / 2, w / 2
    opening = np.arccos(C[0, 1] / np.sqrt(C[0, 0] * C[1, 1]))
    angle, r = np.meshgrid(opening - np.pi / 2 + (np.pi - opening) * x, far * x, indexing="ij")
    c, d = np.sqrt(C[0, 0]) * r * np.cos(angle), np.sqrt(C[1, 1]) * r * np.cos(angle - opening)
    weight = np.outer(w * (np.pi - opening), w * far) * r * np.exp(-r * r / 2) / (2 * np.pi)
    return np.sum(weight * c * d * inner(c, d))


def relu_fourth(C):
    """Return ⟨θ(a) θ(b) g(c) g(d)⟩ by quadrature over c and d, given which (a, b) has a bivariate normal law."""
    to = C[:2, 2:] @ np.linalg.inv(C[2:, 2:])
    V = C[:2, :2] - to @ C[2:, :2]
    s = np.sqrt(np.diag(V))

    def both(c, d):
        h, k = ((to[i, 0] * c + to[i, 1] * d) / s[i] for i in (0, 1))
        return bivariate(h, k, V[0, 1] / (s[0] * s[1]))

    return wedge(C[2:, 2:], both)


@pytest.mark.parametrize("seed", range(12))
def test_relu_fourth_moment_of_four_units_is_that_of_a_plane_quadrature(seed):
    C = gram(4, 4, 0.2, seed)
    assert ReLU().I4(C, 0, 1, 2, 3) == pytest.approx(relu_fourth(C), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_relu_integrals_of_fewer_units_are_those_of_a_plane_quadrature(seed):
    g, C = ReLU(), gram(3, 3, 0.2, seed)
    plane, V = C[1:, 1:], C[0, 0] - C[0, 1:] @ np.linalg.solve(C[1:, 1:], C[1:, 0])
    to = np.linalg.solve(plane, C[1:, 0])

    def behind(c, d):
        return special.ndtr((to[0] * c + to[1] * d) / np.sqrt(V))

    assert g.I2(C, 1, 2) == pytest.approx(wedge(plane, lambda c, d: 1.0), abs=1e-13)
    assert g.J2(C, 1, 2) == pytest.approx(wedge(plane, lambda c, d: 1 / (c * d)), abs=1e-13)
    assert g.I4(C, 0, 0, 1, 2) == pytest.approx(wedge(plane, behind), abs=1e-12)
    assert g.I4(C, 1, 0, 1, 2) == pytest.approx(wedge(plane, behind), abs=1e-12)
    # θ(d) = (1/d) d θ(d): the square of c, with a and d on the slopes.
    assert g.I4(C, 0, 2, 1, 1) == pytest.approx(wedge(plane, lambda c, d: behind(c, d) * c / d), abs=1e-11)
    # b is its projection on c and d; b = a third unit, a = d and c = c in I_3(a, b, c).
    third = wedge(plane, lambda c, d: (to[0] * c + to[1] * d) / d)
    assert g.I3(C, 2, 0, 1) == pytest.approx(third, abs=1e-12)


@EVERY
def test_every_integral_of_any_units_is_what_samples_say(g):
    """Repeated units included; 5.5σ for each of the sums, so that all hold with probability > 1 − 1e-4."""
    C, n = 0.7 * gram(4, 4, 0.3, 3), 200_000
    x = np.random.default_rng(0).multivariate_normal(np.zeros(4), C, n)
    v, s = g.value(x), g.slope(x)

    def agrees(value, samples):
        assert abs(value - samples.mean()) <= 5.5 * samples.std() / np.sqrt(n) + 1e-12

    for a, b in product(range(4), repeat=2):
        agrees(g.I2(C, a, b), v[:, a] * v[:, b])
        agrees(g.J2(C, a, b), s[:, a] * s[:, b])
    for a, b, c in product(range(4), repeat=3):
        agrees(g.I3(C, a, b, c), s[:, a] * x[:, b] * v[:, c])
    for a, b, c, d in product(range(4), repeat=4):
        agrees(g.I4(C, a, b, c, d), s[:, a] * s[:, b] * v[:, c] * v[:, d])


@EVERY
def test_arrays_of_indices_and_batches_give_what_single_ones_give(g):
    C = np.stack([gram(4, 4, 0.1, seed) for seed in range(3)])
    index = np.indices((4, 4, 4, 4))
    whole = g.I4(C, *index)
    assert whole.shape == (3, 4, 4, 4, 4)
    for at in [(0, 1, 2, 3), (0, 0, 1, 2), (0, 1, 2, 2), (3, 1, 3, 1), (2, 2, 2, 2)]:
        single = [g.I4(c, *at) for c in C]
        assert whole[:, *at] == pytest.approx(np.array(single), rel=1e-13)
    assert g.I3(C, *index[:3, ..., 0])[1, 0, 1, 2] == pytest.approx(float(g.I3(C[1], 0, 1, 2)), rel=1e-15)


@given(rank=st.integers(1, 4), spread=st.sampled_from([1e-12, 1e-8, 1e-4, 1e-2, 1.0]), seed=st.integers(0, 10**6))
def test_signs_sum_to_what_is_known_in_closed_form(rank, spread, seed):
    """θ(a) + θ(−a) = 1 and g(c) − g(−c) = c tie the quadrature to closed forms, however singular the covariance."""
    g, C = ReLU(), gram(4, rank, spread, seed)

    def turned(*units):
        sign = np.where(np.isin(np.arange(4), units), -1, 1)
        return C * np.outer(sign, sign)

    # A correlation is known to eps, an angle between fields √spread apart to eps/√spread.
    tolerance = 1e-10 + 64 * np.finfo(float).eps * (1 + spread**-0.5)
    size = np.sqrt(C[2, 2] * C[3, 3])
    both = g.I4(C, 0, 1, 2, 3) + g.I4(turned(0), 0, 1, 2, 3)
    assert abs(both - g.I4(C, 1, 1, 2, 3)) <= tolerance * size
    # Four orthants make ⟨θ(b) c g(d)⟩.
    odd = both - g.I4(turned(2), 0, 1, 2, 3) - g.I4(turned(0, 2), 0, 1, 2, 3)
    assert abs(odd - g.I3(C, 1, 2, 3)) <= tolerance * size


@given(rank=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_coinciding_units_are_the_limit_of_different_ones(rank, seed):
    """The quadrature at exactly singular covariances: duplicates of a unit, against the closed forms of fewer."""
    g, C = ReLU(), gram(4, rank, 0.1, seed)
    s = np.sqrt(np.diag(C))
    r = C / np.outer(s, s)
    for at in [(0, 0, 1, 2), (0, 1, 2, 2), (0, 1, 0, 2), (0, 1, 0, 1), (0, 0, 0, 1), (0, 1, 1, 1), (2, 2, 2, 2)]:
        pairs = {x + y: r[at["abcd".index(x)], at["abcd".index(y)]] for x, y in ("ab", "ac", "ad", "bc", "bd", "cd")}
        value = s[at[2]] * s[at[3]] * quadrivariate({k: np.clip(v, -1, 1) for k, v in pairs.items()})
        # A correlation of 1 is known to eps, its angle to √eps.
        assert abs(value - g.I4(C, *at)) <= 4 * np.sqrt(np.finfo(float).eps) * s[at[2]] * s[at[3]]


@pytest.mark.parametrize("spread", [0.0, 1e-10, 1e-6, 1e-3, 0.1])
def test_more_nodes_do_not_change_the_quadrature(spread):
    r = np.stack([gram(4, rank, spread, seed) for rank in (2, 3) for seed in range(50)])
    s = np.sqrt(np.diagonal(r, axis1=-2, axis2=-1))
    r = np.clip(r / (s[..., None] * s[..., None, :]), -1, 1)
    rho = {x + y: r[:, "abcd".index(x), "abcd".index(y)] for x, y in ("ab", "ac", "ad", "bc", "bd", "cd")}
    assert np.max(np.abs(quadrivariate(rho) - quadrivariate(rho, nodes=400))) < 1e-10


# Equations ---------------------------------------------------------------------------------------------------------


def slow_moments(g, C, u, K):
    """Return the four moments as displayed, one integral at a time."""
    n = len(C)
    value = [sum(u[p] * g.I2(C, i, p) for p in range(n)) for i in range(K)]
    field = [[sum(u[p] * g.I3(C, i, b, p) for p in range(n)) for b in range(n)] for i in range(K)]
    square = [
        [sum(u[p] * u[q] * g.I4(C, i, k, p, q) for p in range(n) for q in range(n)) for k in range(K)] for i in range(K)
    ]
    return value, field, square, [[g.J2(C, i, k) for k in range(K)] for i in range(K)]


@EVERY
def test_moments_are_the_sums_of_the_paper(g):
    C, u = gram(5, 5, 0.1, 1), np.array([-0.3, 0.5, 1.2, 1.0, -0.4])
    for got, want in zip(moments(g, C, u, 3), slow_moments(g, C, u, 3), strict=True):
        assert got == pytest.approx(np.array(want, dtype=float), rel=1e-12, abs=1e-13)


@EVERY
def test_the_paper_s_equations_in_the_paper_s_letters(g):
    ts = system(g, K=2)
    (Q, R, v), T, A, f, eta = start(ts), ts.T, ts.heads, ts.feedback(ts.v), ts.learning_rate
    C, K, M = covariance(Q, R, T), 2, 2
    got = ts.velocity(start(ts))
    for i in range(K):
        dv = sum(A[n] * g.I2(C, i, K + n) for n in range(M)) - sum(v[k] * g.I2(C, i, k) for k in range(K))
        assert got.v[i] == pytest.approx(eta * float(dv), rel=1e-12)
        for n in range(M):
            teachers = sum(A[m] * g.I3(C, i, K + n, K + m) for m in range(M))
            students = sum(v[j] * g.I3(C, i, K + n, j) for j in range(K))
            assert got.R[i, n] == pytest.approx(eta * f[i] * float(teachers - students), rel=1e-12)
        for k in range(K):

            def drift(i, k):
                teachers = sum(A[m] * g.I3(C, i, k, K + m) for m in range(M))
                return f[i] * (teachers - sum(v[j] * g.I3(C, i, k, j) for j in range(K)))

            square = ts.noise**2 * g.J2(C, i, k)
            square += sum(A[n] * A[m] * g.I4(C, i, k, K + n, K + m) for n in range(M) for m in range(M))
            square -= 2 * sum(v[j] * A[n] * g.I4(C, i, k, j, K + n) for j in range(K) for n in range(M))
            square += sum(v[j] * v[l] * g.I4(C, i, k, j, l) for j in range(K) for l in range(K))
            want = eta * (drift(i, k) + drift(k, i)) + eta**2 * f[i] * f[k] * square
            assert got.Q[i, k] == pytest.approx(float(want), rel=1e-11)


@EVERY
def test_slow_backprop_descends_the_error(g):
    """At small η backprop is the gradient flow of ε_g(Q, R, v), whose derivatives need I_2 alone: a check of I_3."""
    ts = system(g, linfa.Backprop(), learning_rate=1e-7)
    s, h = start(ts), 1e-5

    def slope(part, index):
        # Central differences; Q stays symmetric, and both of its entries count.
        values = []
        for sign in (1, -1):
            moved = getattr(s, part).copy()
            moved[index] += sign * h
            if part == "Q" and index[0] != index[1]:
                moved[index[::-1]] += sign * h
            values.append(ts.error(s._replace(**{part: moved})))
        return (values[0] - values[1]) / (2 * h)

    G = {
        p: np.array([slope(p, i) for i in np.ndindex(getattr(s, p).shape)]).reshape(getattr(s, p).shape)
        for p in s._fields
    }
    G_Q = (G["Q"] + np.diag(np.diag(G["Q"]))) / 2
    velocity = ts.velocity(s)
    # ẇ = −ηN ∂ε/∂w = −η (2 G_Q w + G_R B), and overlaps follow.
    assert velocity.v / 1e-7 == pytest.approx(-G["v"], abs=1e-7)
    assert np.abs(velocity.R / 1e-7 + (2 * G_Q @ s.R + G["R"] @ ts.T)).max() < 1e-7
    drift = 2 * G_Q @ s.Q + G["R"] @ s.R.T
    assert np.abs(velocity.Q / 1e-7 + drift + drift.T).max() < 1e-5


@EVERY
@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_a_student_that_is_the_teacher_stays_it_and_noise_only_lengthens_its_weights(g, noise):
    T, A = gram(3, 3, 0.2, 2), np.array([1.0, -0.5, 0.8])
    ts = TeacherStudent(T, T, T, A, A, fa(0.3, -1.0, 2.0), g, noise=noise)
    Q, R, v = ts.velocity(start(ts))
    assert abs(ts.error(start(ts))) < 1e-14
    assert max(np.abs(R).max(), np.abs(v).max()) < 1e-14
    f = ts.feedback(A)
    slope = g.J2(T, *np.indices((3, 3)))
    # Equal fields have angles known to √eps, so the square of the error is as exact as that.
    assert pytest.approx((ts.learning_rate * noise) ** 2 * np.outer(f, f) * slope, abs=1e-8) == Q


@EVERY
def test_feedback_equal_to_the_readout_is_backprop(g):
    ts = system(g)
    moving = dataclasses.replace(ts, rule=linfa.Backprop())
    fixed = dataclasses.replace(ts, rule=linfa.FeedbackAlignment((ts.v[None],)))
    for a, b in zip(moving.velocity(start(ts)), fixed.velocity(start(ts)), strict=True):
        assert np.array_equal(a, b)
    # And for the whole run where the feedback follows the read-out.
    following = dataclasses.replace(ts, rule=linfa.Interpolated(1.0, (np.zeros((1, 3)),)))
    assert np.array_equal(moving.solve(1.0, 2)["Q"], following.solve(1.0, 2)["Q"])
    # One hidden layer: direct feedback is feedback alignment.
    direct = dataclasses.replace(fixed, rule=linfa.DirectFeedback((ts.v[None],)))
    assert np.array_equal(fixed.solve(1.0, 2)["Q"], direct.solve(1.0, 2)["Q"])


@EVERY
def test_students_and_teachers_have_no_order(g):
    ts = system(g)
    f = ts.feedback(ts.v)
    for p in permutations(range(3)):
        p, m = np.array(p), np.array([1, 0])
        other = TeacherStudent(
            ts.Q[np.ix_(p, p)], ts.R[np.ix_(p, m)], ts.T[np.ix_(m, m)], ts.v[p], ts.heads[m], fa(*f[p]), g, noise=0.1
        )
        a, b = ts.velocity(start(ts)), other.velocity(start(other))
        assert a.Q[np.ix_(p, p)] == pytest.approx(b.Q, abs=1e-12)
        assert a.R[np.ix_(p, m)] == pytest.approx(b.R, abs=1e-13)


@EVERY
def test_only_odd_activations_forget_the_signs_of_the_feedback(g):
    """(w_k, v_k, v^r_k) → −(w_k, v_k, v^r_k) changes nothing for odd g; ReLU must notice."""
    ts = system(g)
    s = np.array([1, -1, -1])
    turned = TeacherStudent(
        ts.Q * np.outer(s, s), s[:, None] * ts.R, ts.T, s * ts.v, ts.heads, fa(*(s * ts.feedback(ts.v))), g, noise=0.1
    )
    a, b = (x.solve(5.0, 4, rtol=1e-8)["generalisation_error"].values for x in (ts, turned))
    if g.name == "relu":
        assert np.abs(a - b).max() > 0.05
    else:
        assert a == pytest.approx(b, rel=1e-6)


def test_relu_scales():
    """Homogeneity: weights c times as large make errors and fields c times as large, and velocities c²."""
    ts, c = system(ReLU(), noise=0.0), 1.7
    other = dataclasses.replace(ts, Q=c**2 * ts.Q, R=c**2 * ts.R, T=c**2 * ts.T)
    a, b = ts.velocity(start(ts)), other.velocity(start(other))
    assert c**2 * a.v == pytest.approx(b.v, rel=1e-12)
    assert c**2 * a.R == pytest.approx(b.R, rel=1e-12)
    assert c**2 * a.Q == pytest.approx(b.Q, rel=1e-12)


def test_what_stays_put_in_a_linear_student():
    """Along u ⊥ v^r nothing moves: uᵀR and uᵀQu′ are constant, in the equations and in every simulation."""
    ts = system(Linear())
    u = np.linalg.svd(ts.feedback(ts.v)[None])[2][1:]
    for run, tolerance in ((ts.solve(10.0, 5), 1e-13), (ts.simulate(60, 10.0, 0, 5), 1e-11)):
        assert np.abs(u @ (run["R"].values - ts.R)).max() < tolerance
        assert np.abs(u @ (run["Q"].values - ts.Q) @ u.T).max() < tolerance


@pytest.mark.parametrize("g", [Erf(), ReLU()], ids=["erf", "relu"])
def test_slopes_that_differ_between_units_leave_no_such_direction(g):
    ts = system(g)
    u = np.linalg.svd(ts.feedback(ts.v)[None])[2][1:]
    assert np.abs(u @ (ts.solve(5.0, 1)["R"][-1].values - ts.R)).max() > 1e-3


@EVERY
@pytest.mark.parametrize("rule", [None, linfa.Backprop()], ids=["fa", "bp"])
def test_the_laws_of_the_flow_and_what_a_finite_rate_adds(g, rule):
    """d/dt [Q − v^r vᵀ − v v^rᵀ] = η² v^r v^rᵀ ∘ (what e² adds): linear, its diagonal for ReLU, never for erf."""
    ts = system(g, rule)
    s = start(ts)
    f, m = ts.feedback(s.v), moments(g, covariance(s.Q, s.R, ts.T), np.r_[-s.v, ts.heads], 3)
    Q, _, v = ts.velocity(s)
    defect = Q - np.outer(f, v) - np.outer(v, f)
    account = ts.learning_rate**2 * np.outer(f, f) * (m.square + ts.noise**2 * m.slope)
    scale = np.abs(Q).max() + np.abs(np.outer(f, v)).max()
    if g.name == "linear":
        assert np.abs(defect - account).max() <= rounding(60, scale)
        assert m.square == pytest.approx(np.full((3, 3), 2 * ts.error(s)), rel=1e-13)
    elif g.name == "relu":
        assert np.abs(np.diag(defect - account)).max() <= rounding(200, scale)
        assert np.abs(defect - account).max() > 1e-3
    else:
        assert np.abs(np.diag(defect - account)).max() > 1e-3


def held(eta, sigma):
    """Return a linear system with a read-out that is held, at some angle to the feedback."""
    ts = system(Linear(), noise=sigma, learning_rate=eta, readout_rate=0.0)
    return dataclasses.replace(ts, v=np.array([0.8, -0.5, 0.9]))


@pytest.mark.parametrize(("eta", "sigma"), [(0.3, 0.0), (0.3, 0.5), (1.2, 0.1)])
def test_a_linear_student_with_a_fixed_readout_has_a_closed_form(eta, sigma):
    """ε̇ = −(2ηc − η²c²) ε + ½η²c²σ² with c = v·v^r, for any K and M."""
    ts = held(eta, sigma)
    c = float(ts.v @ ts.feedback(ts.v))
    rate, source = 2 * eta * c - (eta * c) ** 2, (eta * c * sigma) ** 2 / 2
    run = ts.solve(8.0, 16)
    t, e0 = run["time"].values, float(ts.error(start(ts)))
    want = source / rate + (e0 - source / rate) * np.exp(-rate * t)
    assert run["generalisation_error"].values == pytest.approx(want, rel=1e-7)
    assert np.array_equal(run["v"][-1], ts.v)


def test_a_linear_simulation_has_its_exact_mean_at_finite_width():
    """E ε ← ε (1 − 2ηc/N + η²c²(N+2)/N²) + ½η²c²σ²/N at every step, exactly; N = 8 is far from the limit."""
    N, eta, sigma, repeats = 8, 0.4, 0.3, 4000
    ts = held(eta, sigma)
    c, e = float(ts.v @ ts.feedback(ts.v)), float(ts.error(start(ts)))
    run = ts.simulate(N, 3.0, 0, saves=24, repeats=repeats)["generalisation_error"].values
    expected = []
    for _ in range(25):
        expected.append(e)
        e = e * (1 - 2 * eta * c / N + (eta * c / N) ** 2 * (N + 2)) + (eta * c * sigma) ** 2 / (2 * N)
    z = (run.mean(axis=1) - expected)[1:] / (run.std(axis=1, ddof=1)[1:] / np.sqrt(repeats))
    assert np.abs(z).max() < stats.t.isf(RARE / 48, repeats - 1)
    limit = ts.solve(3.0, 24)["generalisation_error"].values
    gap = (run.mean(axis=1) - limit)[1:] / (run.std(axis=1, ddof=1)[1:] / np.sqrt(repeats))
    assert np.abs(gap).max() > 6  # the limit is told from N = 8


def test_solving_more_tightly_changes_no_more_than_the_tolerance():
    ts = system(Erf())
    exact = ts.solve(5.0, 5, rtol=1e-12, atol=1e-14)
    for rtol in (1e-6, 1e-9):
        run = ts.solve(5.0, 5, rtol=rtol, atol=rtol / 1e3)
        assert float(np.abs(run["R"] - exact["R"]).max()) < 100 * rtol


# The online simulation ----------------------------------------------------------------------------------------------


def plain_run(ts, W, v, n_steps, inputs, noise):
    """Return w and v after online learning as one would write it in an afternoon."""
    K, N, g, eta = len(v), W.shape[1], ts.activation, ts.learning_rate
    w, B, v = W[:K].copy(), W[K:], v.copy()
    for _ in range(n_steps):
        x = inputs.standard_normal(N)
        field = w @ x / np.sqrt(N)
        e = ts.heads @ g.value(B @ x / np.sqrt(N)) - v @ g.value(field) + ts.noise * noise.standard_normal()
        f = ts.feedback(v)
        v = v + eta / N * e * g.value(field)
        w = w + eta / np.sqrt(N) * np.outer(f * g.slope(field) * e, x)
    return w, v


@EVERY
@pytest.mark.parametrize("rule", [None, linfa.Backprop()], ids=["fa", "bp"])
def test_the_simulation_is_the_plain_loop(g, rule):
    from linfa.systems.teacher_student.simulation import weights_with

    ts, N = system(g, rule), 40
    run = ts.simulate(N, 2.5, 7, saves=3)
    first, inputs, noise = np.random.default_rng(7).spawn(1)[0].spawn(3)
    W = weights_with(covariance(ts.Q, ts.R, ts.T), N, first)
    w, v = plain_run(ts, W, ts.v, 100, inputs, noise)
    assert run["Q"][-1].values == pytest.approx(w @ w.T / N, abs=1e-12)
    assert run["R"][-1].values == pytest.approx(w @ W[3:].T / N, abs=1e-12)
    assert run["v"][-1].values == pytest.approx(v, abs=1e-12)
    assert run["Q"][0].values == pytest.approx(ts.Q, abs=1e-13)


def test_what_is_saved_and_repeated_changes_no_run():
    ts = system(Erf())
    a, b = ts.simulate(30, 4.0, 1, saves=7, repeats=2), ts.simulate(30, 4.0, 1, saves=1, repeats=3)
    assert a["Q"][-1, :2].values == pytest.approx(b["Q"][-1, :2].values, abs=1e-12)
    assert np.array_equal(ts.simulate(30, 4.0, 1)["Q"], ts.simulate(30, 4.0, 1)["Q"])
    assert not np.array_equal(a["Q"][-1, 0], a["Q"][-1, 1])


def worst(ts, run, N):
    """Return the largest |t| over moments and order parameters, and its quantile at level RARE for all together."""
    n, largest, count = run.sizes["repeat"], 0.0, 0
    solved = ts.solve(float(run["time"][-1]), run.sizes["time"] - 1, rtol=1e-7, atol=1e-9)
    for name in ("generalisation_error", "Q", "R", "v"):
        x = run[name].values[1:]
        error = np.std(x, axis=1, ddof=1) / np.sqrt(n)
        t = np.abs(np.mean(x, axis=1) - solved[name].values[1:]) / error
        largest, count = max(largest, t.max()), count + t.size
    return largest, stats.t.isf(RARE / 2 / count, n - 1)


@EVERY
@pytest.mark.parametrize("rule", [None, linfa.Backprop()], ids=["fa", "bp"])
def test_the_equations_are_the_mean_of_the_simulation(g, rule):
    """Student's t for every order parameter at every moment, together at level 1e-6.

    The bias of finite N is of order 1/N (measured: below 2/N), the standard error of 24 runs at N = 300 above 3/N.
    """
    ts, N = system(g, rule), 300
    run = ts.simulate(N, 8.0, 11, saves=6, repeats=24)
    largest, allowed = worst(ts, run, N)
    assert largest < allowed
    # The control: equations with η a quarter larger, and those of another feedback, are refused by the same test.
    wrong = dataclasses.replace(ts, learning_rate=1.25 * ts.learning_rate)
    assert worst(wrong, run, N)[0] > allowed
    assert worst(dataclasses.replace(ts, rule=fa(1.0, 1.0, 1.0)), run, N)[0] > allowed


def test_one_run_of_two_thousand_inputs_is_within_its_fluctuation():
    """K = 3, M = 2, erf, t ≤ 20 (papers.md, D4): fluctuations fall as N^{−1/2}, so 300 inputs say what 2000 may do."""
    ts = TeacherStudent.gaussian(3, 2, 8, n_in=2000, rule=fa(1.0, -0.7, 0.5))
    solved = ts.solve(20.0, 10)["generalisation_error"].values
    small, n = ts.simulate(300, 20.0, 3, saves=10, repeats=32)["generalisation_error"].values, 32
    sigma = np.std(small, axis=1, ddof=1) * np.sqrt(300 / 2000)
    large = ts.simulate(2000, 20.0, 4, saves=10)["generalisation_error"].values
    t = np.abs(large - solved)[1:] / sigma[1:]
    assert t.max() < stats.t.isf(RARE / 20, n - 1)
    assert solved[-1] < 0.2 * solved[0]
    assert np.abs(large - solved).max() < 0.02


def test_fluctuations_fall_as_the_root_of_the_width():
    ts = system(Erf())
    spreads = [ts.simulate(N, 4.0, 5, saves=1, repeats=100)["v"][-1].values.std(axis=0) for N in (20, 320)]
    # A ratio of two standard deviations of 100 Gaussians each has a relative error of 1/√100.
    slope = np.log(spreads[0] / spreads[1]) / np.log(16)
    assert slope == pytest.approx(np.full(3, 0.5), abs=5 / np.sqrt(100) / np.log(16))


# Recovery ----------------------------------------------------------------------------------------------------------


def test_recovery_probabilities_of_the_paper():
    expected = {2: Fraction(1, 4), 3: Fraction(1, 2), 4: Fraction(11, 16)}
    assert {K: recovery_probability(K, 2) for K in (2, 3, 4)} == expected
    assert recovery_probability(1, 2) == 0
    for g in (Erf(), Linear()):
        assert recovery_probability(2, 2, g) == 1
    assert recovery_probability(1, 2, Erf()) == 0
    assert recovery_probability(2, 2, negative=1) == Fraction(1, 2)
    for K, M, negative in ((5, 2, 0), (5, 3, 1), (4, 3, 3)):
        s = sign_patterns(K)
        counted = np.mean(((s > 0).sum(axis=1) >= M - negative) & ((s < 0).sum(axis=1) >= negative))
        assert float(recovery_probability(K, M, negative=negative)) == counted


@pytest.mark.parametrize(("K", "heads"), [(2, (1.0, 1.0)), (3, (1.0, 1.0)), (4, (1.0, 1.0)), (3, (1.0, -1.0))])
def test_relu_recovers_with_the_probability_that_is_said(K, heads):
    """Every sign pattern is solved from one small start; those that learn and those that do not are far apart."""
    signs = sign_patterns(K)
    ts = TeacherStudent.gaussian(
        K,
        2,
        3,
        n_in=1000,
        student_scale=0.1,
        readout_scale=0.1,
        heads=np.array(heads),
        learning_rate=0.1,
        rule=linfa.FeedbackAlignment((signs[:, None, :],)),
        activation=ReLU(),
    )
    run = ts.solve(600.0, 1, rtol=1e-6, atol=1e-8)
    e = run["generalisation_error"][-1].values
    assert Fraction(int(np.sum(e < 2e-3)), len(e)) == recovery_probability(K, 2, negative=heads.count(-1.0))
    assert not np.any((e > 2e-3) & (e < 5e-2))
    # Degeneracy is broken: the student that has learnt, of the many that could, is the one with the signs of v^r.
    learnt = e < 2e-3
    assert np.all(run["weight_alignment"][-1].values[learnt] > 0)
    if len(heads) == K:
        assert np.array_equal(np.sign(run["v"][-1].values[learnt]), signs[learnt])


def test_erf_recovers_whatever_the_signs_and_the_readout_takes_them():
    signs = sign_patterns(2)
    ts = TeacherStudent.gaussian(
        2, 2, 3, 1000, student_scale=0.1, readout_scale=0.1, learning_rate=0.5,
        rule=linfa.FeedbackAlignment((signs[:, None, :],)),
    )  # fmt: skip
    run = ts.solve(2000.0, 1, rtol=1e-6, atol=1e-9)
    assert np.all(run["generalisation_error"][-1].values < 1e-6)
    assert np.array_equal(np.sign(run["v"][-1].values), signs)
    assert np.abs(run["v"][-1].values) == pytest.approx(np.ones((4, 2)), abs=1e-3)
    assert run["weight_alignment"][-1].values == pytest.approx(np.ones(4), abs=1e-3)


# Boundaries ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_its_members():
    rule = linfa.FeedbackAlignment((sign_patterns(2)[:, None, :],))
    batch = TeacherStudent.gaussian(2, 1, 0, n_in=50, members=(4,), rule=rule, activation=ReLU())
    whole = batch.solve(3.0, 3)
    for i in range(4):
        s = Overlaps(batch.Q[i], batch.R[i], batch.v[i])
        one = TeacherStudent(s.Q, s.R, batch.T[i], s.v, batch.heads[i], fa(*sign_patterns(2)[i]), ReLU())
        assert whole["Q"][:, i].values == pytest.approx(one.solve(3.0, 3)["Q"].values, abs=1e-7)
    assert batch.simulate(20, 1.0, 0, saves=2, repeats=3)["v"].dims == ("time", "repeat", "member_0", "student")
    assert batch.simulate(20, 1.0, 0, saves=2)["v"].shape == (3, 4, 2)


def test_gaussian_overlaps_have_the_law_of_gaussian_weights():
    """Mean and variance of every overlap of 20000 draws against those of Wishart, each at 5σ."""
    N, n = 20, 20_000
    ts = TeacherStudent.gaussian(2, 1, 0, n_in=N, members=(n,), student_scale=0.5, teacher_scale=2.0)
    C, s = covariance(ts.Q, ts.R, ts.T), np.array([0.5, 0.5, 2.0])
    mean, variance = np.diag(s**2), (np.outer(s**2, s**2) * (1 + np.eye(3))) / N
    assert np.all(np.abs(C.mean(axis=0) - mean) < 5 * np.sqrt(variance / n))
    assert C.var(axis=0) == pytest.approx(variance, rel=5 * np.sqrt((2 + 24 / N) / n))
    limit = TeacherStudent.gaussian(2, 1, 0, student_scale=0.5, teacher_scale=2.0)
    assert np.array_equal(covariance(limit.Q, limit.R, limit.T), mean)


def test_given_weights_give_their_overlaps():
    rng = np.random.default_rng(0)
    w, B = rng.standard_normal((2, 30)), rng.standard_normal((3, 30))
    ts = TeacherStudent.of(w, B, np.zeros(2), np.ones(3), activation=Linear())
    assert pytest.approx(w @ B.T / 30, rel=1e-14) == ts.R
    # ε_g of a linear pair is ½|Bᵀ A − wᵀ v|²/N.
    assert float(ts.error(start(ts))) == pytest.approx(float(np.sum((B.sum(axis=0)) ** 2)) / 60, rel=1e-13)


def test_divergence_is_told():
    ts = held(30.0, 0.1)
    with pytest.raises(linfa.DivergenceError, match="learning rate is too large"):
        ts.solve(200.0)
    with pytest.raises(linfa.DivergenceError, match=r"after step \d+ in [12] of 2 runs"):
        ts.simulate(20, 400.0, 0, repeats=2)


def test_stiff_equations_are_given_up():
    """With a read-out that learns, a huge rate does not blow up: v shrinks, and the steps with it."""
    with pytest.raises(linfa.InputError, match=r"500 evaluations only reached t = .* of 200: the equations are stiff"):
        system(Linear(), learning_rate=30.0).solve(200.0, max_evaluations=500)


def test_a_run_says_how_it_was_made():
    run = system(Erf()).solve(1.0, 2)
    assert '"type": "TeacherStudent"' in run.attrs["provenance"]
    assert run["time"].values.tolist() == [0.0, 0.5, 1.0]
    assert run.sizes == {"time": 3, "student": 3, "other_student": 3, "teacher": 2}


GOOD = {"Q": np.eye(2), "R": np.zeros((2, 1)), "T": np.eye(1), "v": np.zeros(2), "heads": np.ones(1)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Q": np.array([[1.0, 2.0], [2.0, 1.0]])}, "positive semi-definite; its least eigenvalue is -1"),
        ({"Q": np.array([[1.0, 0.5], [0.0, 1.0]])}, "symmetric"),
        ({"R": np.full((2, 1), 0.9)}, "must be overlaps of weights"),
        ({"Q": np.full((2, 2), np.nan)}, "Q must hold finite numbers"),
        ({"R": np.zeros((2, 3))}, r"need R of shape \(2, 1\)"),
        ({"v": np.zeros((0,))}, "v must hold"),
        ({"activation": "erf"}, r"Erf\(\), ReLU\(\) or Linear\(\); got 'erf'"),
        ({"activation": np.tanh}, "Gaussian integrals are known"),
        ({"learning_rate": 0.0}, "learning rate must be finite and > 0"),
        ({"learning_rate": float("inf")}, "learning rate must be finite"),
        ({"noise": -1.0}, "noise must be finite and ≥ 0"),
        ({"readout_rate": -0.1}, "rate of the read-out must be finite and ≥ 0"),
        ({"rule": "fa"}, "takes a rule such as"),
        ({"rule": fa(1.0, 1.0, 1.0)}, r"B_2 must have shape \(1, 2\)"),
        ({"rule": linfa.KolenPollack((np.ones((1, 2)),))}, "draws or learns it"),
        ({"Q": np.zeros((2, 2)), "activation": ReLU()}, "ReLU needs weights that are not zero"),
        ({"v": np.zeros((3, 2)), "Q": np.stack([np.eye(2)] * 2)}, "batch axes of Q, R, T, v, heads and feedback"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_what_does_not_apply_is_refused_with_its_reason(change, message):
    TeacherStudent(**GOOD)
    with pytest.raises(linfa.InputError, match=message):
        TeacherStudent(**(GOOD | change))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: s.solve(-1.0), "end of time"),
        (lambda s: s.solve(1.0, saves=0), "saves must be a whole number"),
        (lambda s: s.solve(1.0, rtol=1e-20), "tolerances"),
        (lambda s: s.solve(1.0, atol=0.0), "atol ≥ 1e-100; got 1e-09 and 0.0"),
        (lambda s: s.simulate(2, 1.0, 0), "room for K"),
        (lambda s: s.simulate(10, 0.01, 0), "number of steps"),
        (lambda s: s.simulate(10, 1.0, 0, repeats=0), "repeats"),
        (lambda s: TeacherStudent.gaussian(0, 1, 0), "students must be"),
        (lambda s: TeacherStudent.gaussian(2, 2, 0, n_in=3), "n_in must be a whole number ≥ 4"),
        (lambda s: TeacherStudent.gaussian(2, 2, 0, student_scale=-1.0), "student_scale must be finite"),
        (lambda s: TeacherStudent.of(np.ones((1, 3)), np.ones((1, 4)), np.ones(1), np.ones(1)), "same N inputs"),
        (lambda s: recovery_probability(2, 2, negative=3), "0 ≤ negative ≤ teachers"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_calls_out_of_range_are_refused(call, message):
    with pytest.raises(linfa.InputError, match=message):
        call(TeacherStudent(**GOOD))


def test_zero_students_may_start_where_the_slope_exists():
    """From w = 0 and v = 0 backprop is stuck; feedback alignment learns (erf)."""
    zero = GOOD | {"Q": np.zeros((2, 2))}
    stuck, moving = (TeacherStudent(**zero, rule=rule).solve(20.0, 1) for rule in (linfa.Backprop(), fa(1.0, -1.0)))
    assert float(stuck["generalisation_error"][-1]) == float(stuck["generalisation_error"][0])
    assert float(moving["generalisation_error"][-1]) < 0.5 * float(moving["generalisation_error"][0])
