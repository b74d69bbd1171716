"""Starts that alignment dominates: at every channel of every graph, by scaling alone; and what decay does to a debt."""

import numpy as np
import pytest
import torch
from torch import nn

import linfa
from linfa.nn import convert, dominate, fed_layers, models
from linfa.nn.monitors import Dominance, Monitors
from linfa.nn.train import SGD, Adam, Data, Laws, Training, fit
from tests.nn import graphs
from tests.tolerance import rounding

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


def learning(rate, steps, backprop=False):
    """Return a dominated net after full steps, its least margin, and by how much at most its margins fell, and may."""
    model = mlp(bias=False)
    x = torch.randn(40, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(1))
    streams = dominate(model, x[:1])
    first, start = margins(model, streams), [p.detach().clone() for p in model.parameters()]
    if backprop:
        restored = [nn.Parameter(p.clone()) for p in start]
        layers = list(zip(restored, [torch.relu, torch.relu, lambda z: z], strict=True))
    spent = torch.zeros((), dtype=torch.double)
    for _ in range(steps):
        model.zero_grad()
        h = x
        if backprop:
            for W, unit in layers:
                h = unit(h @ W.T)
            gradients = torch.autograd.grad(nn.functional.cross_entropy(h, y), restored)
        else:
            gradients = torch.autograd.grad(nn.functional.cross_entropy(model(x), y), list(model.parameters()))
        with torch.no_grad():
            for p, g in zip(restored if backprop else model.parameters(), gradients, strict=True):
                p -= rate * g
            spent += rate**2 / 2 * max(g.square().sum(1).max() for g in gradients[:-1])
    if backprop:
        with torch.no_grad():
            for p, W in zip(model.parameters(), restored, strict=True):
                p.copy_(W)
    last = margins(model, streams)
    moved = max(float((p.detach() - s).norm() / s.norm()) for p, s in zip(model.parameters(), start, strict=True))
    return {name: first[name] - last[name] for name in first}, float(spent), moved


def test_what_steps_take_from_a_margin_is_half_their_square_and_backprop_takes_more():
    """κ_k falls by Σ ½η²‖U_l[k,:]‖² exactly, while weights move by as much as they are long; the flow keeps it."""
    fell, spent, moved = learning(0.02, 1500)
    assert moved > 0.5
    assert all(np.all(f >= -1e-12) for f in fell.values())
    assert max(float(f.max()) for f in fell.values()) <= spent * (1 + 1e-9)
    fell, spent, moved = learning(0.02, 1500, backprop=True)  # the control: other errors, no such law
    assert moved > 0.5
    assert max(float(np.abs(f).max()) for f in fell.values()) > 2 * spent


def test_what_cannot_be_dominated_is_refused():
    x = torch.ones(2, 5, dtype=torch.double)
    with pytest.raises(linfa.InputError, match=r"paid at least once, 1 ≤ c < ∞; got 0.5"):
        dominate(mlp(), x, c=0.5)
    for rule in ("usf", "kp", "interpolated"):
        with pytest.raises(linfa.InputError, match=r"dominates under fixed feedback, 'fa'; the feedback of fc2.weight"):
            dominate(convert(models.make("mlp", widths=(5, 4, 3)).double(), rule), x)
    with pytest.raises(linfa.InputError, match="no law trades against a feedback of the weight's shape"):
        dominate(convert(models.make("mlp", widths=(5, 4, 4, 3)).double(), "dfa", example=x), x)


def test_where_no_start_is_found_the_model_is_as_it_was(monkeypatch):
    monkeypatch.setattr("linfa.nn.dominated.ROUNDS", 1)
    net = mlp()
    before = [p.detach().clone() for p in net.parameters()]
    with pytest.raises(linfa.InputError, match=r"found in 1 rounds.* the model is as it was"):
        dominate(net, torch.ones(2, 5, dtype=torch.double))
    assert all(map(torch.equal, before, net.parameters()))


class Adding(nn.Module):
    """A stream to which blocks add what they make of it, without a normalisation."""

    def __init__(self, blocks):
        super().__init__()
        self.stem, self.out = nn.Linear(5, 4), nn.Linear(4, 3)
        self.down = nn.ModuleList(nn.Linear(4, 6) for _ in range(blocks))
        self.up = nn.ModuleList(nn.Linear(6, 4) for _ in range(blocks))

    def forward(self, x):
        h = self.stem(x)
        for down, up in zip(self.down, self.up, strict=True):
            h = h + up(torch.relu(down(torch.relu(h))))
        return self.out(torch.relu(h))


@pytest.mark.parametrize("blocks", [1, 2, 5, 20])
def test_streams_that_a_net_adds_to_itself_are_dominated_too(blocks):
    torch.manual_seed(blocks)
    net, x = convert(Adding(blocks).double(), "fa"), torch.ones(2, 5, dtype=torch.double)
    found = margins(net, dominate(net, x))
    assert all(np.all(m > 0) for m in found.values())
    assert min(float(p.detach().norm()) for p in net.parameters() if p.ndim > 1) > 0.01


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


def test_the_ledger_accounts_for_decays_that_differ_from_layer_to_layer():
    model = mlp()
    x = torch.randn(64, 5, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    y = torch.randint(0, 3, (64,), generator=torch.Generator().manual_seed(1))
    training = Training(SGD(0.05, 0.9, {"fc1": 0.03, "fc3": 0.01}), epochs=10, batch=16)
    run = fit(model, Data(x, y, x, y), training, watch={"laws": Laws(every=1)}).dataset
    assert bool((run["laws_units"] <= 1 + run["laws_step"]).all())
    assert float(run["laws_drift"].max()) > 0.1  # without an account


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
        # Sums of 30 · 7 products at most, of signals that went through three layers.
        assert (owed - paid - rest).diag().abs().max() <= rounding(3 * 30 * 7, float(scale.max()))
        if activation is nn.Identity:
            # At rest: the statement itself, whole matrices, symmetric and aligned.
            assert torch.allclose(owed, paid, rtol=0, atol=1e-6 * float(owed.max()))
            assert torch.all(paid.diag()[owed.diag() > 1e-3 * owed.max()] > 0)


@pytest.mark.parametrize("seed", range(2))
def test_without_decay_the_same_nets_keep_what_they_owe(seed):
    """The control: as long a training, another end."""
    model, none = mlp((5, 7, 6, 3), seed, bias=False, activation=nn.Identity), {"fc1": 0.0, "fc2": 0.0, "fc3": 0.0}
    x = torch.randn(30, 5, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0).long()
    at_rest(model, none, x, y)
    a, b = list(fed_layers(model).values())[:2]
    W, V, B = a.weight.detach(), b.weight.detach(), b.feedback.matrix(b.weight)
    owed, paid = 0.06 * W.square().sum(1), 0.04 * (V * B).sum(0)
    assert not torch.allclose(owed, paid, rtol=0.5)
