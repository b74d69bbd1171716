"""The benchmarks at sizes that say nothing about speed: every row is made, and unfair comparisons are refused."""

import numpy as np
import pytest

import linfa
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import by_hand, ensemble, width_cost, width_descent, width_flow
from tests.benchmarks.timing import compare


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    for module in (width_flow, width_cost, ensemble):
        monkeypatch.setattr(module, "T", 0.5)
    monkeypatch.setattr(width_cost, "STEPS", 2)
    monkeypatch.setattr(ensemble, "WIDTHS", (20, 6, 6, 5))


def test_contenders_take_turns_and_the_first_turn_does_not_count():
    turns, clock = [], iter(range(100))
    contenders = {name: lambda name=name: turns.append(name) or len(turns) for name in "ab"}
    row = compare("", contenders, rounds=2, judge=float, clock=lambda: float(next(clock)))
    assert turns == list("ababab")
    assert (row.seconds, row.errors) == ({"a": 1.0, "b": 1.0}, {"a": 5.0, "b": 6.0})
    assert compare("", contenders, rounds=1, warm=False).seconds.keys() == {"a", "b"}
    assert turns == list("abababab")


def test_a_row_says_how_much_faster_each_is_than_the_first():
    shown = str(
        compare("n = 1", {"slow": lambda: None, "fast": lambda: None}, 1, clock=iter([0, 0, 0, 0, 0, 4, 4, 5]).__next__)
    )
    assert "1/4.0" in shown


def test_flows_by_hand_agree_with_the_width_free_run():
    row = width_flow.row(12, 1e-7, {}, 1)
    assert list(row.seconds) == list(row.errors) == ["SciPy RK23", "width-free RK23", "width-free LSODA"]
    assert max(row.errors.values()) < width_flow.BOUND


def test_a_contender_that_is_not_accurate_is_refused():
    with pytest.raises(AssertionError, match="not fair"):
        width_flow.row(12, 1e-1, {}, 1)


def test_costs_are_measured_at_every_width():
    given, implicit, steps, flow = width_cost.rows(matrices=(10,), factors=(10,), draws=(10, 10**9), rounds=1)
    assert len(given.seconds) == len(implicit.seconds) == 3
    assert list(steps.seconds) == list(flow.seconds) == ["n = 10", "n = 1,000,000,000"]


def test_the_loop_by_hand_makes_the_same_steps():
    steps, grams = width_descent.row("digits", 6, steps=20, rounds=1)  # into a second epoch
    assert list(steps.errors) == ["torch, float64", "torch, float32", "linfa.Full", "linfa.WidthFree"]
    assert 1e-9 < steps.errors["torch, float32"] < 1e-4
    assert list(grams.seconds) == ["Gram matrices"]


def test_steps_that_differ_are_refused():
    start, made = (np.zeros((2, 2)),), (np.ones((2, 2)),)
    with pytest.raises(AssertionError, match="same steps"):
        width_descent.errors({"torch, float64": made, "linfa.Full": (made[0] + 1e-6,)}, start)


def test_an_absent_set_is_left_out_with_the_reason(monkeypatch, capsys):
    monkeypatch.setattr(linfa.data, "present", lambda name: False)
    assert list(width_descent.rows(sets=("mnist",))) == []
    assert "mnist is left out" in capsys.readouterr().out


def test_an_ensemble_is_compared_per_trajectory():
    row = ensemble.row(3, alone=2, vmapped=0, rounds=1)
    assert list(row.seconds) == ["SciPy, 2 one by one", "linfa", "linfa, drawn in law"]
    assert list(row.errors) == ["SciPy, 2 one by one", "linfa"]
    assert max(row.errors.values()) < ensemble.BOUND


def test_an_absent_peer_is_named(capsys):
    assert by_hand.missing("a_peer_that_nobody_wrote")
    assert not by_hand.missing("scipy")
    assert "a_peer_that_nobody_wrote is not installed" in capsys.readouterr().out


def test_long_benchmarks_run_by_name_only(monkeypatch, capsys):
    known, ran = benchmarks.known(), []
    long = {name for name, bench in known.items() if bench.long}
    assert long >= {"ensemble_1000", "width_descent_4096", "width_flow_2000"}
    assert not {"timing", "by_hand", "__main__"} & set(known)
    monkeypatch.setattr(benchmarks, "rows_of", lambda name: iter([ran.append(name)]))
    assert benchmarks.main([]) == 0
    assert set(ran) == set(known) - long
    assert benchmarks.main(["--list"]) == 0
    assert len(ran) == len(known) - len(long)
    assert benchmarks.main(["width_flow_2000"]) == 0
    assert ran[-1] == "width_flow_2000"
    assert "by name only" in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused_with_the_names(capsys):
    assert benchmarks.main(["no_such"]) == 2
    assert "width_flow" in capsys.readouterr().err
