"""The number of laws: formulas agree with closures, and every count says where it comes from."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linfa.errors import InputError
from linfa.laws.count import Count, count
from linfa.rules import REGISTRY
from linfa.symbolic import closure
from linfa.symbolic.named import RULES
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


@pytest.mark.parametrize(
    "twin", [copy.copy, copy.deepcopy, *(lambda c, k=k: pickle.loads(pickle.dumps(c, k)) for k in (2, 3, 4, 5))]
)
def test_a_count_survives_copies_and_pickles(twin):
    result = count((2, 3, 2))
    same = twin(result)
    assert isinstance(same, Count)
    assert (same, same.method, same.statement) == (result, result.method, result.statement)


def test_every_rule_of_the_library_is_counted_or_refused_with_a_reason():
    assert set(RULES) <= set(REGISTRY)
    for rule in REGISTRY:
        if rule in RULES:
            assert count((2, 3, 2), rule) >= 0
        else:
            with pytest.raises(InputError, match=f"count does not count '{rule}': .{{40}}"):
                count((2, 3, 2), rule)


def test_a_narrow_input_needs_a_certificate():
    assert "certificate of the net (1, 2, 2, 2)" in count((1, 50, 50, 20)).statement
    assert "certificate" not in count((2, 50, 50, 20)).statement


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: count((2, 3, 2), "hebb"), "unknown rule 'hebb'; .* bp, fa, dfa, rho-fa, readout, kp"),
        (lambda: count((2, 3, 2), "usf"), "no polynomial of the weights.*find decides"),
        (lambda: count((2, 3, 2), "interpolated"), "closure"),
        (lambda: count((3, 2)), "at least three"),
        (lambda: count((3, True, 2)), "whole number"),
        (lambda: count((100, 50, 5, 10)), "no formula is proved for 'fa'.*at most 400 parameters.*smaller widths"),
        (lambda: count((100, 100, 100, 10), "bp"), "no formula is proved for 'bp'.*at most 400 parameters"),
    ],
)
def test_mistakes_are_explained(make, message):
    with pytest.raises(InputError, match=message):
        make()
