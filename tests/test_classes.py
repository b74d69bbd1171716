"""The study of many classes: subsets that are what they say, starts that are dominated or not, and its orderings."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import linfa
from linfa.nn import fed_layers
from linfa.nn.monitors import Dominance, Monitors
from sims.classes import RULES, SCALED, Cell, Images, Teacher, cells, least_margin

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

SMALL = Cell(Images("digits", 40), 4, (12, 8), 2, 0.05, seeds=1)


def weights(net):
    return [layer.weight.detach() for layer in fed_layers(net).values()]


def test_a_subset_of_classes_is_balanced_numbered_anew_and_random():
    data = Images("digits", 30).draw(3, seed=0)
    assert torch.bincount(data.targets).tolist() == [30, 30, 30]
    assert set(data.test_targets.tolist()) == {0, 1, 2}
    whole = linfa.data.load("digits")
    found = set()
    for seed in range(4):
        x = Images("digits", 1).draw(3, seed).inputs.numpy()
        found.add(tuple(int(whole.train_labels[np.all(whole.train_images == a, axis=(1, 2, 3))][0]) for a in x))
    assert len(found) > 1
    with pytest.raises(linfa.InputError, match="digits has 10 classes to draw two or more from; got 11"):
        Images("digits").draw(11, 0)


def test_a_teacher_has_as_many_classes_as_it_says_and_linear_labels():
    data = Teacher(4, 400, 50).draw(5, seed=1)
    assert data.inputs.shape == (400, 4)
    assert set(data.targets.tolist()) == set(range(5))
    # The label of −x is that of the least output: never that of x.
    both = torch.cat([data.inputs, data.test_inputs]).numpy()
    rng = np.random.default_rng([1, 5])
    assert np.allclose(rng.standard_normal((450, 4)), both, rtol=1e-6)
    with pytest.raises(linfa.InputError, match="two classes or more apart; got 1"):
        Teacher(4, 10, 10).draw(1, 0)


def test_starts_are_what_they_are_called():
    data = SMALL.source.draw(4, 0)
    nets = {rule: SMALL.model(data, rule, seed=0) for rule in RULES}
    # All begin at one W_1, and at one start but for the three.
    assert all(torch.equal(weights(net)[0], weights(nets["bp"])[0]) for net in nets.values())
    assert all(torch.equal(weights(nets[r])[2], weights(nets["bp"])[2]) for r in ("fa", "dfa", "usf", "brsf", "kp"))
    # Every neuron of the dominated start: ⟨W, B⟩ = 2 · ½‖w‖², κ = ½‖w‖²; float32 rounds.
    assert least_margin(nets["fa-dominated"]) > 0 > least_margin(nets["fa"])
    assert least_margin(nets["fa-aligned"]) < 0
    for rule, sign in (("fa-dominated", 1), ("fa-aligned", -1)):
        net = nets[rule]
        seen = Monitors(net, [Dominance(linfa.nn.laws(net, data.test_inputs[:2].float()))]).read()["dominance"]
        assert all(np.all(sign * margins > 0) for margins in seen.values())
    for a, b in zip(weights(nets[SCALED])[1:], weights(nets["fa-dominated"])[1:], strict=True):
        assert torch.allclose(a.norm(dim=0), b.norm(dim=0), rtol=1e-5)
        assert not torch.allclose(a, b)


def test_the_feedback_of_a_dominated_start_stays_fixed_and_is_that_of_plain_feedback_alignment():
    data = SMALL.source.draw(4, 0)
    ours, plain = (SMALL.model(data, rule, seed=0) for rule in ("fa-dominated", "fa"))
    B = [[layer.feedback.matrix(layer.weight).clone() for layer in fed_layers(net).values()] for net in (ours, plain)]
    assert all(torch.equal(a, b) for a, b in zip(*B, strict=True))
    linfa.nn.train.fit(ours, data, linfa.nn.train.Training(linfa.nn.train.SGD(0.05), 1, 32))
    after = [layer.feedback.matrix(layer.weight) for layer in fed_layers(ours).values()]
    assert all(torch.equal(a, b) for a, b in zip(after, B[0], strict=True))


def test_a_cell_learns_and_dominance_aligns():
    cell = replace(SMALL, rules=("bp", "fa", "fa-dominated", "dfa"), hidden=(32, 32), epochs=6, batch=32)
    data = cell.measure().isel(seed=0)
    assert np.all(data["accuracy"] > 0.6)  # a fourth is chance
    assert float(data["alignment"].sel(rule="bp")) == pytest.approx(1, abs=1e-6)
    assert float(data["alignment"].sel(rule="fa-dominated")) > float(data["alignment"].sel(rule="fa"))
    assert np.isnan(float(data["margin"].sel(rule="dfa")))
    assert float(data["margin"].sel(rule="fa-dominated")) > 0


def test_the_presets_cover_what_the_issue_asks_for():
    full = cells(False)
    assert {c.source.data for c in full if isinstance(c.source, Images)} == {"digits", "mnist", "fashion_mnist"}
    assert max(c.classes for c in full) == 200
    assert all(c.rules == RULES for c in (*full, *cells(True)))
