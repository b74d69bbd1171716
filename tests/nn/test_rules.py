"""Every rule on whole nets: against the NumPy library, against B by hand, its cost, its start, its options."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import linfa
from linfa.errors import InputError, NoLawError
from linfa.nn import convert, fed_layers, follow, rules, sequential, truth
from linfa.nn.draws import Gaussian, Uniform, Xavier, fans
from linfa.nn.rules import FeedbackAlignment, FixedRandomSign, InitialSign, UniformSign
from tests.nn.strategies import SLOTS, apart, fed, gradients, lenet, mlp, normal, small_net
from tests.tolerance import rounding

torch.set_num_threads(1)

WITNESSED = ("bp", "fa", "rho-fa", "dfa", "readout", "interpolated", "usf", "frsf", "usf-init", "usf-sn", "kp")


@pytest.mark.parametrize("name", WITNESSED)
def test_linear_torch_nets_are_the_numpy_library_over_many_steps(name):
    net = linfa.Weights.standard((5, 7, 6, 3), 0)
    rule = linfa.rules.make(name, net, 1)
    rng = np.random.default_rng(2)
    x, y = rng.standard_normal((12, 5)), rng.standard_normal((12, 3))
    steps, eta = 8, 0.05
    task = linfa.Task.from_samples(x, y)
    run = linfa.solve(linfa.Full(net, rule), task, linfa.Descent(eta, steps, momentum=0.9, decay=1e-3, saves=1))
    model = sequential(net, rule)
    optimizer = torch.optim.SGD(model.parameters(), lr=eta, momentum=0.9, weight_decay=1e-3)
    follow(model, optimizer)
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * (model(torch.tensor(x)) - torch.tensor(y)).square().sum(1).mean()).backward()
        optimizer.step()
    for W, layer in zip(run.weights(-1), model, strict=True):
        # Sums of 12 samples and 7 units, three layers up and down, every step: each rounding is carried on, not grown.
        assert np.abs(layer.weight.detach().numpy() - W).max() <= rounding(steps * 3 * 2 * 19, 10 * np.linalg.norm(W))
    assert np.abs(model[0].weight.detach().numpy() - net[0]).max() > 1e-3 or name == "readout"


def test_a_bridge_tells_rules_apart():
    """Negative control: another B gives other weights, far beyond rounding."""
    net = linfa.Weights.standard((5, 7, 3), 0)
    one, other = (sequential(net, linfa.FeedbackAlignment.random(net, seed)) for seed in (1, 2))
    h = normal(4, 5)
    assert float((gradients(one, h)["0.weight"] - gradients(other, h)["0.weight"]).norm()) > 0.1


def test_a_bridge_refuses_what_torch_does_not_know():
    net = linfa.Weights.standard((5, 7, 3), 0)
    with pytest.raises(InputError, match=r"torch layers are made for .*FeedbackAlignment.*; got BatchRandomSign"):
        sequential(net, linfa.rules.make("brsf", net, 1))
    batch = net.map(lambda W: np.stack([W, W]))
    with pytest.raises(InputError, match="take one of them"):
        sequential(batch, linfa.Backprop())


def by_hand(model, h, e):
    """Return dense layers' weight gradients for an error ė, layer by layer with the B that each of them reports."""
    layers = [m for m in model if isinstance(m, nn.Linear)]
    activities = [h]
    for layer in layers[:-1]:
        activities.append((activities[-1] @ layer.weight.detach().T + layer.bias.detach()).clamp(min=0))
    grads, signal = [], e
    for layer, a in zip(reversed(layers), reversed(activities), strict=True):
        grads.append(np.einsum("km,kn->mn", signal, a))
        signal = np.einsum("mn,km->kn", layer.feedback.matrix(layer.weight), signal) * (a.numpy() > 0)
    return grads[::-1]


@pytest.mark.parametrize("name", SLOTS)
def test_every_rule_against_numpy_by_hand(name):
    model, h, e = convert(mlp(5, 6, 4, 3, dtype=torch.double), name), normal(7, 5), normal(7, 3, seed=1)
    got = gradients(model, h, loss=lambda z: (z * e).sum())
    for needed, grad in zip(by_hand(model, h, e), [g for n, g in got.items() if "weight" in n], strict=True):
        assert np.abs(grad.numpy() - needed).max() <= rounding(100, np.linalg.norm(needed) + 10)


@pytest.mark.parametrize("name", SLOTS)
def test_backprop_is_what_truth_gives_and_no_other_rule_gives_it(name):
    plain, h = small_net(torch.double), normal(3, 2, 8, 8)
    model = convert(plain, name)
    needed = gradients(plain, h)
    with truth(model):
        assert apart(gradients(model, h), needed) == 0
    difference = apart(gradients(model, h), needed)
    if name in ("bp", "usf-init"):  # B = |W(0)| ⊙ sign(W) is W at the start
        assert difference < 1e-14
    else:
        assert difference > 0.05


def flops(model, h):
    with FlopCounterMode(display=False) as counter:
        model(h).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", SLOTS)
def test_every_rule_in_the_slot_costs_what_backprop_costs(name):
    model, h = small_net(), normal(3, 2, 8, 8, dtype=torch.float)
    assert flops(convert(model, name), h) == flops(model, h)


@pytest.mark.parametrize("name", ["fa", "usf", "brsf"])
def test_autocast_is_near_the_full_precision(name):
    model, h = convert(small_net(), name), normal(3, 2, 8, 8, dtype=torch.float)
    full = gradients(copy.deepcopy(model), h)
    with torch.autocast("cpu", torch.bfloat16):
        z = model(h)
    assert z.dtype == torch.bfloat16
    model.zero_grad()
    (z.float().square().sum() / 2).backward()
    lower = {n: p.grad for n, p in model.named_parameters()}
    assert all(g.dtype == torch.float for g in lower.values())
    assert apart(lower, full) < 16 * torch.finfo(torch.bfloat16).eps


@pytest.mark.parametrize("name", SLOTS)
def test_checkpointed_is_plain(name):
    plain, h = convert(small_net(torch.double), name), normal(3, 2, 8, 8)
    other = copy.deepcopy(plain)
    run = lambda h: torch.utils.checkpoint.checkpoint(other, h.requires_grad_(), use_reentrant=False)  # noqa: E731
    for _ in range(2):
        assert apart(gradients(other, h.clone(), run), gradients(plain, h)) < 1e-14


@pytest.mark.parametrize("name", [*SLOTS, "fa-dense", "dfa"])
def test_per_sample_gradients_are_those_of_a_loop(name):
    h = normal(4, 2, 8, 8)
    model = fed(small_net(torch.double), name, h).eval()
    parameters, buffers = dict(model.named_parameters()), dict(model.named_buffers())

    def share(parameters, h):
        return torch.func.functional_call(model, {**parameters, **buffers}, (h[None],)).square().sum() / 2

    detached = {n: p.detach() for n, p in parameters.items()}
    together = torch.func.vmap(torch.func.grad(share), (None, 0))(detached, h)
    for i, hi in enumerate(h):
        one = gradients(model, hi[None])
        assert apart({n: g[i] for n, g in together.items()}, one) < 1e-12


ANGLES = {
    "uniform vs constant": (Uniform(1.0), UniformSign(), 30.00),
    "Gaussian vs constant": (Gaussian(1.0), UniformSign(), 37.07),
    "uniform vs |uniform|": (Uniform(1.0), FixedRandomSign(Uniform(1.0)), 41.41),
    "uniform vs |Gaussian|": (Uniform(1.0), FixedRandomSign(Gaussian(1.0)), 46.29),
    "Gaussian vs |Gaussian|": (Gaussian(1.0), InitialSign(Gaussian(1.0)), 50.46),
    "Gaussian vs its own start": (Gaussian(1.0), InitialSign(), 0.0),
    "uniform vs strictly normalised": (Uniform(1.0), rules.StrictNormalSign(), 30.00),
}


@pytest.mark.parametrize("which", ANGLES)
def test_starting_angles(which):
    law, rule, degrees = ANGLES[which]
    layer = nn.Linear(1500, 1500, bias=False)
    with torch.no_grad():
        layer.weight.copy_(law(layer.weight.shape, 11, torch.float))
    model = convert(layer, rule)
    W, B = model.weight.detach().double(), model.feedback.matrix(model.weight).double()
    assert math.degrees(math.acos(min(1.0, float((W * B).sum() / W.norm() / B.norm())))) == pytest.approx(
        degrees, abs=0.1
    )


def test_frsf_reports_what_it_sends_back_not_its_magnitudes():
    """An unsigned M compared with W reads 90°; the matrix of the rule has the signs in it."""
    layer = convert(nn.Linear(400, 400), "frsf")
    M, B = layer.feedback.M, layer.feedback.matrix(layer.weight)
    cosine = lambda a, b: float((a * b).sum() / a.norm() / b.norm())  # noqa: E731
    assert abs(cosine(layer.weight.detach(), M)) < 0.02
    assert cosine(layer.weight.detach(), B) > 0.7


def test_biotorch_s_semantics():
    """Every layer is fed, the last one too; uSF's scale is √(2/(fan in + fan out)); magnitudes are |Xavier|."""
    model = lenet()
    assert list(fed_layers(convert(model, "usf"))) == ["0", "3", "7", "9"]
    for layer in fed_layers(convert(model, "usf")).values():
        W = layer.weight
        s = math.sqrt(2 / sum(nn.init._calculate_fan_in_and_fan_out(W)))
        assert torch.equal(layer.feedback.matrix(W), torch.sign(W.detach()) * s)
    for name in ("frsf", "brsf"):
        for layer in fed_layers(convert(model, name)).values():
            W, B = layer.weight, layer.feedback.matrix(layer.weight)
            bound = math.sqrt(6 / sum(fans(W.shape)))
            assert torch.equal(B.sign(), W.sign())
            assert 0.8 * bound < float(B.abs().max()) <= bound
    left = convert(model, "usf", backprop=["9"])
    assert list(fed_layers(left)) == ["0", "3", "7"]
    assert type(left[9]) is nn.Linear


def test_xiao_s_and_moskovitz_s_scales():
    conv, dense = nn.Conv2d(3, 8, 5), nn.Linear(20, 7)
    both = convert(nn.Sequential(conv, dense), UniformSign(xiao=True))
    assert float(both[0].feedback.M) == pytest.approx(math.sqrt(2 / (25 * 8)))
    assert float(both[1].feedback.M) == pytest.approx(1 / math.sqrt(20))
    layer = convert(dense, InitialSign())
    assert torch.equal(layer.feedback.matrix(layer.weight), layer.weight.detach())
    with torch.no_grad():
        layer.weight.mul_(-3)
    assert torch.equal(layer.feedback.matrix(layer.weight) * 3, layer.weight.detach())
    layer = convert(dense, "usf-sn")
    B = layer.feedback.matrix(layer.weight)
    assert float(B.norm()) == pytest.approx(float(layer.weight.detach().norm()), rel=1e-6)
    assert float(B.abs().std()) < 1e-6 * float(B.abs().mean())


def test_rho_is_the_cosine_at_the_start():
    layer = nn.Linear(800, 800)
    with torch.no_grad():
        layer.weight.copy_(Xavier()((800, 800), 3, torch.float))
    for rho in (-1.0, -0.4, 0.3, 1.0):
        model = convert(layer, FeedbackAlignment(rho=rho))
        W, B = model.weight.detach(), model.feedback.matrix(model.weight)
        assert float((W * B).sum() / W.norm() / B.norm()) == pytest.approx(rho, abs=0.01)


def test_brsf_draws_anew_at_every_forward_pass_of_training_alone():
    model, h = convert(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), "brsf"), normal(2, 4, dtype=torch.float)
    feedback, W = model[1].feedback, model[1].weight
    drawn = []
    for _ in range(3):
        model(h)
        drawn.append(feedback.matrix(W))
    assert not torch.equal(drawn[0], drawn[1])
    assert all(torch.equal(B.sign(), W.sign()) for B in drawn)
    model.eval()(h)
    assert torch.equal(feedback.matrix(W), drawn[2])


@pytest.mark.parametrize("name", SLOTS)
def test_a_potential_is_one_whose_gradient_is_b(name):
    layer = convert(nn.Linear(4, 3, dtype=torch.double), name)
    if name in ("brsf", "usf-sn"):
        with pytest.raises(NoLawError, match=name):
            layer.feedback.potential(layer.weight)
        return
    B = layer.feedback.potential(layer.weight).gradient(layer.weight.detach())
    assert torch.allclose(B, layer.feedback.matrix(layer.weight), rtol=1e-14)


BAD = {
    "rho": (lambda: FeedbackAlignment(rho=1.5), "−1 ≤ ρ ≤ 1; got 1.5"),
    "rho seeded": (lambda: FeedbackAlignment(rho=0.5, seeded=True), "rho ties B"),
    "rho dense": (lambda: FeedbackAlignment(rho=0.5, dense=True), "rho ties B"),
    "scale": (lambda: UniformSign(scale=-1.0), "finite and > 0, or None; got -1.0"),
    "scale and xiao": (lambda: UniformSign(scale=1.0, xiao=True), "scale or xiao, not both"),
    "alpha": (lambda: rules.Interpolated(alpha=2.0), "0 ≤ α ≤ 1; got 2.0"),
    "std": (lambda: Gaussian(math.nan), "std must be finite and > 0; got nan"),
    "name": (lambda: rules.make("fab"), "one of the names bp, fa, .*; got 'fab'"),
}


@pytest.mark.parametrize("what", BAD)
def test_options_that_make_no_sense_are_refused(what):
    make, message = BAD[what]
    with pytest.raises(InputError, match=message):
        make()
