"""The study of convolutional nets: what is measured on signals, where angles start, and what five rules learn."""

from dataclasses import replace

import numpy as np
import pytest

import linfa
from linfa.trajectory import content_digest
from sims import convnets
from sims.convnets import DIGITS, PAPER, WAYS, under

torch = pytest.importorskip("torch")
from torch import nn

from linfa.nn import convert
from linfa.nn.monitors import Monitors, SignalAngle
from linfa.nn.train import CrossEntropy, Data
from sims.classifier import Optimiser, rule_of, sent_angles
from sims.recorded import recorded

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

NOTHING = Data(*[torch.zeros(4, 3, 32, 32), torch.zeros(4).long()] * 2)
"""Black images of the shape of CIFAR-10."""


def way(rule):
    return next(w for w in WAYS if w.rule == rule)


def deep(rule, *, double=True):
    """A linear net of three layers with feedback, a batch with its classes, and the loss."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 7), nn.Linear(7, 5), nn.Linear(5, 4))
    x, y = torch.randn(9, 6), torch.randint(4, (9,))
    if double:
        net, x = net.double(), x.double()
    return convert(net, rule), x, y, lambda f: CrossEntropy()(f, y)


def test_the_angle_of_a_layer_is_that_of_its_two_ways_back():
    """Against NumPy: ż of the read-out by hand, B_lᵀż_l, W_lᵀż_l, and the mean of their cosines."""
    net, x, y, loss = deep("fa")
    W, B = ([m.weight.detach().numpy() for m in net], [m.feedback.B.numpy() for m in net])
    with torch.no_grad():
        f = net(x).numpy()
    p = np.exp(f) / np.exp(f).sum(1, keepdims=True)
    dz, found = (np.eye(4)[y] - p) / len(y), {}
    for l in (2, 1):
        fed, true = dz @ B[l], dz @ W[l]
        cosines = (fed * true).sum(1) / np.linalg.norm(fed, axis=1) / np.linalg.norm(true, axis=1)
        found[str(l)], dz = np.arccos(cosines.mean()), fed
    assert sent_angles(net, x, loss) == pytest.approx(found, rel=1e-12)


def test_with_backprop_nothing_is_turned_and_without_activations_the_first_turn_is_the_whole_angle():
    net, x, _, loss = deep("bp", double=False)
    # arccos(1 − c) = √(2c), and c is a few units of rounding of sums over ten numbers.
    assert max(sent_angles(net, x, loss).values()) < np.sqrt(2 * 100 * np.finfo(np.float32).eps)
    net, x, _, loss = deep("usf")
    signal = Monitors(net, [SignalAngle()], x, loss).read()["signal_angle"]
    sent = sent_angles(net, x, loss)
    assert signal["1"] == pytest.approx(sent["2"], rel=1e-12)
    assert abs(signal["0"] - sent["1"]) > 1e-2


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


def test_the_record_has_the_published_starts_and_least_angles_and_tells_signs_from_random_feedback():
    """Large layers start within 0.1 degrees of theory; what is published is read off to a degree or two."""
    found = {r.cell.rule: r.data for r in recorded(convnets.PART)}
    for rule, start, conv2, fc1 in (("usf-sn", 30.00, 22.5, 20.5), ("usf-init", 46.29, 34, 30)):
        data = found[rule]
        starts = np.degrees(data["weight_angle"].sel(step=0, weight_layer=["conv2", "fc1"]))
        assert starts.values == pytest.approx(start, abs=0.1)
        least = np.degrees(data["sent_angle"].min("step")).sel(sent_layer=["conv2", "fc1"])
        assert least.values == pytest.approx([conv2, fc1], abs=2)
        turned = data["sent_angle"].sel(sent_layer="conv2")
        assert float(turned[-1]) > float(turned.min()) + np.radians(2)
    final = {rule: float(data["test_accuracy"][-1]) for rule, data in found.items()}
    assert final["bp"] > final["usf-init"]
    assert abs(final["bp"] - final["usf-sn"]) < 0.03
    assert min(final[r] for r in ("bp", "usf-sn", "usf-init")) > 2 * max(final[r] for r in ("fa", "fa-dense"))
