"""The number of laws: formulas agree with closures, and every count says where it comes from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linfa.errors import InputError
from linfa.laws.count import RULES, Count, count
from linfa.symbolic import closure
from tests.symbolic.test_closure import TABLE

sizes = st.lists(st.integers(1, 5), min_size=3, max_size=5).map(tuple)


@pytest.mark.parametrize(("widths", "fa", "dfa", "bp"), TABLE, ids=str)
def test_the_table_of_the_theory(widths, fa, dfa, bp):
    assert [count(widths, rule) for rule in ("fa", "rho-fa", "dfa", "bp")] == [fa, fa, dfa, bp]


@pytest.mark.usefixtures("unchecked_for_speed")
@given(sizes, st.sampled_from(RULES))
def test_formula_and_closure_agree(widths, rule):
    assert count(widths, rule) == closure(widths, rule).laws


@pytest.mark.parametrize(
    ("widths", "rule", "method"),
    [
        ((784, 1000, 1000, 10), "fa", "formula"),
        ((784, 1000, 1000, 10), "dfa", "formula"),
        ((784, 1000, 10), "bp", "formula"),
        ((784, 5, 10), "fa", "formula"),
        ((784, 1000, 1000, 10), "readout", "formula"),
        ((10, 20, 5), "kp", "formula"),
        ((3, 4, 2, 3), "fa", "closure"),
        ((2, 3, 3, 2), "bp", "closure"),
    ],
)
def test_the_method_is_told(widths, rule, method):
    result = count(widths, rule)
    assert isinstance(result, Count)
    assert result.method == method
    assert result.statement


def test_a_count_is_a_number():
    assert count((2, 3, 2)) + 1 == 8
    assert sum([count((2, 3, 2)), count((2, 3, 2), "bp")]) == 13
    assert f"{count((2, 3, 2))}" == "7"


def test_a_narrow_input_needs_a_certificate():
    assert "certificate of the net (1, 2, 2, 2)" in count((1, 50, 50, 20)).statement
    assert "certificate" not in count((2, 50, 50, 20)).statement


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: count((2, 3, 2), "hebb"), "unknown rule"),
        (lambda: count((3, 2)), "at least three"),
        (lambda: count((100, 50, 5, 10)), "orbit_rank"),
        (lambda: count((100, 100, 100, 10), "bp"), "at most 400 parameters"),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()
