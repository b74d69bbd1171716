"""Words print as one would write them."""

import pytest
import sympy

from linfa.symbolic import LAYER, B, Sigma, W, X, hadamard, identity, inner, latex, norm, sign, sym, text, width, zero

l = LAYER
a, eta = sympy.symbols("a η")

PRINTED = [
    (W(l) @ W(l).T - sym(B(l + 1).T @ W(l + 1)), "W_l W_lᵀ - B_{l+1}ᵀ W_{l+1} - W_{l+1}ᵀ B_{l+1}"),
    (W(12) / 2, "1/2 W_{12}"),
    ((1 - a) * W(1), "(1 - a) W_1"),
    (-W(1), "-W_1"),
    (zero(width(1), width(0)), "0"),
    (identity(width(1)) + W(1) @ W(1).T, "I + W_1 W_1ᵀ"),
    (X(1) @ Sigma(), "X_1 Σ"),
    (inner(B(2), W(2)), "tr(B_2 W_2ᵀ)"),
    (norm(W(2)) * sign(W(2)), "‖W_2‖ sign(W_2)"),
    (hadamard(B(2), sign(W(2))), "(B_2 ⊙ sign(W_2))"),
]
SET = [
    (W(l) @ W(l).T - sym(B(l + 1).T @ W(l + 1)), r"W_{l} W_{l}^\top - B_{l+1}^\top W_{l+1} - W_{l+1}^\top B_{l+1}"),
    (W(1) / 2, r"\frac{1}{2} W_{1}"),
    ((1 - a) * W(1), r"(1 - a) W_{1}"),
    (W(1) * eta, r"η W_{1}"),
    (inner(B(2), W(2)), r"\operatorname{tr}(B_{2} W_{2}^\top)"),
    (Sigma(), r"\Sigma"),
    (norm(W(2)) * sign(W(2)), r"\|W_2\|_F \operatorname{sign}(W_{2})"),
    (hadamard(B(2), W(2)), r"(B_{2} \odot W_{2})"),
]


@pytest.mark.parametrize(("expression", "expected"), PRINTED, ids=lambda x: str(x))
def test_plain_text(expression, expected):
    assert text(expression) == str(expression) == expected


@pytest.mark.parametrize(("expression", "expected"), SET, ids=lambda x: str(x))
def test_latex(expression, expected):
    assert latex(expression) == expected
