"""assert_feedback_active: silent for every rule, loud for every way in which feedback is not what it seems."""

import copy

import pytest
import torch
from torch import nn

from linfa.errors import InputError
from linfa.nn import InactiveFeedbackError, assert_feedback_active, convert, fed_layers, truth
from linfa.nn.rules import REGISTRY
from tests.nn.strategies import SEEDED, fed, mlp, normal, small_net

X = normal(3, 2, 8, 8, dtype=torch.float)
H = normal(6, 5, dtype=torch.float)


@pytest.mark.parametrize("rule", [*(n for n in REGISTRY if n != "drtp"), *SEEDED.values()], ids=str)
def test_every_rule_is_active(rule):
    assert_feedback_active(fed(small_net(), rule, X), X)


@pytest.mark.parametrize("name", ["fa-dense", "dfa"])
def test_a_seed_that_is_not_used_is_seen(name):
    model = fed(small_net(), SEEDED[name], X)
    kept = fed(small_net(), name, X)
    for stuck, fixed in zip(fed_layers(model).values(), fed_layers(kept).values(), strict=True):
        if hasattr(stuck.feedback, "shape"):
            way = "between" if name == "fa-dense" else "outward"
            setattr(stuck.feedback, way, getattr(fixed.feedback, way))
    with pytest.raises(InactiveFeedbackError, match="sends back the same whatever its feedback is"):
        assert_feedback_active(model, X)


class Residual(nn.Module):
    """A block with a norm, dropout, a sum, a layer used twice and a transposed convolution asked for its size."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
        self.drop, self.up = nn.Dropout(0.5), nn.ConvTranspose2d(2, 2, 3, stride=2)
        self.last = nn.Linear(2, 3)

    def forward(self, x):
        x = x + self.one(self.norm(self.one(x)).relu())
        x = self.up(self.drop(x), output_size=[18, 18])
        return self.last(x.mean((2, 3)))


@pytest.mark.parametrize("name", ["fa", "usf", "brsf", "dfa", "bp"])
def test_it_sees_through_norms_dropout_sums_and_layers_used_twice(name):
    torch.manual_seed(0)
    model = fed(small_net(), name, X) if name == "dfa" else convert(Residual(), name)  # dfa serves one size alone
    assert_feedback_active(model, X)
    assert_feedback_active(model, X, lambda f: nn.functional.cross_entropy(f, torch.tensor([0, 1, 2])))


def test_model_gradients_buffers_and_random_numbers_stay_what_they_were():
    model = convert(Residual(), "brsf")
    model(X).sum().backward()
    before = {n: t.clone() for n, t in model.state_dict().items() if isinstance(t, torch.Tensor)}
    grads = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    assert_feedback_active(model, X)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items() if n in before)
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), grads, strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.one._forward_hooks
    assert not model.one._forward_pre_hooks


class Past(nn.Module):
    """Uses its second layer's weight past the layer."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        return nn.functional.linear(self.one(x).relu(), self.two.weight, self.two.bias)


class Cut(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(5, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.two(self.one(x).detach())


class NoGrad(Cut):
    @torch.no_grad()
    def forward(self, x):
        return self.two(self.one(x))


def fallen_back(model):
    """Feedback that is held, saved and reported, but not used: as if nothing had been converted."""

    class Silent(type(model[2].feedback)):
        def forward(self, layer, h):
            return layer.truly(h)

    model[2].feedback.__class__ = Silent
    return model


def leaking(model):
    """One part in ten of the weight is transported besides."""

    class Leaking(type(model[2].feedback)):
        def forward(self, layer, h):
            leak = layer.truly(h)
            return super().forward(layer, h) + 0.1 * (leak - leak.detach())

    model[2].feedback.__class__ = Leaking
    return model


def leaking_and_honest(model):
    """The same, and it says so: only the perturbed weight shows it."""
    leaking(model)

    class Honest(type(model[2].feedback)):
        def signal(self, layer, h, dz):
            return super().signal(layer, h, dz) + 0.1 * dz @ layer.weight.detach()

    model[2].feedback.__class__ = Honest
    return model


def stuck(model):
    """Sends back what it drew at the start, whatever its buffer says now."""
    B = model[2].feedback.B.clone()

    class Stuck(type(model[2].feedback)):
        def forward(self, layer, h):
            return layer.through(h, B)

    model[2].feedback.__class__ = Stuck
    return model


BROKEN = {
    "past the layer": (lambda: convert(Past(), "fa"), "two is not called"),
    "detached": (lambda: convert(Cut(), "fa"), "what two sends back goes nowhere"),
    "no_grad": (lambda: convert(NoGrad(), "fa"), "under no_grad"),
    "fallen back": (
        lambda: fallen_back(convert(mlp(5, 4, 2), "fa")),
        r"2 does not send back what its rule \(fa\) says",
    ),
    "leaking": (lambda: leaking(convert(mlp(5, 4, 2), "fa")), r"2 does not send back what its rule \(fa\) says"),
    "honest leak": (lambda: leaking_and_honest(convert(mlp(5, 4, 2), "fa")), "what 2 sends back depends on its"),
    "stuck": (lambda: stuck(convert(mlp(5, 4, 2), "fa")), "2 sends back the same whatever its feedback is"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_not_feedback_is_named(what):
    make, message = BROKEN[what]
    with pytest.raises(InactiveFeedbackError, match=message):
        assert_feedback_active(make(), H)


def test_truth_left_on_and_errors_that_do_not_arrive_are_named():
    model = convert(mlp(5, 4, 2), "fa")
    with truth(model), pytest.raises(InactiveFeedbackError, match="0 is switched to true gradients"):
        assert_feedback_active(model, H)
    with pytest.raises(InactiveFeedbackError, match="gets no error"):
        assert_feedback_active(model, H, lambda f: 0 * f.sum())


def test_a_model_without_feedback_is_refused():
    with pytest.raises(InputError, match=r"make one with linfa\.nn\.convert"):
        assert_feedback_active(nn.Linear(2, 2), torch.ones(1, 2))


def test_integer_inputs_are_served():
    words = nn.Sequential(nn.Embedding(7, 5), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    model = convert(words, "fa", backprop=["0"])
    assert_feedback_active(model, torch.arange(6))
    broken = copy.deepcopy(model)
    broken[3].true = True
    with pytest.raises(InactiveFeedbackError, match="3 is switched"):
        assert_feedback_active(broken, torch.arange(6))
