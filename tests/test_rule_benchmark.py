"""The benchmark of rules: the published settings, cut short in proportion, and what six rules do on digits."""

from dataclasses import replace

import numpy as np
import pytest

from sims import classifier, rule_benchmark
from sims.recorded import on_record
from sims.rule_benchmark import DIGITS, RULES, cifar, lenet, under

pytest.importorskip("torch")

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")


def test_with_as_many_epochs_as_published_the_settings_are_the_published_ones():
    small, large = lenet("mnist", 100).optimiser, cifar("resnet20", 250).optimiser
    assert (small.drops, small.decay, small.momentum) == ((50, 75), 1e-3, 0.9)
    assert (large.drops, large.decay, large.momentum, large.rate) == ((100, 150, 200), 1e-4, 0.9, 0.1)
    assert [large.make().rate(e) for e in (0, 99, 100, 150, 249)] == pytest.approx([0.1, 0.1, 0.01, 1e-3, 1e-4])


def test_every_setting_meets_every_rule_once():
    for fast in (True, False):
        cells = rule_benchmark.cells(fast)
        assert len(set(cells)) == len(cells) == len(RULES) * len({(c.setting.data, c.setting.net) for c in cells})
    nets = {(c.setting.data, c.setting.net) for c in rule_benchmark.cells(False)}
    assert nets == {("mnist", "lenet-mnist"), ("fashion_mnist", "lenet-mnist"), *(("cifar10", n) for n in CIFAR)}


CIFAR = ("lenet-cifar", "resnet20", "resnet56")


def test_weights_and_feedback_start_xavier_uniform_and_every_other_layer_has_its_own():
    images = DIGITS.images()
    model = next(c.setting for c in under((DIGITS,)) if c.setting.rule == "fa").model(images)
    for name in ("conv2", "fc1", "fc2", "fc3"):
        layer = model.get_submodule(name)
        fans = np.prod(layer.weight.shape[2:], dtype=int) * sum(layer.weight.shape[:2])
        bound = np.sqrt(6 / fans)
        for tensor in (layer.weight.detach(), layer.feedback.B):
            # Of n entries none in the outer 50/n: once in e^50 times.
            assert bound * (1 - 50 / tensor.numel()) < float(tensor.abs().max()) <= bound * (1 + 1e-6)
        assert not layer.bias.any()
        assert layer.feedback.rule == "fa"


def test_signs_err_less_than_random_feedback_on_digits():
    """Each at its rate; two proportions of 360, refused below 5 standard errors."""
    found = {
        c.setting.rule: rule_benchmark.compute(c) for c in rule_benchmark.cells(True) if c.setting.rule in ("usf", "fa")
    }
    p, q = (float(found[rule]["test_accuracy"][-1]) for rule in ("usf", "fa"))
    assert p - q > 5 * np.sqrt((p * (1 - p) + q * (1 - q)) / 360)
    assert all(float(data["loss"][-1]) <= 2 * np.log(10) for data in found.values())


def test_the_rate_falls_in_training_and_direct_feedback_turns_no_signal():
    brief = {c.setting.rule: replace(c.setting, train=64) for c in under((DIGITS,))}
    usf, dfa = (classifier.compute(brief[rule]) for rule in ("usf", "dfa"))
    assert list(usf["learning_rate"].values) == pytest.approx([0.01, 0.01, 0.001, 0.0001])
    assert usf.sizes["sent_layer"] == 4
    assert "sent_angle" not in dfa


def test_in_the_record_backprop_errs_least_and_fixed_signs_less_than_random_feedback_everywhere():
    found = on_record(rule_benchmark.PART)
    places = {(r.cell.setting.data, r.cell.setting.net, r.cell.setting.seed) for r in found}
    assert len(found) == len(places) * len(RULES)
    for place in places:
        accuracy = {s.rule: float(r.data["test_accuracy"][-1]) for r in found
                    if (s := r.cell.setting, (s.data, s.net, s.seed))[1] == place}  # fmt: skip
        assert max(accuracy, key=accuracy.get) == "bp"
        assert min(accuracy["usf"], accuracy["frsf"]) > max(accuracy["fa"], accuracy["dfa"])
    assert all(float(r.data["loss"][-1]) <= 2 * np.log(10) for r in found)
