"""Feedback that learns: Kolen–Pollack to rounding, mirrors in the mean, the two routes by hand."""

import copy
import math

import pytest
import torch
from torch import nn

import linfa.nn
from linfa.errors import InputError, NoLawError
from linfa.nn import convert, follow, unfollow
from linfa.nn.monitors import UpdateAngle
from linfa.nn.rules import KolenPollack, ProductFeedback, TargetProjection, TwoRoutes, WeightMirror, two_routes

EPS = torch.finfo(torch.double).eps
LEARNT = ("kp", "pfa", "mirror", "symmetric", "activation", "route-mirror", "information")


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 3)
    ).double()


def batch(seed=1):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(8, 2, 3, 3, generator=g, dtype=torch.double), torch.randint(0, 3, (8,), generator=g)


def train(model, optimizer, steps):
    for step in range(steps):
        x, y = batch(step)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()


def fed(model):
    return linfa.nn.fed_layers(model).values()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_under_kolen_pollack_the_gap_shrinks_by_the_decay_alone(momentum, decay):
    model, steps, rate = convert(small(), KolenPollack()), 40, 0.05
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum, weight_decay=decay)
    follow(model, optimizer)
    start = [layer.feedback.B - layer.weight.detach() for layer in fed(model)]
    train(model, optimizer, steps)
    # Without a gradient the gap obeys the optimiser's own recursion, v ← μv + λD, D ← D − ηv.
    D, v = 1.0, 0.0
    for _ in range(steps):
        v = momentum * v + decay * D
        D -= rate * v
    assert (abs(D - 1) > 1e-2) == (decay > 0)
    for gap, layer in zip(start, fed(model), strict=True):
        size = max(layer.feedback.B.abs().max(), layer.weight.abs().max(), gap.abs().max()).item()
        assert (layer.feedback.B - layer.weight - D * gap).abs().max() < 4 * steps * EPS * size * 10


def test_kolen_pollack_follows_the_schedule_and_adam():
    model = convert(small(), "kp")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    beside = follow(model, optimizer)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    train(model, optimizer, 1)
    schedule.step()
    train(model, optimizer, 1)
    assert {group["lr"] for group in beside.param_groups} == {0.005}
    assert type(beside) is torch.optim.Adam


def test_product_feedback_keeps_the_gap_between_R_and_the_projected_weight():
    model, steps = convert(small(), ProductFeedback(rank=4)), 40
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    follow(model, optimizer)

    def gaps():
        return [l.feedback.R - l.weight.detach().flatten(1) @ l.feedback.P.mT for l in fed(model)]

    start = gaps()
    before = [l.feedback.R.clone() for l in fed(model)]
    train(model, optimizer, steps)
    for gap, now, R0, layer in zip(start, gaps(), before, fed(model), strict=True):
        size = (layer.weight.flatten(1).norm() * layer.feedback.P.norm() + layer.feedback.R.norm()).item()
        assert (now - gap).abs().max() < steps * EPS * size * layer.feedback.P.shape[1]
        assert (layer.feedback.R - R0).abs().max() > 1e-3


def test_the_weight_mirror_shows_the_weight_within_its_statistical_error():
    model = convert(small(), WeightMirror(rate=0.02, decay=1.0, samples=256))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    follow(model, optimizer)
    train(model, optimizer, 300)
    for layer in fed(model):
        W, B = layer.weight.detach().flatten(1), layer.feedback.B.flatten(1)
        # At rest B averages W ξξᵀ over about (2 − rate)/rate steps of 256 samples each; the variance of an entry of
        # one sample is ‖w‖² + w²; the start has died out as (1 − rate)^300 < 3e-3.
        n_effective = 256 * (2 - 0.02) / 0.02
        deviation = ((W.square().sum(1, keepdim=True) + W.square()) / n_effective).sqrt()
        z = (B - W) / deviation
        # Six deviations over fewer than 1,000 entries: chance 2e-6, and room for what is left of the start.
        assert z.abs().max() < 6 + 3e-3 * (W.abs().max() * 2 / deviation.min()).item()
        assert 0.8 < z.square().mean().sqrt() < 1.3
        assert torch.cosine_similarity(B.flatten(), W.flatten(), 0) > 0.95


@pytest.mark.parametrize("name", sorted(two_routes.PRIMITIVES))
@pytest.mark.parametrize("kind", ["dense", "convolution"])
def test_the_pull_of_every_primitive_is_its_gradient_by_hand(name, kind):
    torch.manual_seed(3)
    layer = (nn.Linear(4, 3) if kind == "dense" else nn.Conv1d(2, 3, 2)).double()
    h = torch.randn(5, 4, dtype=torch.double) if kind == "dense" else torch.randn(5, 2, 2, dtype=torch.double)
    model = convert(layer, TwoRoutes({name: 1.0}))
    model(h)
    got = model.feedback.pull(model).flatten(1)
    # A convolution with one output position is the dense map of its flattened kernel.
    W, B, x = model.weight.detach().flatten(1), model.feedback.B.flatten(1), h.flatten(1)
    S = x.mT @ x / len(x)
    by_hand = {
        "decay": 2 * B,
        "sparse": 2 * B @ S,
        "self": -W,
        "amp": -W @ S,
        "null": 2 * (W @ S @ W.mT @ B + W @ W.mT @ B @ S),
    }[name]
    assert (got - by_hand).abs().max() < 100 * EPS * by_hand.abs().max()


def test_the_symmetric_route_ends_at_half_beta_over_alpha_times_the_weight():
    model = convert(small(), TwoRoutes.symmetric(alpha=0.5, beta=2.0, rate=0.5))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    follow(model, optimizer)
    train(model, optimizer, 60)
    for layer in fed(model):
        assert (layer.feedback.B - 2 * layer.weight).abs().max() < 1e3 * EPS + 2 * 0.5**60


@pytest.mark.parametrize("name", LEARNT)
def test_learnt_feedback_moves_is_kept_in_checkpoints_and_goes_on_from_them(name):
    def fresh():
        model = convert(small(), name)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
        return model, optimizer, follow(model, optimizer)

    model, optimizer, beside = fresh()
    before = [layer.feedback.learnt().clone() for layer in fed(model)]
    train(model, optimizer, 5)
    assert all((b != layer.feedback.learnt()).any() for b, layer in zip(before, fed(model), strict=True))
    assert not any("feedback" in key for key, _ in model.named_parameters())

    kept = copy.deepcopy((model.state_dict(), optimizer.state_dict(), beside.state_dict()))
    train(model, optimizer, 3)
    again, its_optimizer, its_beside = fresh()
    again.load_state_dict(kept[0])
    its_optimizer.load_state_dict(kept[1])
    its_beside.load_state_dict(kept[2])
    train(again, its_optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))


def test_a_feedback_is_followed_once_and_only_where_its_weight_is():
    model = convert(small(), "kp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    follow(model, optimizer)
    with pytest.raises(InputError, match="follows an optimiser already"):
        follow(model, optimizer)
    other = copy.deepcopy(model)
    with pytest.raises(InputError, match="is not in the optimiser"):
        follow(other, optimizer)
    assert follow(other, torch.optim.SGD(other.parameters(), lr=0.1)) is not None
    assert follow(convert(small(), "fa"), optimizer) is None


def test_feedback_that_is_let_go_rests_and_can_be_followed_anew():
    model = convert(small(), "kp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    follow(model, optimizer)
    unfollow(model)
    before = [layer.feedback.B.clone() for layer in fed(model)]
    train(model, optimizer, 1)
    assert all(torch.equal(b, layer.feedback.B) for b, layer in zip(before, fed(model), strict=True))
    follow(model, optimizer)
    train(model, optimizer, 1)
    assert not any(torch.equal(b, layer.feedback.B) for b, layer in zip(before, fed(model), strict=True))


def test_nothing_is_held_of_the_gradients_that_a_feedback_has_followed():
    model = convert(small(), "kp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    follow(model, optimizer)
    train(model, optimizer, 1)
    assert all(layer.feedback.B.grad is None for layer in fed(model))


@pytest.mark.parametrize("fused", [False, True])
def test_a_loss_scale_is_undone_before_feedback_follows_or_it_is_refused(fused):
    model = convert(small(), "kp")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, fused=fused)
    follow(model, optimizer)
    gaps = [layer.feedback.B - layer.weight.detach() for layer in fed(model)]
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    x, y = batch()
    scaler.scale(nn.functional.cross_entropy(model(x), y)).backward()
    if fused:
        with pytest.raises(InputError, match="give fused=False under a GradScaler"):
            scaler.step(optimizer)
        return
    scaler.step(optimizer)
    for gap, layer in zip(gaps, fed(model), strict=True):
        assert (layer.feedback.B - layer.weight - gap).abs().max() < 8 * EPS


def test_monitors_that_are_read_before_a_step_do_not_change_what_a_route_has_seen():
    def ended(watched):
        model = convert(small(), "activation")
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        follow(model, optimizer)
        (x, y), (other, _) = batch(), batch(5)
        watch = linfa.nn.Monitors(model, [UpdateAngle()], 3 * other, lambda f: f.square().sum())
        nn.functional.cross_entropy(model(x), y).backward()
        if watched:
            watch.read()
        optimizer.step()
        return [layer.feedback.B for layer in fed(model)]

    assert all(torch.equal(a, b) for a, b in zip(ended(False), ended(True), strict=True))


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: WeightMirror(rate=0.0), "a rate > 0"),
        (lambda: WeightMirror(decay=-1.0), "a decay ≥ 0"),
        (lambda: WeightMirror(samples=0), "whole number"),
        (lambda: ProductFeedback(rank=0), "rank is a whole number"),
        (lambda: TwoRoutes({"entropy": 1.0}), "the primitives are decay"),
        (lambda: TwoRoutes({"decay": math.nan}), "finite coefficients"),
    ],
)
def test_bad_options_are_refused(make, told):
    with pytest.raises(InputError, match=told):
        make()


def test_product_feedback_and_routes_name_why_they_have_no_law():
    for rule in ("pfa", "mirror", "symmetric"):
        layer = convert(nn.Linear(3, 2), rule)
        with pytest.raises(NoLawError, match=layer.feedback.rule):
            layer.feedback.potential(layer.weight)


# Targets in the error's place --------------------------------------------------------------------------------------


def test_projected_targets_are_all_that_hidden_layers_learn_from():
    model = convert(small(), "drtp", example=batch()[0])
    x, y = batch()
    h1 = model[0](x)
    (h2,) = (model[3].truly(h1.relu().flatten(1)).detach(),)
    with linfa.nn.targets(model, y):
        nn.functional.cross_entropy(model(x), y).backward()
    hot = nn.functional.one_hot(y, 3).double()
    signal = -(hot @ model[5].feedback.F) / len(x) * (h2 > 0)
    by_hand = signal.mT @ h1.relu().flatten(1).detach()
    assert (model[3].weight.grad - by_hand).abs().max() < 100 * EPS * by_hand.abs().max()
    with linfa.nn.targets(model, y):
        grads = []
        for scale in (1.0, 5.0):  # the loss scales the read-out's gradient, and no other
            model.zero_grad()
            (scale * nn.functional.cross_entropy(model(x), y)).backward()
            grads.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(grads[0][:4], grads[1][:4], strict=True))
    assert torch.allclose(5 * grads[0][4], grads[1][4])


@pytest.mark.parametrize("dtype", [torch.double, torch.float, torch.bfloat16])
def test_projections_drawn_from_a_seed_are_the_buffer_s_and_are_in_no_buffer(dtype):
    x, y = batch()
    x = x.to(dtype)

    def gradients(rule, seed=0, state=None):
        model = convert(small().to(dtype), rule, example=x, seed=seed)
        if state is not None:
            model.load_state_dict(state)
        with linfa.nn.targets(model, y):
            nn.functional.cross_entropy(model(x), y).backward()
        return model, [p.grad for p in model.parameters()]

    (kept, one), (seeded, same) = gradients("drtp"), gradients(TargetProjection(seeded=True))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert len(list(kept.buffers())) == 3
    assert not list(seeded.buffers())
    _, other = gradients(TargetProjection(seeded=True), seed=1)
    assert not torch.equal(other[0], one[0])
    # The seed is in the checkpoint.
    _, again = gradients(TargetProjection(seeded=True), seed=1, state=seeded.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(one, again, strict=True))


def test_projected_targets_learn_the_digits():
    x, y, *_ = (torch.as_tensor(a) for a in linfa.data.load("digits"))
    x, y = x.double().flatten(1), y.long()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 50), nn.Tanh(), nn.Linear(50, 10)).double()
    model = convert(net, "drtp", example=x[:1])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(200):
        at = torch.arange(64 * step, 64 * (step + 1)) % len(x)
        optimizer.zero_grad()
        with linfa.nn.targets(model, y[at]):
            nn.functional.cross_entropy(model(x[at]), y[at]).backward()
        optimizer.step()
    with torch.no_grad():
        accuracy = (model(x).argmax(1) == y).double().mean()
    assert accuracy > 0.8  # chance is 0.1


def test_target_projection_without_targets_is_refused():
    x, y = batch()
    with pytest.raises(InputError, match="give convert an example"):
        convert(small(), "drtp")
    model = convert(small(), "drtp", example=x)
    with pytest.raises(InputError, match="sends targets back"):
        model(x)
    with linfa.nn.targets(model, y[:3]), pytest.raises(InputError, match="one y for each of the 8 samples; got 3"):
        model(x)
    with torch.no_grad():
        assert model(x).shape == (8, 3)


def test_targets_may_be_plain_numbers():
    model = convert(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)), "drtp", example=torch.ones(2, 3))
    y = torch.tensor([0.5, -1.0])
    with linfa.nn.targets(model, y):
        model(torch.ones(2, 3)).square().sum().backward()
    active = (model[0](torch.ones(2, 3)) > 0).float()
    assert torch.allclose(model[0].bias.grad, -(active * y[:, None] * model[2].feedback.F).sum(0) / 2)
