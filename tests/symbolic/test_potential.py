"""The potential principle: every row of theory.md §3 gets its potential or its obstruction."""

import numpy as np
import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from linfa.errors import InputError, NoLawError
from linfa.symbolic import (
    LAYER,
    B,
    Obstruction,
    Potential,
    Rule,
    W,
    absolute,
    evaluate,
    find,
    hadamard,
    letter,
    norm,
    potential,
    sign,
    sym,
    trace,
    width,
)
from linfa.symbolic.entries import block_curl

alpha, s, N = sympy.symbols("α s N", positive=True)
w, b = sympy.Symbol("W_2", real=True), sympy.Symbol("B_2", real=True)
w2 = W(2)
A = letter("A", width(2), width(2), symmetric=True)
G = letter("G", width(2), width(2))
R = letter("R", width(1), width(1), symmetric=True)

ENTRIES = [
    (B(2), b * w, "neuron"),
    (w2, w**2 / 2, "neuron"),
    (alpha * w2 + (1 - alpha) * B(2), alpha * w**2 / 2 + (1 - alpha) * b * w, "neuron"),
    (hadamard(w2, w2, w2), w**4 / 4, "neuron"),
    (s * sign(w2), s * sympy.Abs(w), "neuron"),
    (hadamard(B(2), sign(w2)), b * sympy.Abs(w), "neuron"),
    (hadamard(w2, absolute(w2)), w**2 * sympy.Abs(w) / 3, "neuron"),
    (norm(w2) * w2, w**2 * sympy.Symbol("ρ", positive=True) / 3, "layer"),
    (norm(w2) ** 3 * w2, w**2 * sympy.Symbol("ρ", positive=True) ** 3 / 5, "layer"),
]


@pytest.mark.parametrize(("feedback", "density", "per"), ENTRIES, ids=lambda x: str(x))
def test_entrywise_potentials(feedback, density, per):
    found = potential(feedback, w2)
    assert isinstance(found, Potential)
    assert sympy.expand(found.entry.readable() - density) == 0
    assert found.per == per
    assert "every shape" in found.proved
    assert "Φ" in found.statement


WORDS = [
    (w2 @ w2.T @ w2, trace(w2 @ w2.T @ w2 @ w2.T) / 4, "layer"),
    (A @ w2, trace(w2.T @ A @ w2) / 2, "neuron"),
    (w2 @ R, trace(w2 @ R @ w2.T) / 2, "layer"),
    (sym(G) @ w2 + B(2), trace(w2.T @ G @ w2) + trace(B(2).T @ w2), "neuron"),
]


@pytest.mark.parametrize(("feedback", "phi", "per"), WORDS, ids=lambda x: str(x))
def test_word_potentials_hold_for_every_shape(feedback, phi, per):
    found = potential(feedback, w2)
    assert isinstance(found, Potential)
    assert found.word == phi
    assert (found.per, found.proved) == (per, "for every shape, by words")


OBSTRUCTED = [
    norm(w2) * sign(w2) / sympy.sqrt(N),
    norm(w2) * hadamard(w2, w2),
    norm(w2) * B(2),
    w2 / norm(w2) + norm(w2) * sign(w2),
    G @ w2,
    w2 @ w2.T @ B(2),
    sign(w2) @ w2.T @ w2,
]


@pytest.mark.parametrize("feedback", OBSTRUCTED, ids=str)
def test_obstructions(feedback):
    found = potential(feedback, w2)
    assert isinstance(found, Obstruction)
    assert "not zero" in found.statement
    assert isinstance(found.refuse(), NoLawError)


def test_the_norm_divided_out_is_a_gradient():
    found = potential(w2 / norm(w2), w2)
    assert isinstance(found, Potential)
    rho = sympy.Symbol("ρ", positive=True)
    assert found.entry.expression == w**2 / rho


def test_the_obstruction_of_strict_sign_normalisation_is_written_out():
    """∂B_11/∂W_12 − ∂B_12/∂W_11 = (s w' − s' w)/(√N ρ)."""
    found = potential(norm(w2) * sign(w2) / sympy.sqrt(N), w2)
    v, t, u = (sympy.Symbol(name, real=True) for name in ("W_2'", "s_W_2", "s_W_2'"))
    rho = sympy.Symbol("ρ", positive=True)
    assert sympy.simplify(found.curl - (t * v - u * w) / (sympy.sqrt(N) * rho)) == 0
    assert "at least two entries" in found.proved


@pytest.mark.parametrize("feedback", [row[0] for row in ENTRIES + WORDS if not sympy.sympify(0).has(row[2])], ids=str)
def test_the_block_agrees_where_a_potential_was_found(feedback):
    assert block_curl(feedback, w2.letters()[0])[1] == 0


@pytest.mark.parametrize("feedback", OBSTRUCTED[:6], ids=str)
def test_the_block_agrees_where_none_was_found(feedback):
    assert block_curl(feedback, w2.letters()[0])[1] != 0


NUMERIC = [
    (lambda l: hadamard(W(l), W(l), W(l)), {}),
    (lambda l: s * sign(W(l)), {s: 0.7}),
    (lambda l: hadamard(B(l), sign(W(l))), {}),
    (lambda l: norm(W(l)) * W(l), {}),
    (lambda l: W(l) @ W(l).T @ W(l), {}),
    (lambda l: alpha * W(l) + (1 - alpha) * B(l), {alpha: 0.3}),
]


FOUND = [(*case, find(Rule("mine", feedback=case[0])).potential) for case in NUMERIC]


@pytest.mark.usefixtures("unchecked_for_speed")
@given(st.integers(0, 2**32 - 1), st.sampled_from(FOUND), st.sampled_from([1, 2]))
def test_the_gradient_of_the_potential_is_the_feedback(seed, case, layer):
    """½‖W_l‖² − Φ moves by ⟨W_l, V_l⟩ − ⟨B_{l+1}, V_{l+1}⟩ along any V (central differences, no sign changes)."""
    feedback, parameters, found = case
    rng = np.random.default_rng(seed)
    shapes = [(3, 2), (4, 3), (2, 4)]
    weights = [rng.choice([-1, 1], size=n) * rng.uniform(0.5, 1.5, size=n) for n in shapes]
    fixed = [rng.normal(size=n) for n in shapes[1:]]
    V, h = [rng.normal(size=n) for n in shapes], 1e-5
    ends = [
        found.evaluate([x + t * v for x, v in zip(weights, V, strict=True)], fixed, layer, parameters) for t in (h, -h)
    ]
    values = {W(i): x for i, x in enumerate(weights, 1)} | {B(i): x for i, x in enumerate(fixed, 2)}
    back = evaluate(feedback(layer + 1), values, parameters)
    exact = np.sum(weights[layer - 1] * V[layer - 1]) - np.sum(back * V[layer])
    scale = sum(np.sum(np.abs(x)) ** 2 for x in weights)
    assert abs((np.sum(ends[0]) - np.sum(ends[1])) / (2 * h) - exact) < 1e-8 * scale
    assert np.shape(ends[0]) == ((weights[layer - 1].shape[0],) if found.per == "neuron" else ())


def test_a_potential_per_neuron_is_conserved_per_neuron():
    """With B = W⊙W⊙W each neuron's ½‖W_l[k,:]‖² − ¼Σ W_{l+1}[:,k]⁴ has no slope along the flow."""
    rng = np.random.default_rng(0)
    W1, W2, E = rng.normal(size=(3, 2)), rng.normal(size=(2, 3)), rng.normal(size=(2, 2))
    U1, U2 = (W2**3).T @ E, E @ W1.T
    found, h = find(Rule("cubic", feedback=lambda l: hadamard(W(l), W(l), W(l)))).potential, 1e-5
    up, down = (found.evaluate((W1 + t * U1, W2 + t * U2)) for t in (h, -h))
    assert np.max(np.abs(up - down)) / (2 * h) < 1e-8


def test_latex_of_a_potential():
    assert r"\frac{W_{2}^{4}}{4}" in potential(hadamard(w2, w2, w2), w2).latex
    assert r"\operatorname{tr}" in potential(A @ w2, w2).latex


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: potential(W(1), W(2)), "shape of the weights"),
        (lambda: potential(sign(w2), sign(w2)), "one letter"),
        (lambda: potential(w2 @ w2.T @ w2 + sign(w2), w2), "for no other shape"),
        (lambda: potential(w2 / (1 + norm(w2)), w2), "sum of powers"),
        (lambda: potential(w2 / norm(w2) ** 2, w2), "sum of powers"),
        (lambda: potential(s * sign(w2), w2).evaluate((np.ones((1, 1)), np.ones((1, 1)))), "no value for s"),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_every_layer_of_a_family():
    found = find(Rule("mine", feedback=lambda l: hadamard(B(l), sign(W(l)))))
    assert found.potential.feedback == hadamard(B(LAYER + 1), sign(W(LAYER + 1)))
