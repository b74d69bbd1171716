"""The laws in practical training: at rounding with their accounts, far off in every control."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from linfa.nn.train import Data
from sims import practical_law, rule_laws
from sims.practical_law import Images, noisy

SMALL = Images("digits", 200, 0.2)
PLAIN = practical_law.Cell(SMALL, (64, 16, 16, 10), "relu", "sgd", 0.05, 0.0, epochs=5, batch=20)

FAR = 20
"""How many times a control must exceed what rounding can do at most: one unit a step."""


@pytest.fixture(scope="module", autouse=True)
def on_one_thread_of_the_processor():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LINFA_DEVICE", "cpu")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def runs():
    cells = {
        "plain": PLAIN,
        "momentum": replace(PLAIN, momentum=0.9, rate=0.01),
        "tanh": replace(PLAIN, activation="tanh"),
        "adam": replace(PLAIN, optimiser="adam", rate=1e-3),
    }
    return {name: practical_law.compute(cell) for name, cell in cells.items()}


# Rounding a weight once is an error of eps/2 |W| in it: eps · ½W² in the incoming side, eps/2 |BW| in the outgoing one;
# over a step no more than eps · scale of the neuron.


@pytest.mark.parametrize("name", ["plain", "momentum"])
def test_with_the_ledger_every_neuron_is_at_rounding(runs, name):
    data = runs[name]
    assert bool((data["units_ledger"] <= 1 + data["step"]).all())


def test_plain_steps_cost_half_of_the_squared_step_and_nothing_else(runs):
    data = runs["plain"]
    # Two ways to the same sum: their difference is one of rounding, layer by layer over 16 neurons.
    eps, neurons, steps = np.finfo(np.float32).eps, 16, data["step"]
    gap = abs(data["account_ledger"] - data["account_defect"])
    assert bool((gap <= eps * steps * neurons * (1 + data["incoming"].max())).all())
    assert bool((data["units_defect"] <= 1 + steps).all())
    np.testing.assert_allclose(data["neuron_ledger"], data["neuron_defect"], atol=float(eps * steps[-1]))


def test_the_layer_is_the_sum_of_its_neurons(runs):
    for data in runs.values():
        for side in ("incoming", "outgoing"):
            np.testing.assert_allclose(data[f"neuron_{side}"].sum("neuron"), data[side].isel(step=-1), atol=1e-5)


@pytest.mark.parametrize(
    ("name", "account"),
    [("plain", "none"), ("momentum", "none"), ("momentum", "defect"), ("tanh", "defect"), ("adam", "defect")],
)
def test_the_controls_drift(runs, name, account):
    last = runs[name].isel(step=-1)
    assert float(last[f"units_{account}"].max()) > FAR * (1 + float(last["step"]))


def test_where_there_is_no_account_the_reason_is_kept(runs):
    assert runs["plain"].attrs["refused"] == runs["momentum"].attrs["refused"] == ""
    assert "tanh is not positively homogeneous" in runs["tanh"].attrs["refused"]
    assert "Adam divides by a running mean of squared gradients" in runs["adam"].attrs["refused"]
    assert not any("ledger" in str(name) for control in ("tanh", "adam") for name in runs[control])


def test_a_feedback_that_is_not_the_nets_own_does_not_balance(monkeypatch):
    true = practical_law.Sides.sides
    monkeypatch.setattr(
        practical_law.Sides,
        "sides",
        lambda self: [(a, b.flip(0)) for a, b in true(self)],  # another neuron's
    )
    last = practical_law.compute(replace(PLAIN, epochs=2)).isel(step=-1)
    assert float(last["units_ledger"].min()) > FAR * (1 + float(last["step"]))


def test_exactly_the_asked_fraction_of_labels_is_wrong_and_the_test_set_is_clean():
    clean, some = noisy(replace(SMALL, noise=0.0)), noisy(SMALL)
    assert torch.equal(clean.inputs, some.inputs)
    assert int((clean.targets != some.targets).sum()) == 40
    assert set(some.targets.tolist()) == set(range(10))
    whole = Data.load("digits")
    assert torch.equal(some.test_targets, whole.test_targets)
    assert len({tuple(x) for x in some.inputs.flatten(1).tolist()}) == len(
        {tuple(x) for x in clean.inputs.flatten(1).tolist()}
    )
    assert not torch.equal(noisy(replace(SMALL, seed=1)).targets, some.targets)


def test_presets_are_the_same_wherever_the_images_are_present(monkeypatch):
    for study in (practical_law.STUDY, rule_laws.STUDY):
        here = study.cells(False)
        monkeypatch.setenv("LINFA_DATA", "/nowhere")
        assert study.cells(False) == here
        assert len(set(here)) == len(here)
        assert {cell.images.samples for cell in here} == {4000}


# ---------------------------------------------------------------------------------------------------- rule by rule


def small(rule: str, net: str) -> rule_laws.Cell:
    return rule_laws.Cell(SMALL, rule, net, (64, 16, 16, 10), 0.05, epochs=2 if net == "resnet8" else 5, batch=20)


@pytest.mark.parametrize(("rule", "net"), rule_laws.RUNS)
def test_every_rule_keeps_its_law_and_breaks_that_of_backprop(rule, net):
    data = rule_laws.compute(small(rule, net))
    assert bool((data["ledger"] <= 1 + data["step"]).all())
    last = data.isel(step=-1)
    for control in ("none", "balance"):
        assert float(last[control]) > FAR * (1 + float(last["step"])), control


def test_the_control_holds_where_it_should_for_backprop():
    data = rule_laws.compute(small("bp", "mlp"))
    assert bool((data["ledger"] <= 1 + data["step"]).all())
    assert bool((data["balance"] <= 1 + data["step"]).all())
    assert float(data["none"][-1]) > FAR * (1 + float(data["step"][-1]))


@pytest.mark.parametrize("net", ["mlp", "batchnorm"])
def test_in_double_precision_the_residual_is_as_few_units_of_a_much_smaller_eps(net, monkeypatch):
    single = rule_laws.Cell.model
    monkeypatch.setattr(rule_laws.Cell, "model", lambda self: single(self).double())
    data = rule_laws.compute(small("fa", net))
    assert bool((data["ledger"] <= 1 + data["step"]).all())
    assert float(data["none"][-1]) > 2**29 * FAR  # what no account explains is as large as ever


def test_the_residual_stream_is_one_law_over_all_its_writers():
    attrs = rule_laws.compute(replace(small("fa", "resnet8"), epochs=1, batch=100)).attrs
    assert (attrs["laws"], attrs["channels"]) == (13, 416)
