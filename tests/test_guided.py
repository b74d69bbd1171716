"""The study of what the law suggests: starts that are what they are called, decays, rates by pilot, and its record."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import linfa
from linfa.nn import fed_layers
from sims import guided
from sims.guided import DIGITS, WAYS, Cell
from sims.recorded import on_record
from sims.starts import begin, margin

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")


@pytest.fixture(scope="module")
def nets():
    images = DIGITS.images()
    example = torch.nn.functional.pad(images.ready(images.test_inputs[:2], torch.float32), [2] * 4)
    found = {}
    for start in ("random", "dominated", "aligned", "scaled"):
        found[start] = replace(DIGITS, rule="fa").model(images)
        begin(found[start], example, start)
    return found, example


def rows(net):
    return [layer.weight.detach().flatten(1) for layer in fed_layers(net).values()]


def test_starts_are_what_they_are_called(nets):
    found, example = nets
    layers = list(fed_layers(found["random"]).values())
    B = [layer.feedback.matrix(layer.weight).flatten(1) for layer in layers[1:]]
    assert margin(found["dominated"], example) > 0 > max(margin(found[s], example) for s in ("random", "aligned"))
    assert all(torch.equal(W, b) for W, b in zip(rows(found["aligned"])[1:], B, strict=True))
    assert torch.equal(rows(found["aligned"])[0], rows(found["random"])[0])
    for W, b in zip(rows(found["dominated"])[1:], B, strict=True):
        assert torch.allclose(torch.cosine_similarity(W, b), torch.ones(len(W)))
    for W, short, V in zip(*(rows(found[s]) for s in ("scaled", "dominated", "random")), strict=True):
        assert torch.allclose(torch.cosine_similarity(W, V), torch.ones(len(W)))
        assert torch.allclose(W.norm(dim=1), short.norm(dim=1), rtol=1e-5)


def test_a_start_leaves_the_feedback_as_it_was(nets):
    found, _ = nets
    for start in ("dominated", "aligned", "scaled"):
        for a, b in zip(fed_layers(found[start]).values(), fed_layers(found["random"]).values(), strict=True):
            if a.feedback.rule == "fa":
                assert torch.equal(a.feedback.matrix(a.weight), b.feedback.matrix(b.weight))


def test_on_digits_a_start_along_the_feedback_learns_what_plain_feedback_alignment_does_not():
    """Each at the best of its rates; proportions of 360, apart by more than 5 standard errors; scaled: the control."""
    found = {cell.name: cell.measure() for cell in guided.cells(True) if cell.name in ("fa", "dominated", "scaled")}
    last = {name: float(data["test_accuracy"][0, -1]) for name, data in found.items()}
    for way in ("fa", "scaled"):
        p, q = last["dominated"], last[way]
        assert p - q > 5 * np.sqrt((p * (1 - p) + q * (1 - q)) / 360)
        assert float(found[way]["loss"][0, -1]) <= 2 * np.log(10)


def test_the_rate_is_the_one_that_does_best_on_images_that_are_held_out():
    cell = Cell(replace(DIGITS, train=400, epochs=2), "bp", WAYS["bp"], (1e-6, 0.01, 1e9), seeds=1, held=100)
    data = cell.measure()
    assert float(data["rate"]) == 0.01
    assert float(data["worth"].sel(tried=0.01)) == float(data["held"][0]) > float(data["worth"].sel(tried=1e-6)) > 0
    assert float(data["worth"].sel(tried=1e9)) == 0  # diverged
    with pytest.raises(linfa.DivergenceError, match="bp diverges at every rate"):
        replace(cell, rates=(1e9,)).measure()


def test_decays_fall_from_layer_to_layer_where_they_are_graded():
    graded, even = WAYS["graded"], WAYS["decayed"]
    assert (graded.falls, even.falls) == (0.5, 1.0)
    cell = Cell(replace(DIGITS, train=96, epochs=1), "graded", graded, (0.003,), 1, held=16)
    found = [replace(cell, way=way).measure()["loss"] for way in (graded, even)]
    assert not found[0].equals(found[1])


def test_every_way_is_tried_on_real_images_at_rates_between_others():
    full = guided.part(False)
    whole = {(c.setting.data, c.name) for c in guided.cells(False)}
    assert whole == {(data, name) for data in ("mnist", "fashion_mnist", "cifar10") for name in WAYS}
    assert {c.name for c in full if c.setting.data == "fashion_mnist"} == set(WAYS)
    assert {c.name for c in full if c.setting.data == "cifar10"} >= {
        "bp",
        "fa",
        "dominated",
        "aligned",
        "graded",
        "usf",
    }
    assert all(len(c.rates) == 4 and WAYS[c.name] == c.way for c in full)


def test_in_the_record_starts_along_the_feedback_beat_plain_feedback_alignment():
    for result in on_record(guided.PART):
        if result.cell.setting.data == "fashion_mnist":
            assert min(result.cell.rates) < float(result.data["rate"]) < max(result.cell.rates), result.cell.name
    found = {(r.cell.setting.data, r.cell.name): r.data["test_accuracy"].values[:, -1].mean()
             for r in on_record(guided.PART)}  # fmt: skip
    for data in ("fashion_mnist", "cifar10"):
        fa, bp = found[data, "fa"], found[data, "bp"]
        assert fa < min(found[data, way] for way in ("dominated", "aligned"))
        assert max(found[data, way] for way in ("dominated", "aligned")) < bp
