"""Starts that alignment dominates: at every channel of every graph, by scaling alone; and what decay does to a debt."""

import numpy as np
import pytest
import torch
from torch import nn

import linfa
from linfa.nn import convert, dominate, fed_layers, models
from linfa.nn.monitors import Dominance, Monitors
from linfa.nn.train import SGD, Adam, Data, Training, fit
from tests.nn import graphs

EPS = float(np.finfo(float).eps)


def margins(model, streams):
    return Monitors(model, [Dominance(streams)]).read()["dominance"]


def mlp(widths=(5, 7, 6, 3), seed=0, **options):
    return convert(models.make("mlp", widths=widths, seed=seed, **options).double(), "fa", seed=seed)


@pytest.mark.parametrize("graph", ["lenet", "resnet", "preactivated", "densenet", "vgg", "mlp", "odd"])
def test_alignment_dominates_at_every_channel_that_is_read(graph):
    model = convert(graphs.GRAPHS[graph]().double(), "fa")
    example = torch.randn(2, 2, 8, 8, dtype=torch.double)
    before = margins(model, linfa.nn.laws(model, example))
    found = margins(model, dominate(model, example, c=1.5))
    assert found.keys() == before.keys()
    assert all(np.all(m > 0) for m in found.values())
    assert any(np.any(m < 0) for m in before.values())  # control: the start was not dominated


def test_of_an_mlp_rows_are_those_of_the_feedback_and_pay_c_times_or_are_as_long():
    """By hand: W_l = diag(r) B_l with r ≤ 1, and c ½‖W_l[k,:]‖² ≤ ⟨W_{l+1}[:,k], B_{l+1}[:,k]⟩, equal where r < 1."""
    c, model = 2.0, mlp(bias=False)
    first = next(iter(fed_layers(model).values())).weight.detach().clone()
    dominate(model, torch.ones(1, 5, dtype=torch.double), c)
    layers = list(fed_layers(model).values())
    W = [layer.weight.detach().numpy() for layer in layers]
    B = [first.numpy(), *(layer.feedback.matrix(layer.weight).numpy() for layer in layers[1:])]
    some = 0
    for l in range(2):
        r = np.linalg.norm(W[l], axis=1) / np.linalg.norm(B[l], axis=1)
        assert np.allclose(W[l], r[:, None] * B[l], rtol=8 * EPS, atol=0)
        owed, paid = c * np.sum(W[l] ** 2, axis=1) / 2, np.sum(W[l + 1] * B[l + 1], axis=0)
        shortened = r < 1 - 1e-9
        some += int(shortened.sum())
        assert np.all(r <= 1 + 8 * EPS)
        assert np.allclose(owed[shortened], paid[shortened], rtol=64 * EPS, atol=0)
        assert np.all(owed[~shortened] <= paid[~shortened])
    assert 0 < some < 13
    assert np.array_equal(W[2], B[2])


def test_dominated_neurons_stay_so_while_steps_are_short():
    """A step of η takes ½η²‖U_l[k,:]‖² from κ_k: over a given time little, if η is small."""
    model = mlp(bias=False)
    x = torch.randn(40, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(1))
    streams = dominate(model, x[:1])
    fit(model, Data(x, y, x, y), Training(SGD(1e-3), epochs=100, batch=40))
    assert all(np.all(m > 0) for m in margins(model, streams).values())


def test_what_cannot_be_dominated_is_refused():
    x = torch.ones(2, 5, dtype=torch.double)
    with pytest.raises(linfa.InputError, match=r"paid at least once, c ≥ 1; got 0.5"):
        dominate(mlp(), x, c=0.5)
    for rule in ("usf", "kp", "interpolated"):
        with pytest.raises(linfa.InputError, match=r"dominates under fixed feedback, 'fa'; the feedback of fc2.weight"):
            dominate(convert(models.make("mlp", widths=(5, 4, 3)).double(), rule), x)
    with pytest.raises(linfa.InputError, match="no law trades against a feedback of the weight's shape"):
        dominate(convert(models.make("mlp", widths=(5, 4, 4, 3)).double(), "dfa", example=x), x)
    with pytest.raises(linfa.InputError, match="needs a normalisation before it is added"):
        dominate(convert(Adding().double(), "fa"), x)


class Adding(nn.Module):
    """A stream to which layers add what they make of it, without a normalisation."""

    def __init__(self):
        super().__init__()
        self.stem, self.block, self.out = nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        h = self.stem(x)
        return self.out(torch.relu(h + torch.relu(self.block(h))))


# Decay (theory's decay_dominance) ------------------------------------------------------------------------------------


def test_decay_of_layers_is_that_of_torch_s_groups():
    net = models.make("mlp", widths=(4, 3, 2))
    decay = {"fc1": 0.1, "fc2": 0.3}
    for recipe in (SGD(0.1, 0.9, decay), Adam(0.1, decay), Adam(0.1, decay, decoupled=True)):
        groups = recipe.over(net).param_groups
        assert [(g["weight_decay"], len(g["params"]), g["lr"]) for g in groups] == [(0.1, 2, 0.1), (0.3, 2, 0.1)]
    assert [g["weight_decay"] for g in SGD(0.1, decay={"fc2": 0.3}).over(net).param_groups] == [0.0, 0.3]
    with pytest.raises(linfa.InputError, match=r"by the names of modules, .*fc1.*; got fc9"):
        SGD(0.1, decay={"fc9": 0.1}).over(net)
    with pytest.raises(linfa.InputError, match=r"decay must be finite and ≥ 0; got -1.0"):
        SGD(0.1, decay={"fc1": -1.0})


def at_rest(model, decay, x, y, steps=2500, rate=0.1):
    """Return U_l − μ_l W_l, layer by layer, after many full steps."""
    layers = fed_layers(model)
    optimizer = SGD(rate, 0.9, decay).over(model)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(x), y).backward()
    return [-layer.weight.grad - decay[name] * layer.weight.detach() for name, layer in layers.items()]


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("activation", [nn.Identity, nn.ReLU])
def test_at_rest_every_neuron_is_aligned_by_the_ratio_of_the_decays(seed, activation):
    """μ_l‖W_l[k,:]‖² − μ_{l+1}⟨B, W_{l+1}[:,k]⟩ = ⟨r_{l+1}[:,k], B⟩ − ⟨r_l[k,:], W_l[k,:]⟩, r what is left of rest.

    Linear nets come to rest; ReLU units may slide along a kink, where r stays finite.
    """
    model, decay = mlp((5, 7, 6, 3), seed, bias=False, activation=activation), {"fc1": 0.06, "fc2": 0.04, "fc3": 0.02}
    x = torch.randn(30, 5, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    left = at_rest(model, decay, x, y)
    layers = list(fed_layers(model).items())
    for (name, a), (above, b), r_a, r_b in zip(layers, layers[1:], left, left[1:], strict=False):
        W, V, B = a.weight.detach(), b.weight.detach(), b.feedback.matrix(b.weight)
        owed, paid = decay[name] * W @ W.T, decay[above] * B.T @ V
        rest = B.T @ r_b - r_a @ W.T
        scale = owed.diag() + decay[above] * (V * B).abs().sum(0) + (r_b * B).abs().sum(0) + (r_a * W).abs().sum(1)
        # Sums of at most 30 · 7 products, of gradients that went through three layers of at most 7.
        assert torch.all((owed - paid - rest).diag().abs() <= 30 * 7 * 3 * 7 * EPS * scale.max())
        if activation is nn.Identity:
            # At rest: the statement itself, whole matrices, symmetric and aligned.
            assert torch.allclose(owed, paid, rtol=0, atol=1e-6 * float(owed.max()))
            assert torch.all(paid.diag()[owed.diag() > 1e-3 * owed.max()] > 0)


def test_without_decay_neurons_may_stay_opposed():
    """The control: the same nets, trained as long, keep what they owe."""
    opposed = 0
    for seed in range(3):
        model = mlp((5, 9, 8, 3), seed, bias=False)
        x = torch.randn(30, 5, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
        y = torch.randint(0, 3, (30,), generator=torch.Generator().manual_seed(seed))
        at_rest(model, {"fc1": 0.0, "fc2": 0.0, "fc3": 0.0}, x, y, steps=400, rate=0.02)
        for b in list(fed_layers(model).values())[1:]:
            opposed += int(((b.weight.detach() * b.feedback.matrix(b.weight)).sum(0) < 0).sum())
    assert opposed > 0
