"""How many laws there are: the Lie algebra, the driven net, and the laws found agree."""

import pytest
import sympy
from hypothesis import example, given, settings
from hypothesis import strategies as st

from linfa.errors import InputError
from linfa.symbolic import (
    FEEDBACK_ALIGNMENT,
    KOLEN_POLLACK,
    B,
    Rule,
    W,
    closure,
    hadamard,
    interpolated,
    letter,
    orbit_rank,
    sign,
    width,
)

TABLE = [
    ((2, 3, 2), 7, 7, 6),
    ((3, 3, 2), 8, 8, 6),
    ((2, 4, 2), 11, 11, 10),
    ((3, 4, 3), 12, 12, 10),
    ((4, 5, 2), 21, 21, 15),
    ((3, 2, 3), 3, 3, 3),
    ((1, 3, 1), 5, 5, 5),
    ((2, 2, 2, 2), 6, 6, 6),
    ((2, 3, 3, 2), 15, 15, 12),
    ((3, 2, 2, 3), 6, 4, 6),
    ((2, 3, 1, 2), 8, 5, 7),
    ((3, 4, 2, 3), 16, 11, 13),
]
sizes = st.lists(st.integers(1, 5), min_size=3, max_size=5).map(tuple)
unchecked = pytest.mark.usefixtures("unchecked_for_speed")


@pytest.mark.parametrize(("widths", "fa", "dfa", "bp"), TABLE, ids=str)
def test_the_table_of_the_theory(widths, fa, dfa, bp):
    for rule, number in (("fa", fa), ("dfa", dfa), ("bp", bp), ("rho-fa", fa)):
        result = closure(widths, rule)
        assert (result.laws, result.status, result.complete) == (number, "certified", True)
        assert result.laws + result.lie == result.parameters


@pytest.mark.parametrize(("widths", "fa", "dfa", "bp"), TABLE, ids=str)
def test_driving_the_net_gives_the_same_table(widths, fa, dfa, bp):
    for rule, number in (("fa", fa), ("dfa", dfa), ("bp", bp)):
        result = orbit_rank(widths, rule)
        assert result.laws == number
        assert result.gap > 1e6


@pytest.mark.parametrize("rule", ["fa", "dfa", "bp"])
def test_exact_ranks_agree_with_ranks_modulo_a_prime(rule):
    for widths in ((2, 3, 2), (1, 2, 2, 2), (2, 3, 1, 2)):
        assert closure(widths, rule, exact=True) == closure(widths, rule)


@unchecked
@given(sizes, st.sampled_from(["fa", "dfa"]), st.integers(0, 1000))
def test_for_fixed_feedback_the_known_laws_are_all(widths, rule, seed):
    result = closure(widths, rule, seed=seed)
    assert result.complete
    assert result.status == "certified"
    assert result.lie == orbit_rank(widths, rule, seed=seed).rank


@unchecked
@settings(max_examples=max(1, settings.default.max_examples // 4))
@example((5, 5, 5, 5, 1), 0)
@example((4, 4, 3, 5, 1), 0)
@example((3, 4, 5, 5, 1), 0)
@example((2, 5, 5, 1, 1), 0)
@given(sizes, st.integers(0, 1000))
def test_for_gradient_flow_the_two_methods_agree(widths, seed):
    """The examples run away in finite time unless the flows are short."""
    assert closure(widths, "bp").lie == orbit_rank(widths, "bp", seed=seed).rank


@unchecked
@given(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)))
def test_two_layers_of_gradient_flow_have_the_published_count(widths):
    n0, r, p = widths
    if r <= n0 + p:
        assert closure(widths, "bp").laws == r * (r + 1) // 2


@unchecked
@given(sizes, st.integers(0, 100))
def test_without_narrow_layers_the_hidden_widths_do_not_matter(widths, seed):
    n0, *hidden, p = widths
    wide = (n0, *(max(n, p) for n in hidden), p)
    assert closure(wide, seed=seed).lie == p * n0 + len(hidden) * p * (p - 1) // 2


@unchecked
@given(sizes, st.sampled_from(["fa", "dfa", "readout", "kp"]))
def test_counts_do_not_depend_on_the_draw(widths, rule):
    assert closure(widths, rule, seed=1).laws == closure(widths, rule, seed=2).laws


def test_between_layers_of_width_one_gradient_flow_has_more_laws_than_balancedness():
    """Width 1 at both ends and depth three between: the net moves along one curve, balancedness does not tell where."""
    result = closure((1, 2, 2, 1), "bp")
    assert (result.laws, result.found, result.complete) == (7, 6, False)
    assert result.status == "stabilised"
    assert orbit_rank((1, 2, 2, 1), "bp").laws == 7


@unchecked
@given(st.lists(st.integers(1, 4), min_size=3, max_size=6).map(tuple))
def test_balancedness_is_all_unless_two_layers_of_width_one_enclose_two_wider_ones(widths):
    ones = [l for l, n in enumerate(widths) if n == 1]
    enclosed = any(b - a >= 3 for a, b in zip(ones, ones[1:], strict=False))
    assert closure(widths, "bp").complete == (not enclosed)


def test_the_algebra_of_the_smallest_input_grows_like_a_free_one():
    assert closure((1, 2, 2, 2, 2, 2, 2, 2)).growth == (2, 3, 5, 8)


def test_kolen_pollack_counts_its_feedback():
    result = closure((2, 3, 2), "kp")
    assert (result.parameters, result.laws, result.complete) == (18, 12, True)


OWN = [
    (FEEDBACK_ALIGNMENT, (3, 4, 2, 3), 16, True),
    (interpolated(sympy.Symbol("α")), (2, 3, 2), 6, True),
    (Rule("cubic", feedback=lambda l: hadamard(W(l), W(l), W(l))), (2, 3, 2), 3, True),
    (Rule("cubic word", feedback=lambda l: W(l) @ W(l).T @ W(l)), (2, 3, 3, 2), 2, True),
    (Rule("third", feedback=lambda l: B(l) / 3), (2, 3, 3, 2), 15, True),
    (Rule("skewed", feedback=lambda l: letter("A", width(l), width(l), index=l) @ W(l)), (2, 3, 2), 0, True),
    (
        Rule("right", feedback=lambda l: W(l) @ letter("A", width(l - 1), width(l - 1), index=l, symmetric=True)),
        (2, 3, 2),
        3,
        False,
    ),
]


@pytest.mark.parametrize(("rule", "widths", "laws", "complete"), OWN, ids=lambda x: getattr(x, "name", str(x)))
def test_a_rule_of_ones_own_is_told_whether_its_laws_are_all(rule, widths, laws, complete):
    result = closure(widths, rule)
    assert (result.laws, result.complete) == (laws, complete)


def test_longer_laws_complete_the_tower():
    rule = OWN[-1][0]
    assert [closure((2, 2, 2), rule, longest=k).found for k in (3, 5)] == [1, 2]
    assert closure((2, 2, 2), rule, longest=5).complete


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: closure((2, 3)), "at least three"),
        (lambda: closure((2, 0, 2)), "whole number ≥ 1; n_1 is 0"),
        (lambda: closure((2, 2.5, 2)), "whole number ≥ 1; n_1 is 2.5"),
        (lambda: closure((2, True, 2)), "whole number ≥ 1; n_1 is True"),
        (lambda: closure((2, "a", 2)), "whole number ≥ 1; n_1 is 'a'"),
        (lambda: closure((2, 3, 2), "hebb"), "unknown rule 'hebb'.*bp, fa, dfa, rho-fa, readout, kp"),
        (lambda: closure((2, 3, 2), "usf"), "no polynomial of the weights"),
        (lambda: closure((20, 30, 10)), "at most 400 parameters.*900 parameters: close smaller widths"),
        (lambda: closure((1, 101, 1)), "widths up to 100"),
        (lambda: closure((2, 3, 2), KOLEN_POLLACK), "'kp' only"),
        (lambda: closure((2, 3, 2), Rule("uSF", feedback=lambda l: sign(W(l)))), "polynomial in the weights"),
        (
            lambda: closure((2, 3, 2), Rule("irrational", feedback=lambda l: sympy.sqrt(2) * B(l))),
            "rational coefficients",
        ),
        (lambda: orbit_rank((2, 3, 2), "kp"), "orbit_rank does not count 'kp': linfa.symbolic.closure does"),
        (lambda: orbit_rank((2, 3, 2), "usf"), "no polynomial of the weights"),
        (lambda: orbit_rank((2, 3, 2), "hebb"), "unknown rule 'hebb'"),
        (lambda: orbit_rank((20, 30, 10), "bp"), "at most 400 parameters.*900"),
        (lambda: orbit_rank((2, 3, 2), smallest_gap=1e20), "separate by"),
    ],
)
@pytest.mark.usefixtures("as_users_run_it")
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()
