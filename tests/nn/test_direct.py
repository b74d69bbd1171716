"""Direct feedback without the chain: its gradients, its price, and what cannot be."""

import copy
import math
import pickle

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from linfa.errors import InputError, NoLawError
from linfa.nn import convert, targets, truth
from linfa.nn.rules import DirectFeedback, FeedbackAlignment
from tests.nn.strategies import apart, fed, gradients, mlp, normal, small_net

H = normal(64, 256, dtype=torch.float)


def flops(model, h):
    with FlopCounterMode(display=False) as counter:
        model(h).sum().backward()
    return counter.get_total_flops()


def test_the_chain_is_not_paid_for():
    """Two hidden layers between 256 numbers and 10 classes, batch 64: 34.9 MFLOP where backprop costs 42.9."""
    net, batch, p = mlp(256, 256, 256, 10), 64, 10
    plain, direct = flops(net, H), flops(fed(net, "dfa", H), H)
    between = 2 * batch * (256 * 256 + 256 * p)  # ż W through every layer but the first
    sent = 2 * batch * (p * 256 + p * 256)  # ė F to two layers
    assert plain - direct == between - sent
    assert (round(direct / 1e6, 1), round(plain / 1e6, 1)) == (34.9, 42.9)


def test_every_block_gets_its_signal_from_the_output_alone():
    net, h, e = mlp(5, 6, 4, 3, dtype=torch.double), normal(7, 5), normal(7, 3, seed=1)
    model = fed(net, "dfa", h)
    got = gradients(model, h, loss=lambda f: (f * e).sum())
    a1 = model[0].truly(h).relu()
    a2 = model[2].truly(a1).relu()
    signals = [(e @ model[2].feedback.F) * (a1 > 0), (e @ model[4].feedback.F) * (a2 > 0), e]
    for n, signal, a in zip((0, 2, 4), signals, (h, a1, a2), strict=True):
        assert torch.allclose(got[f"{n}.weight"], signal.T @ a, rtol=1e-13, atol=1e-13)
        assert torch.allclose(got[f"{n}.bias"], signal.sum(0), rtol=1e-13, atol=1e-13)


def test_the_weights_above_do_not_matter_but_in_backprop_they_do():
    net, h = mlp(5, 6, 4, 3, dtype=torch.double), normal(7, 5)
    e = normal(7, 3, seed=1)
    loss = lambda f: (f * e).sum()  # noqa: E731 (linear: the same ė whatever the weights)
    for rule, moved in (("dfa", False), ("bp", True)):
        model = fed(net, rule, h)
        before = gradients(model, h, loss=loss)["0.weight"]
        with torch.no_grad():
            model[4].weight.neg_()
        assert torch.equal(gradients(model, h, loss=loss)["0.weight"], before) != moved


def test_truth_restores_the_chain():
    net, h = small_net(torch.double), normal(3, 2, 8, 8)
    model = fed(net, "dfa", h)
    with truth(model):
        assert apart(gradients(model, h), gradients(net, h)) == 0
    assert apart(gradients(model, h), gradients(net, h)) > 0.1


def test_copies_and_files_have_taps_of_their_own():
    h = normal(3, 2, 8, 8)
    model = fed(small_net(torch.double), "dfa", h)
    needed = gradients(model, h)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other[6].feedback.taps is not model[6].feedback.taps
        assert other[6].feedback.taps is other[8].feedback.taps
        assert apart(gradients(other, h), needed) == 0
    other = fed(small_net(torch.double), "dfa", h, seed=5)
    assert apart(gradients(other, h), needed) > 0.1
    other.load_state_dict(model.state_dict())
    assert apart(gradients(other, h), needed) == 0


def test_direct_feedback_may_be_mixed_with_layers_of_another_rule():
    net, h = mlp(5, 6, 4, 3, dtype=torch.double), normal(7, 5)
    model = fed(net, "dfa", h, layers={"4": FeedbackAlignment()})
    got = gradients(model, h)
    assert got["2.weight"].norm() > 0
    with truth(model):
        assert apart(gradients(model, h), got) > 0.01


def test_a_part_of_the_model_alone_is_refused():
    model = fed(mlp(5, 6, 4, 3), "dfa", normal(2, 5, dtype=torch.float))
    with pytest.raises(InputError, match="call the model that convert returned, not a part of it"):
        model[1:](normal(2, 6, dtype=torch.float).requires_grad_())


def test_an_output_that_is_no_tensor_is_refused():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 2)
            self.single = True

        def forward(self, x):
            z = self.two(self.one(x))
            return z if self.single else (z, z)

    model = fed(Pair(), "dfa", torch.ones(1, 3))
    model.single = False
    with pytest.raises(InputError, match="one tensor as the model's output; got tuple"):
        model(torch.ones(1, 3))


def test_another_size_of_input_is_refused():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3, padding=1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    model = fed(net, "dfa", torch.ones(1, 1, 4, 4))
    model(torch.ones(1, 1, 4, 4)).sum().backward()
    with pytest.raises(InputError, match=r"= \(2, 32\); this batch needs \(2, 72\): convert the model with an example"):
        model(torch.ones(1, 1, 6, 6))


def test_an_example_is_needed_and_a_chain_of_potentials_is_not_there():
    with pytest.raises(
        InputError, match=r"direct feedback to '0' needs the sizes .* convert\(model, rule, example=batch\)"
    ):
        convert(mlp(3, 2, 1), DirectFeedback())
    model = fed(mlp(3, 2, 1), "dfa", torch.ones(1, 3))
    with pytest.raises(NoLawError, match="virtual read-out"):
        model[2].feedback.potential(model[2].weight)


def test_a_forward_pass_that_failed_leaves_nothing_behind():
    h = normal(3, 2, 8, 8)
    model = fed(small_net(torch.double), "dfa", h)
    needed = gradients(model, h)
    with pytest.raises(RuntimeError):
        model(normal(3, 2, 5, 5))
    taps = model[6].feedback.taps
    assert not taps.found
    # A part of the model is refused as before, and what holds no graph can be copied.
    with pytest.raises(InputError, match="not a part of it"):
        model[8](normal(3, 6).requires_grad_())
    copy.deepcopy(model)
    assert apart(gradients(model, h), needed) == 0


def test_outputs_of_one_number_without_an_axis_of_their_own_are_served():
    class Scalar(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = mlp(3, 4, 1)

        def forward(self, x):
            return self.net(x)[:, 0]

    h = normal(5, 3, dtype=torch.float)
    model = fed(Scalar(), "dfa", h)
    gradients(model, h, loss=lambda f: f.sum())
    F, a = model.net[2].feedback.F, model.net[0].truly(h)
    assert torch.allclose(model.net[0].bias.grad, ((a > 0) * F).sum(0))


@pytest.mark.parametrize("loss_of", [lambda f: f.square().sum(), lambda f: f.sum()], ids=["square", "linear"])
@pytest.mark.parametrize("rule", ["dfa", "drtp"])
def test_a_second_derivative_is_refused(rule, loss_of):
    h, y = normal(5, 3), torch.tensor([0, 1, 1, 0, 0])
    model = fed(mlp(3, 4, 2, dtype=torch.double, activation=nn.Tanh), rule, h)
    with targets(model, y):
        loss = loss_of(model(h))
    first = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    # The read-out's gradient in DRTP is the true one: it has a second derivative with respect to the read-out.
    for g in first[:2] if rule == "drtp" else first:
        with pytest.raises(InputError, match="second derivative"):
            torch.autograd.grad(g.sum(), list(model.parameters()), allow_unused=True, retain_graph=True)


def test_naive_direct_feedback_pays_for_the_chain():
    """Hooks that replace a gradient, as BioTorch has them, leave the product with W in place: this test sees it."""

    def hooked(net):
        net = copy.deepcopy(net)
        for layer in [m for m in net if isinstance(m, nn.Linear)][1:]:
            layer.register_full_backward_hook(lambda m, dh, dz: dh)
        return net

    net = mlp(256, 256, 256, 10)
    assert flops(hooked(net), H) == flops(net, H) > flops(fed(net, "dfa", H), H)


def test_the_standard_draw_keeps_the_size_of_the_signal():
    h = normal(2, 400, dtype=torch.float)
    F = fed(mlp(400, 900, 10), "dfa", h)[2].feedback.F
    assert F.shape == (10, 900)
    assert float(F.std()) * math.sqrt(900) == pytest.approx(1, abs=0.05)


class Twice(nn.Module):
    """One convolution on two sizes of maps."""

    def __init__(self):
        super().__init__()
        self.stem, self.conv, self.read = nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.Linear(2, 3)

    def forward(self, x):
        return self.read(self.conv(self.conv(self.stem(x)).relu()).relu().mean((2, 3)))


@pytest.mark.parametrize("rule", ["dfa", "drtp", "fa-dense"])
def test_one_matrix_does_not_serve_two_sizes(rule):
    x = torch.ones(2, 1, 9, 9)
    with pytest.raises(InputError, match="'conv' is called on inputs of different sizes"):
        convert(Twice(), rule, example=x)
    convert(Twice(), rule, example=x, layers={"conv": "fa"})(x) if rule != "drtp" else None
    convert(Twice(), "fa", example=x)(x)
