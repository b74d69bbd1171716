"""Wrong labels: drawn as said, counted as said, memorised in the end; norms that the law accounts for to rounding."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

torch = pytest.importorskip("torch")
pytest.importorskip("matplotlib")

from figures.benign import ends
from linfa.nn import fed_layers
from linfa.nn.train import Data
from sims.benign import RULES, STUDY, Cell, cells, compute, fractions
from sims.practical_law import Images
from sims.recorded import on_record
from sims.starts import margin
from sims.study import Result

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

SMALL = Cell(Images("digits", 60, 0.2), "bp", (48, 48), 60, 0.02, batch=10, every=3)
FAR = 20
"""How many times a control must exceed what rounding can do at most: one unit a step."""


@pytest.fixture(scope="module")
def runs():
    brief = replace(SMALL, epochs=6)
    return {rule: compute(replace(brief, rule=rule)) for rule in RULES}


def test_a_fifth_of_the_labels_is_wrong_and_every_rule_learns_the_same():
    given, true = SMALL.data()
    assert int((given.targets != true).sum()) == 12
    for rule in RULES:
        other, _ = replace(SMALL, rule=rule).data()
        assert torch.equal(other.targets, given.targets)
        assert torch.equal(other.inputs, given.inputs)
    control, classes = replace(SMALL, images=Images("digits", 60, 0.0)).data()
    assert torch.equal(control.inputs, given.inputs)
    assert torch.equal(control.targets, classes)
    assert torch.equal(classes, true)
    whole = Data.load("digits")
    assert torch.equal(given.test_targets, whole.test_targets[::3])
    assert not torch.equal(replace(SMALL, seed=1).data()[0].inputs, given.inputs)


def test_starts_are_one_but_for_the_dominated_one():
    data, _ = SMALL.data()
    nets = {rule: replace(SMALL, rule=rule).model(data) for rule in RULES}
    weights = {rule: [layer.weight.detach() for layer in fed_layers(net).values()] for rule, net in nets.items()}
    for rule in RULES:
        assert all(map(torch.equal, weights[rule], weights["bp"])) is (rule != "fa-dominated")
    example = data.test_inputs[:2].float()
    assert margin(nets["fa-dominated"], example) > 0 > margin(nets["fa"], example)


def test_a_label_is_memorised_corrected_or_neither():
    true = torch.arange(10)
    given = torch.where(true < 4, true + 1, true)
    for said, expected in ((true, (0.4, 0.0, 1.0)), (given, (0.0, 1.0, 0.0)), (true + 20, (1.0, 0.0, 0.0))):
        assert tuple(float(v) for v in fractions(said, given, true).values()) == pytest.approx(expected)
    assert list(fractions(true, true, true)) == ["train_error"]


def test_backprop_memorises_every_wrong_label_and_pays_on_clean_images():
    noisy, clean = (compute(replace(SMALL, images=Images("digits", 60, noise), every=1)) for noise in (0.2, 0.0))
    assert float(noisy["train_error"][-1]) == float(clean["train_error"][-1]) == 0
    assert (float(noisy["memorised"][-1]), float(noisy["corrected"][-1])) == (1, 0)
    assert float(noisy["corrected"].max()) > float(noisy["memorised"][0])
    assert "memorised" not in clean
    # Two proportions of 360 test images, refused below 3 standard errors.
    p, q = float(noisy["test_error"][-1]), float(clean["test_error"][-1])
    assert p - q > 3 * np.sqrt((p * (1 - p) + q * (1 - q)) / 360)


@pytest.mark.parametrize("rule", RULES)
def test_fractions_and_both_sides_of_the_law_agree(runs, rule):
    data, steps = runs[rule], 6 * runs[rule]["epoch"]
    assert bool((data["memorised"] + data["corrected"] <= 1 + 1e-12).all())
    assert bool((data["train_error"] >= 0.2 * (1 - data["memorised"]) - 1e-12).all())
    assert bool((data["units"].max("hidden") <= 1 + steps).all())
    gained = (data["norm"] - data["start"]).sel(layer=data["hidden"].values).values
    # Over neurons the scales add up to ½‖W‖² + ‖B‖‖W'‖ at most, twice in the ledger; B is as long as W is at the start.
    scale = 2 * 3 * float(data["norm"].max())
    most = np.finfo(np.float32).eps * (1 + steps.values)[:, None] * scale
    assert np.all(np.abs(gained - data["outgoing"] - data["account"]) <= most)
    if rule != "bp":  # whose account is small: its two sides cost alike
        assert np.all(np.abs(gained - data["outgoing"])[-1] > FAR * most[-1])


def test_feedback_stands_at_an_angle_to_weights_where_there_is_one(runs):
    assert float(runs["bp"]["weight_angle"].max()) == 0
    angles = {rule: float(runs[rule]["weight_angle"][-1, -1]) for rule in ("fa", "fa-dominated")}
    assert angles["fa-dominated"] < angles["fa"] < np.pi / 2
    assert "weight_angle" not in runs["dfa"]


def test_presets_hold_every_rule_on_wrong_labels_and_a_control():
    for fast in (True, False):
        found = cells(fast)
        assert len(set(found)) == len(found)
        assert {c.rule for c in found if c.images.noise == 0.2} == set(RULES)
        assert {c.rule for c in found if not c.images.noise} == {"bp", "fa"}
        assert len({replace(c, rule="", seed=0, images=replace(c.images, noise=0.0)) for c in found}) == 1
    assert (found[0].images.samples, found[0].hidden, len({c.seed for c in found})) == (4000, (512, 512), 3)


def test_the_least_and_the_last_error_are_means_over_seeds():
    def result(errors):
        read = {"test_error": errors, "train_error": [0.5, 0.1, 0.0], "memorised": [0.0, 0.5, 1.0]}
        return Result(SMALL, xr.Dataset({name: ("epoch", values) for name, values in read.items()}))

    end = ends([result([0.5, 0.1, 0.2]), result([0.5, 0.3, 0.4])])
    assert end == pytest.approx((0, 100, 20, 2, 30, np.sqrt(200)))
    assert ends([result([0.1, 0.2, 0.3])]).spread == 0


def test_in_the_record_wrong_labels_are_corrected_then_memorised_and_clean_images_pay():
    found = on_record(STUDY)
    control = {r.cell.rule: float(r.data["test_error"][-1]) for r in found if not r.cell.images.noise}
    for result in found:
        data, rule = result.data, result.cell.rule
        assert bool((data["units"].max("hidden") <= 1 + 63 * data["epoch"]).all())
        if result.cell.images.noise:
            memorised, corrected = data["memorised"].values, data["corrected"].values
            assert corrected.max() > 0.5 > memorised[corrected.argmax()]
            assert memorised[-1] > 0.9 > 0.1 > corrected[-1]
            # The least of sixty epochs is low by chance, too: three standard errors of a difference on 2,500 images.
            least, last = float(data["test_error"].min()), float(data["test_error"][-1])
            assert last - least > 3 * np.sqrt((least * (1 - least) + last * (1 - last)) / 2500)
            if rule in control:
                assert last > control[rule]
