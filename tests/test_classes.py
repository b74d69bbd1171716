"""The study of many classes: subsets that are what they say, starts that are dominated or not, and its orderings."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import linfa
from linfa.nn import fed_layers
from linfa.nn.monitors import Dominance, Monitors
from sims.classes import ALONG, CIFAR100, RULES, STUDY, Cell, Images, Teacher, cells, together
from sims.recorded import on_record
from sims.starts import margin

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

SMALL = Cell(Images("digits", 40), 4, (12, 8), 2, (0.05,), seeds=1)


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


def test_sets_that_are_put_together_have_all_classes_and_the_moments_of_all():
    few = {name: 3 * k for k, name in enumerate(("ones", "twos"), 1)}

    def tiny(name):
        n, level = few[name], 50 * (few[name] // 3)
        x = torch.arange(n * 4, dtype=torch.uint8).reshape(n, 1, 2, 2) + level
        mean, std = x.double().mean(), x.double().std(correction=0)
        y = torch.arange(n) % 3
        return linfa.nn.train.Data(x, y, x, y, mean.view(1, 1, 1), std.view(1, 1, 1))

    parts = [tiny(name) for name in few]
    both = together(parts)
    x = torch.cat([p.inputs for p in parts]).double()
    assert both.targets.tolist() == [*parts[0].targets.tolist(), *(parts[1].targets + 3).tolist()]
    assert torch.equal(both.inputs, both.test_inputs)
    assert float(both.mean) == pytest.approx(float(x.mean()), rel=1e-12)
    assert float(both.std) == pytest.approx(float(x.std(correction=0)), rel=1e-12)
    assert together(parts[:1]) is parts[0]
    wider = replace(parts[0], inputs=parts[0].inputs.repeat(1, 1, 2, 1), test_inputs=parts[0].inputs.repeat(1, 1, 2, 1))
    with pytest.raises(linfa.InputError, match="standardised and of one shape"):
        together([parts[1], wider])
    drawn = Images(("digits", "digits"), 5).draw(20, 0)
    assert torch.bincount(drawn.targets).tolist() == 20 * [5]
    with pytest.raises(linfa.InputError, match=r"digits \+ digits has 20 classes"):
        Images(("digits", "digits")).draw(21, 0)


def test_the_figure_adds_cifar100_where_it_is_on_record(monkeypatch):
    pytest.importorskip("matplotlib")
    from figures import classes as figure

    assert figure.studies(True) == [STUDY]
    for record, shown in ((None, [STUDY]), ([], [STUDY, CIFAR100])):
        monkeypatch.setattr(figure, "recorded", lambda study, record=record: record)
        assert figure.studies(False) == shown


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
    example = data.test_inputs[:2].float()
    # All begin at one start but for the three.
    assert all(all(map(torch.equal, weights(nets[r]), weights(nets["bp"]))) for r in RULES if r not in ALONG)
    assert margin(nets["fa-dominated"], example) > 0 > max(margin(nets[r], example) for r in ("fa", "fa-aligned"))
    seen = Monitors(nets["fa-dominated"], [Dominance(linfa.nn.laws(nets["fa-dominated"], example))]).read()
    assert all(np.all(margins > 0) for margins in seen["dominance"].values())
    assert np.isnan(margin(nets["dfa"], example))


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
    assert np.all(data["test_accuracy"] > 0.6)  # a fourth is chance
    assert float(data["alignment"].sel(rule="bp")) == pytest.approx(1, abs=1e-6)
    assert float(data["alignment"].sel(rule="fa-dominated")) > float(data["alignment"].sel(rule="fa"))
    assert np.isnan(float(data["margin"].sel(rule="dfa")))
    assert float(data["margin"].sel(rule="fa-dominated")) > 0


def test_the_presets_cover_what_the_issue_asks_for():
    full = cells(False)
    both = ("mnist", "fashion_mnist")
    assert {c.source.data for c in full if isinstance(c.source, Images)} == {"digits", "mnist", both}
    assert max(c.classes for c in full) == 200
    assert all(c.rules == RULES for c in (*full, *cells(True)))
    assert [c.classes for c in CIFAR100.cells(False)] == [10, 20, 50, 100]
    assert max(c.classes for c in full if isinstance(c.source, Images)) == 20
    assert all(len(c.rates) > 1 for c in full)


def test_in_the_record_a_start_along_the_feedback_aligns_better_for_every_source_at_most_classes():
    found = on_record(STUDY)
    ends = {str(r.cell.source): r.data for r in found}  # the last of each source has the most classes
    for data in ends.values():
        plain = data["alignment"].sel(rule="fa").mean()
        assert all(data["alignment"].sel(rule=rule).mean() > plain for rule in ("fa-dominated", "fa-aligned"))
    for name in ("digits", "mnist"):
        accuracy = [r.data["test_accuracy"].mean("seed") for r in found if getattr(r.cell.source, "data", "") == name]
        behind = [float(a.sel(rule="bp") - a.sel(rule="fa")) for a in accuracy]
        assert behind[-1] > behind[0] + 0.02
