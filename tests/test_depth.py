"""The study of depth: nets as deep as they say, angles that multiply, and what signs keep of the error."""

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr

from sims import depth
from sims.depth import DEPTHS, DIGITS, RULES, Deep
from sims.recorded import on_record
from sims.rule_benchmark import cifar
from sims.study import Result

torch = pytest.importorskip("torch")
from torch import nn

from figures.depth import SIGNS, _turned_anew
from linfa.nn import convert, fed_layers
from linfa.nn.monitors import Monitors, SignalAngle, WeightAngle
from linfa.nn.train import Data

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

NOTHING = Data(*[torch.zeros(4, 3, 32, 32), torch.zeros(4).long()] * 2)
"""Black images of the shape of CIFAR-10."""


def test_every_net_is_as_deep_as_it_says_and_both_families_are_equally_wide():
    """Every layer has the feedback of the rule, but the first, which sends nothing."""
    for cell in {(c.setting.net, c.depth): c for c in (*depth.cells(False), *depth.part(False))}.values():
        layers = list(fed_layers(cell.setting.model(NOTHING, **cell.options())).values())
        assert len(layers) == cell.depth
        assert {layer.out_channels for layer in layers[:-1]} == {16, 32, 64}
        assert [layer.feedback.rule for layer in layers] == ["bp", *[cell.setting.rule] * (cell.depth - 1)]


@pytest.mark.parametrize("cells", [depth.cells(True), depth.cells(False), depth.part(False)])
def test_every_net_meets_every_rule_once_from_every_start(cells):
    met = {(c.setting.net, c.depth, c.setting.rule, c.setting.seed) for c in cells}
    nets, seeds = {key[:2] for key in met}, {key[3] for key in met}
    assert len(met) == len(cells) == len(nets) * len(RULES) * len(seeds)
    assert {net for net, _ in nets} == set(DEPTHS)


def test_the_settings_are_those_of_the_benchmark_but_for_images_and_epochs():
    for cell in depth.cells(False):
        assert replace(cell.setting, rule="", net="", seed=0) == cifar("", 15)
    for cell in depth.part(False):
        assert cell.setting.optimiser == cifar("", cell.setting.epochs).optimiser
        assert (cell.setting.xavier, cell.setting.flip, cell.setting.batch) == (True, True, 128)


def turned(theta, loss):
    """Return both angles in a linear net of 5 layers of 400, each B off its W by theta in a random direction."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 64, 400, dtype=torch.double)
    net = convert(nn.Sequential(*(nn.Linear(400, 400, bias=False, dtype=torch.double) for _ in range(5))), "fa")
    for layer in net:
        W = layer.weight.data.normal_(std=400**-0.5)
        layer.feedback.B.copy_(np.cos(theta) * W + np.sin(theta) * 400**-0.5 * torch.randn_like(W))
    read = Monitors(net, [SignalAngle(), WeightAngle()], x, lambda f: loss(f, y)).read()
    angles = {k: (k.replace("angle", "layer"), list(v.values())) for k, v in read.items()}
    return xr.Dataset(angles, {k.replace("angle", "layer"): list(v) for k, v in read.items()})


def test_turns_that_know_nothing_of_the_error_multiply_their_cosines():
    """The mean of 64 cosines, each with a standard deviation of at most √(l/n) after l layers, and once in 2·10⁶.

    An error that has come through the weights is no such error: it lies where they are large, and is turned by less.
    """
    theta, layers = np.radians(40), np.arange(5)
    cell = Deep(replace(cifar("vgg", 1), rule="bp"), 5)
    for loss, anew in ((lambda f, y: (f * y).sum(), True), (lambda f, y: (f - y).square().sum(), False)):
        data = turned(theta, loss)
        expected = np.cos(np.radians(_turned_anew([Result(cell, data)], "vgg", "bp")))
        assert expected == pytest.approx(np.cos(theta) ** layers, rel=0.01)
        more = np.cos(data["signal_angle"].sel(signal_layer=["4", "3", "2", "1", "0"]).values) - expected
        bound = 5 * np.sqrt(layers / 400 / 64)
        assert np.all(np.abs(more) < bound + 1e-12) if anew else np.all(more[1:] > bound[1:])


def test_signs_keep_of_the_error_what_random_feedback_loses_in_a_plain_net():
    """On digits; two proportions of 360, refused below 5 standard errors."""
    found = {}
    for rule in ("usf-sn", "fa", "bp"):
        setting = replace(DIGITS, net="vgg", rule=rule, test=None)
        found[rule] = depth.compute(Deep(setting, 7, (8, 16, 32)))
    p, q = (float(found[rule]["test_accuracy"][-1]) for rule in ("usf-sn", "fa"))
    assert p - q > 5 * np.sqrt((p * (1 - p) + q * (1 - q)) / 360)
    below = list(found["bp"]["weight_layer"].values[-2::-1])
    off = {rule: np.degrees(data["signal_angle"].sel(signal_layer=below)).values for rule, data in found.items()}
    assert off["bp"].max() < 0.1
    assert off["usf-sn"].max() < 80 < off["fa"][1:].min()
    assert found["fa"].attrs["steps"] == 4 * 7


def test_in_the_record_signs_learn_more_than_random_feedback_at_every_depth_and_keep_some_of_the_error_to_the_bottom():
    results = on_record(depth.PART)
    final = {(r.cell.setting.net, r.cell.depth, r.cell.setting.rule): r.data for r in results}
    for net, depths in DEPTHS.items():
        kept = []
        for layers in depths:
            accuracy = {rule: float(final[net, layers, rule]["test_accuracy"][-1]) for rule in RULES}
            # Proportions of 2,000: apart by more than 3 standard errors of a difference, √(½ · ½ · 2/2000) each.
            assert min(accuracy[r] for r in ("bp", *SIGNS)) > accuracy["fa"] + 3 * np.sqrt(0.5 / 2000)
            assert min(accuracy[r] for r in ("bp", "usf", "usf-sn")) > accuracy["dfa"] + 3 * np.sqrt(0.5 / 2000)
            kept.append((accuracy["fa"] - 0.1) / (accuracy["bp"] - 0.1))
        assert kept[-1] < kept[0]
        bottom = {r: np.degrees(final[net, depths[-1], r]["signal_angle"].sel(signal_layer=FIRST[net])) for r in RULES}
        assert max(bottom[r] for r in SIGNS) < 80
        assert min(bottom[r] for r in ("fa", "dfa")) > 85


FIRST = {"vgg": "conv1", "resnet": "conv"}
"""The layer that is furthest from the loss."""
