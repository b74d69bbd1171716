"""The study of convolutional nets: what is measured on signals, where angles start, and what five rules learn."""

from dataclasses import replace

import numpy as np
import pytest

import linfa
from linfa.trajectory import content_digest
from sims import convnets
from sims.convnets import DIGITS, PAPER, WAYS, under

torch = pytest.importorskip("torch")
from linfa.nn.train import Data
from sims.classifier import Optimiser, rule_of
from sims.recorded import on_record

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

NOTHING = Data(*[torch.zeros(4, 3, 32, 32), torch.zeros(4).long()] * 2)
"""Black images of the shape of CIFAR-10."""


def way(rule):
    return next(w for w in WAYS if w.rule == rule)


def influence(w, m):
    """The relative standard error of cos∠(w, m ⊙ sign w) for independent entries, by the delta method."""
    a, b, c = np.abs(w) * m, w**2, m**2
    return np.std(a / a.mean() - b / (2 * b.mean()) - c / (2 * c.mean())) / np.sqrt(len(w))


@pytest.mark.parametrize(("rule", "start"), [("usf-sn", 30.00), ("usf-init", 46.29)])
def test_angles_start_where_theory_has_them(rule, start):
    """Layer by layer within 5 standard errors (once in two million times), all weights together to 0.1 degrees."""
    model, angles, sizes = under(PAPER, way(rule)).model(NOTHING), [], []
    for layer in ("conv2", "fc1", "fc2", "fc3"):
        module = model.get_submodule(layer)
        W, B = (t.detach().double().flatten().numpy() for t in (module.weight, module.feedback.matrix(module.weight)))
        cosine = W @ B / np.linalg.norm(W) / np.linalg.norm(B)
        error = influence(W, np.abs(B)) * cosine / np.sqrt(1 - cosine**2)
        angle = np.arccos(cosine)
        assert abs(angle - np.radians(start)) < 5 * error
        assert abs(angle - np.radians(90)) > 5 * error
        angles.append(angle)
        sizes.append(len(W))
    assert np.degrees(np.average(angles, weights=sizes)) == pytest.approx(start, abs=0.1)


def test_the_net_is_the_papers_and_dense_feedback_joins_flattened_maps():
    model = under(PAPER, way("fa-dense")).model(NOTHING)
    assert model.conv2.feedback.B.shape == (64 * 6 * 6, 64 * 10 * 10)
    assert float(model.conv2.feedback.B.std()) == pytest.approx(0.01, rel=1e-2)
    assert model.conv1.feedback.rule == "bp"
    assert under(PAPER, way("fa")).model(NOTHING).conv2.feedback.B.shape == (64, 64, 5, 5)
    assert sum(p.numel() for p in model.parameters()) == 404_746


def test_the_full_preset_is_the_papers():
    cells = convnets.cells(False)
    assert {(c.rule, c.std, c.optimiser.decay) for c in cells} == set(WAYS)
    assert {(c.data, c.net, c.epochs, c.batch, c.crop, c.flip, c.train) for c in cells} == {
        ("cifar10", "moskovitz", 50, 128, 24, True, None)
    }
    assert {c.optimiser.rate for c in cells} == {1e-3}
    assert len({c.seed for c in cells}) > 1


def test_signs_learn_what_feedback_alignment_does_not_and_the_same_bits_again():
    """On digits after five epochs; two proportions of 360, refused below 5 standard errors."""
    brief = replace(DIGITS, train=800)
    signs, fixed = (convnets.compute(under(brief, way(rule))) for rule in ("usf-sn", "fa"))
    p, q = (float(data["test_accuracy"][-1]) for data in (signs, fixed))
    assert p - q > 5 * np.sqrt((p * (1 - p) + q * (1 - q)) / 360)
    assert list(signs["step"].values[:4]) == [0, 1, 2, 3]
    assert int(signs["step"][-1]) == int(signs.attrs["steps"]) == 5 * 25
    assert list(signs["sent_layer"].values) == ["conv2", "fc1", "fc2", "fc3"]
    assert np.all(np.diff(signs["step"]) > 0)
    once = under(replace(brief, epochs=1, train=100), way("usf-init"))
    assert content_digest(convnets.compute(once)) == content_digest(convnets.compute(once))


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(linfa.InputError, match="'adam' without momentum, or 'sgd'; got 'lion'"):
        Optimiser("lion").make()
    with pytest.raises(linfa.InputError, match=r"a std of B_0 is for fa, fa-dense, usf-init; got 0\.1 for 'bp'"):
        rule_of("bp", 0.1)


def test_the_record_has_the_published_starts_and_least_angles():
    """Large layers start within 0.1 degrees of theory; what is published is read off to a degree or two."""
    found = {r.cell.rule: r.data for r in on_record(convnets.PART)}
    for rule, start, conv2, fc1 in (("usf-sn", 30.00, 22.5, 20.5), ("usf-init", 46.29, 34, 30)):
        data = found[rule]
        starts = np.degrees(data["weight_angle"].sel(step=0, weight_layer=["conv2", "fc1"]))
        assert starts.values == pytest.approx(start, abs=0.1)
        least = np.degrees(data["sent_angle"].min("step")).sel(sent_layer=["conv2", "fc1"])
        assert least.values == pytest.approx([conv2, fc1], abs=2)
        turned = data["sent_angle"].sel(sent_layer="conv2")
        assert float(turned[-1]) > float(turned.min()) + np.radians(2)


def test_in_the_record_of_the_published_setting_the_order_and_the_accuracies_are_the_published_ones():
    """BP ≳ uSF-SN ≳ uSF-Init ≫ FA Toeplitz > FA dense, each within the least of the published spreads, 3 points."""
    final = {r.cell.rule: 100 * float(r.data["test_accuracy"][-1]) for r in on_record(convnets.PART)}
    published = {"bp": 75.80, "fa-dense": 35.77, "fa": 40.07, "usf-init": 74.30, "usf-sn": 75.67}
    assert all(abs(final[rule] - published[rule]) < 3 for rule in published)
    assert final["bp"] > final["usf-init"] - 1
    assert final["usf-sn"] > final["usf-init"] - 1
    assert min(final["usf-sn"], final["usf-init"]) > final["fa"] + 25
    assert final["fa"] > final["fa-dense"]
