"""Drawn networks have the law of networks that were built: runs, Gram matrices, norms and alignments, any correlation.

Each comparison is a two-sample Kolmogorov–Smirnov test of one statistic over `NETS` drawn and `NETS` built networks.
All of them together raise a false alarm with a probability of at most `LEVEL` (Bonferroni); seeds are fixed.
"""

import numpy as np
import pytest
from scipy.stats import ks_2samp

import linfa
from linfa.systems import wishart
from tests.strategies import task_of
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

norm = np.linalg.norm
LEVEL = 1e-3
NETS = 1500
CASES = [
    ((3, 8, 2), 0.0),
    ((4, 2, 3), 0.6),
    ((5, 1, 3), 0.0),
    ((3, 9, 8, 2), 0.0),
    ((3, 9, 8, 2), -0.4),
    ((4, 3, 2, 3), 0.0),
    ((4, 3, 2, 3), 0.6),
    ((3, 4, 9, 5, 2), 0.0),
    ((3, 4, 9, 5, 2), 1.0),
    ((2, 3, 1, 4, 3), 0.6),
    ((2, 5, 3, 6, 4, 2), 0.0),
    ((2, 5, 3, 6, 4, 2), -0.4),
]
"""Widths and ρ. Depths 2 … 5; in each case some width is below n_0 + lp, in some below p."""
COMPARISONS = 1000
"""More than there are below, which is asserted."""


def built(widths, seed, scale=1.0, feedback=1.0, rho=0.0):
    """An ensemble of networks that were really built."""
    rng = np.random.default_rng(seed)

    def layer(n, m, s):
        return s / np.sqrt(m) * rng.standard_normal((NETS, n, m))

    pairs = list(zip(widths[1:], widths, strict=False))
    W = tuple(layer(n, m, scale) for n, m in pairs)
    B = tuple(rho * w + np.sqrt(1 - rho**2) * layer(*w.shape[1:], feedback) for w in W[1:])
    return linfa.WidthFree(linfa.Weights(W), linfa.FeedbackAlignment(B))


def drawn(widths, seed, **law):
    return linfa.WidthFree.gaussian(widths, seed, members=NETS, **law)


def statistics(system, task):
    """One number per network and statistic: of the run, of the Gram matrices, of norms and alignments, and of pairs."""
    # The signal of softmax is bounded: no member of the ensemble can run away in a few steps.
    run = linfa.solve(system, task, linfa.Descent(0.05, 30, saves=2), states=False)
    reduction, n, p = system.grams, system.widths[0], system.widths[-1]
    loss, cos, law = (run.dataset[name].values for name in ("loss", "weight_alignment", "layer_law"))
    found = {f"loss {k}": loss[k] for k in range(3)}
    for l, G in enumerate(reduction.grams[1:], 1):
        T = G[:, n:, n:]
        found |= {
            f"‖A_{l}‖²": np.trace(G[:, :n, :n], axis1=1, axis2=2),
            f"⟨T_{l},A_{l}⟩": G[:, -1, 0],
            f"‖M_{l}‖²": np.trace(T[:, -p:, -p:], axis1=1, axis2=2),
            f"det 𝒢_{l}": np.linalg.slogdet(G + np.eye(G.shape[-1]))[1],
        }
    for l, start in enumerate(reduction.squares, 1):
        found[f"‖W_{l}‖²"] = start.WW
        if l > 1:
            found |= {
                f"⟨B_{l},W_{l}⟩": start.BW,
                f"‖B_{l}‖²": start.BB,
                f"cos_{l} at the end": cos[-1, :, l - 2],
                f"law_{l - 1} at the end": law[-1, :, l - 2],
                f"cos_{l} × loss": cos[-1, :, l - 2] * loss[-1],
                f"‖W_{l}‖² × ‖A_L‖": start.WW * norm(reduction.readout[:, :, :n], axis=(1, 2)),
            }
    top = reduction.readout
    aligned = np.trace(top[:, :, n : n + p], axis1=1, axis2=2)
    return found | {"‖A_L‖": norm(top[:, :, :n], axis=(1, 2)), "‖T_L‖": norm(top, axis=(1, 2)), "tr T_{L,1}": aligned}


def unlike(real, other):
    """The p-value of every statistic."""
    return {name: ks_2samp(real[name], other[name]).pvalue for name in real}


def task_for(widths):
    return task_of(widths[0], widths[-1], N=12, loss="softmax-ce", seed=4)


@pytest.mark.parametrize(("widths", "rho"), CASES)
def test_draws_have_the_law_of_networks_that_were_built(widths, rho):
    task, seed = task_for(widths), sum(widths)
    real = statistics(built(widths, seed, rho=rho), task)
    p = unlike(real, statistics(drawn(widths, seed + 1, rho=rho), task))
    assert (len(CASES) + 2) * 60 < COMPARISONS  # two more below
    assert len(p) < 60
    assert min(p.values()) > LEVEL / COMPARISONS, p


@pytest.mark.parametrize(
    ("law", "found_by"),
    [
        ({"weight_scale": 1.1}, ("‖A_L‖", "‖W_1‖²", "loss 0")),
        ({"feedback_scale": 1.2}, ("‖M_1‖²", "‖B_2‖²", "det 𝒢_2")),
        ({"rho": 0.2}, ("⟨B_2,W_2⟩", "⟨B_3,W_3⟩", "cos_2 at the end")),
    ],
)
def test_a_wrong_law_is_found_out(law, found_by):
    widths = (3, 9, 8, 2)
    task = task_for(widths)
    p = unlike(statistics(built(widths, 0), task), statistics(drawn(widths, 1, **law), task))
    assert max(p[name] for name in found_by) < LEVEL / COMPARISONS


def test_a_wrong_width_is_found_out():
    task = task_for((3, 9, 8, 2))
    p = unlike(statistics(built((3, 9, 8, 2), 0), task), statistics(drawn((3, 13, 12, 2), 1), task))
    assert min(p.values()) < 1e-12


def test_a_draw_that_forgets_what_the_path_knows_of_the_weights_is_found_out(monkeypatch):
    """Control: with W_l independent of M_{l−1} = B_lᵀM_l, as it would be at ρ = 0, the law at ρ = 0.6 is another."""
    widths, task = (3, 9, 8, 2), task_for((3, 9, 8, 2))
    real = statistics(built(widths, 0, rho=0.6), task)
    levels = wishart._levels

    def forgetful(*args):
        return [
            level._replace(kappa_tilde=0.8 * level.kappa_tilde + 0.6 * level.kappa[::-1]) for level in levels(*args)
        ]

    monkeypatch.setattr(wishart, "_levels", forgetful)
    p = unlike(real, statistics(drawn(widths, 1, rho=0.0), task))
    assert p["‖M_1‖²"] > LEVEL / COMPARISONS  # the path alone is right
    assert max(p["tr T_{L,1}"], p["⟨B_2,W_2⟩"], p["cos_3 at the end"]) < LEVEL / COMPARISONS


def test_scales_per_layer_are_those_of_the_layers():
    widths, s, tau, rho = (3, 9, 8, 2), (0.5, 2.0, 1.5), (0.7, 1.6), 0.3
    net, task = built(widths, 0), task_for((3, 9, 8, 2))
    W = tuple(a * w for a, w in zip(s, net.weights, strict=True))
    fresh = zip(tau, net.rule.matrices, W[1:], strict=True)
    B = tuple(rho * w + np.sqrt(1 - rho**2) * a * b for a, b, w in fresh)
    real = statistics(linfa.WidthFree(linfa.Weights(W), linfa.FeedbackAlignment(B)), task)
    p = unlike(real, statistics(drawn(widths, 1, weight_scale=s, feedback_scale=tau, rho=rho), task))
    assert min(p.values()) > LEVEL / COMPARISONS, p


@pytest.mark.parametrize("rho", [1.0, -1.0])
@pytest.mark.parametrize("widths", [(3, 8, 2), (3, 10**9, 10**7, 10**8, 2), (4, 3, 2, 1, 3)])
def test_feedback_that_is_the_start_says_so_exactly(widths, rho):
    """B_l = ±W_l(0) makes T_{L,j} = W_L(0)…W_{j+1}(0) M_j = (±1)^{L−j} M_jᵀM_j, in every draw."""
    reduction, n, p, L = drawn(widths, 0, rho=rho).grams, widths[0], widths[-1], len(widths) - 1
    for j in range(1, L):
        T, H = reduction.readout[..., n + (j - 1) * p : n + j * p], reduction.grams[j][..., -p:, -p:]
        # Up to n_0 + Lp numbers are added at each of L levels, on the way down and on the way up.
        size = norm(reduction.readout, axis=(-2, -1)) ** 2 + norm(H, axis=(-2, -1))
        assert np.all(norm(T - rho ** (L - j) * H, axis=(-2, -1)) <= rounding(4 * L * (n + (L + 1) * p), size))
    for start in reduction.squares[1:]:
        assert np.array_equal(start.BW, rho * start.WW)
        assert np.array_equal(start.BB, start.WW)


def test_the_norms_of_a_draw_are_those_of_a_network_of_that_width():
    """‖W_l‖² is s² χ² with n_l n_{l−1} degrees of freedom, also where these are 10¹⁸, and cos(B_l, W_l) is about ρ."""
    widths, rho = (4, 10**9, 10**9, 3), 0.25
    for l, start in enumerate(drawn(widths, 0, rho=rho).grams.squares, 1):
        degrees = widths[l] * widths[l - 1]
        spread = np.sqrt(2 / degrees)
        mean = start.WW.mean() / (degrees / widths[l - 1])
        # Six standard errors: a probability of 2e-9 each.
        assert abs(mean - 1) <= 6 * spread / np.sqrt(NETS) + rounding(NETS, 1.0)
        if l > 1:
            cos = start.BW / np.sqrt(start.WW * start.BB)
            assert np.all(np.abs(cos - rho) <= 6 / np.sqrt(degrees) + rounding(100, 1.0))


def test_a_drawn_net_shows_its_alignment_and_its_law_in_a_run():
    system, task = drawn((3, 10**6, 10**5, 2), 0, rho=0.5), linfa.Task.teacher(3, 2, 1)
    run = linfa.solve(system, task, linfa.Flow(1e-4, saves=2))
    assert run.alignment.shape == (3, NETS, 2)
    assert np.abs(run.alignment[0] - 0.5).max() < 0.02
    assert run.loss[-1].max() < 1e-6
    law = run.dataset["layer_law"]
    # ‖W‖² is about n, and a flow keeps the law to its tolerance.
    assert np.abs(law[-1] - law[0]).max() < 1e-6 * np.abs(law).max()


def test_a_draw_depends_on_its_seed_alone():
    a, b, c = (linfa.WidthFree.gaussian((3, 10**9, 7, 2), seed, rho=0.3).grams for seed in (0, 0, 1))
    assert np.array_equal(a.readout, b.readout)
    assert a.squares == b.squares
    assert not np.array_equal(a.readout, c.readout)


@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_draws_with_one_seed_and_growing_widths_converge(rho):
    """At the rate 1/√n, so a hundred times the width is ten times as close: to a draw of width 10¹⁴."""

    def draw(n):
        return linfa.WidthFree.gaussian((3, n, n, 2), 5, members=50, rho=rho).grams.readout

    limit = draw(10**14)
    errors = [norm(draw(n) - limit) for n in (10**4, 10**6, 10**8)]
    assert np.allclose(np.divide(errors[:-1], errors[1:]), 10, rtol=0.1)


MISTAKES = {
    "no width": (((3, 0, 2), {}), "every width must be a whole number ≥ 1"),
    "no member": (((3, 9, 2), {"members": 0}), "whole number of members ≥ 1"),
    "half a member": (((3, 9, 2), {"members": 2.5}), "whole number of members ≥ 1"),
    "a true member": (((3, 9, 2), {"members": True}), "whole number of members ≥ 1"),
    "too few scales": (
        ((3, 9, 2), {"weight_scale": (1.0,)}),
        "weight_scale is one number, or one per matrix, 2 of them",
    ),
    "a negative scale": (((3, 9, 2), {"feedback_scale": -1.0}), "feedback_scale must be finite and ≥ 0; got -1"),
    "an infinite scale": (((3, 9, 2), {"weight_scale": np.inf}), "weight_scale must be finite and ≥ 0; got inf"),
    "a correlation above one": (((3, 9, 2), {"rho": 1.5}), "ρ is a correlation, −1 ≤ ρ ≤ 1; got 1.5"),
    "a correlation that is nan": (((3, 9, 2), {"rho": np.nan}), "ρ is a correlation, −1 ≤ ρ ≤ 1; got nan"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_said(mistake, as_users_run_it):
    (widths, law), says = MISTAKES[mistake]
    with pytest.raises(linfa.InputError, match=says):
        linfa.WidthFree.gaussian(widths, 0, **law)
