"""Monitors: starting angles that are known, quantities worked out by hand, and nothing else that changes."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from linfa.errors import DivergenceError, InputError
from linfa.nn import convert, restore, rules
from linfa.nn.draws import Gaussian, Uniform
from linfa.nn.monitors import (
    Dominance,
    DynamicDominance,
    Monitors,
    NormRatio,
    SentAngle,
    SignalAngle,
    Spectrum,
    UpdateAngle,
    WeightAngle,
    angle,
)
from linfa.nn.streams import laws
from tests.nn.graphs import GRAPHS, batches, loss_of, made
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("unchecked_for_speed")

GRADIENTS = (UpdateAngle, SignalAngle, SentAngle, DynamicDominance)


def read(model, *monitors, batch=None):
    x, y = batch if batch is not None else batches(1)[0]
    return Monitors(model, monitors, x, loss_of(y)).read()


# Angles ------------------------------------------------------------------------------------------------------------


def wide(start):
    """Return a layer of many weights."""
    layer = nn.Linear(400, 500, bias=False, dtype=torch.double)
    torch.manual_seed(0)
    nn.init.uniform_(layer.weight, -1, 1) if start == "uniform" else nn.init.normal_(layer.weight)
    return layer


def expected(w, m):
    """Return the angle between W and M ⊙ sign W for independent |w| and m, from their first and second moments."""
    first = {"uniform": 1 / 2, "gaussian": math.sqrt(2 / math.pi), "constant": 1.0}
    second = {"uniform": 1 / 3, "gaussian": 1.0, "constant": 1.0}
    return math.acos(first[w] * first[m] / math.sqrt(second[w] * second[m]))


@pytest.mark.parametrize(
    ("start", "rule", "magnitude", "degrees"),
    [
        ("uniform", rules.UniformSign(), "constant", 30.00),
        ("gaussian", rules.UniformSign(), "constant", 37.07),
        ("uniform", rules.FixedRandomSign(Uniform(1.0)), "uniform", 41.41),
        ("uniform", rules.FixedRandomSign(Gaussian(1.0)), "gaussian", 46.29),
        ("gaussian", rules.FixedRandomSign(Gaussian(1.0)), "gaussian", 50.46),
        ("gaussian", rules.BatchRandomSign(Gaussian(1.0)), "gaussian", 50.46),
    ],
)
def test_sign_concordant_feedback_starts_at_the_known_angle(start, rule, magnitude, degrees):
    model = convert(wide(start), rule)
    found = Monitors(model, [WeightAngle()]).read()["weight_angle"][""]
    assert abs(math.degrees(expected(start, magnitude)) - degrees) < 0.006
    # 200,000 entries: the cosine's standard error is below 2/√n, and seven of them are exceeded once in 10¹².
    assert abs(math.cos(found) - math.cos(expected(start, magnitude))) < 7 * 2 / math.sqrt(200_000)


def test_magnitudes_without_their_signs_would_read_a_right_angle():
    model = convert(wide("uniform"), rules.FixedRandomSign(Uniform(1.0)))
    assert abs(math.cos(float(angle(model.weight.detach(), model.feedback.M)))) < 7 / math.sqrt(200_000)
    assert Monitors(model, [WeightAngle()]).read()["weight_angle"][""] < math.radians(43)


def test_angles_are_signed_and_precise_at_both_ends():
    model = convert(nn.Linear(6, 5), rules.FeedbackAlignment(rho=1.0))
    assert Monitors(model, [WeightAngle()]).read()["weight_angle"][""] < 1e-7
    model.feedback.B.neg_()
    assert Monitors(model, [WeightAngle()]).read()["weight_angle"][""] > math.pi - 1e-7
    a = torch.tensor([1.0, 0.0], dtype=torch.double)
    # The arc cosine of a rounded cosine knows nothing below 10⁻⁸.
    assert abs(float(angle(a, a + torch.tensor([0.0, 1e-12], dtype=torch.double))) - 1e-12) < 1e-20
    assert float(angle(a, 0 * a)) == float(angle(0 * a, 0 * a)) == math.pi / 2


def test_backprop_is_aligned_with_itself():
    model = convert(made("resnet"), "bp")
    found = read(model, WeightAngle(), NormRatio(), UpdateAngle(), SignalAngle(), SentAngle(), DynamicDominance())
    for name in ("weight_angle", "update_angle", "signal_angle", "sent_angle"):
        # The arc cosine of the mean rounds to √eps at zero.
        assert max(found[name].values()) < 1e-7
    assert set(found["norm_ratio"].values()) == {1.0}
    assert abs(found["dynamic_dominance"]["all"] - 1) < 1e-12


@pytest.mark.parametrize("rule", ["fa", "usf", "dfa", "brsf", "fa-dense"])
@pytest.mark.parametrize("graph", ["mlp", "vgg", "densenet"])
def test_updates_and_signals_are_compared_with_true_gradients(graph, rule):
    """Against the two models themselves, and error signals that are asked for one tensor at a time."""
    x, y = batches(1)[0]
    model = convert(made(graph), rule, example=x)
    found = read(model, UpdateAngle(), SignalAngle(), DynamicDominance())

    def sides(net):
        """Return gradients of weights and of the layers' outputs, by name; buffers stay what they are."""
        outputs, hooks = {}, []

        def keep(name):
            def hook(m, i, z):
                outputs[name] = z * 1  # a tensor that nothing works in place on
                return outputs[name] * 1

            return hook

        for name, m in net.named_modules():
            if isinstance(m, nn.Linear | nn.Conv2d):
                hooks.append(m.register_forward_hook(keep(name)))
        state = {k: v.clone() for k, v in net.state_dict().items()}
        loss = loss_of(y)(net(x))
        weights = [net.get_submodule(name).weight for name in outputs]
        found = torch.autograd.grad(loss, [*weights, *outputs.values()])
        for hook in hooks:
            hook.remove()
        net.load_state_dict(state)
        U, signals = found[: len(weights)], found[len(weights) :]
        return dict(zip(outputs, U, strict=True)), dict(zip(outputs, signals, strict=True))

    (fed, fed_signals), (true, true_signals) = sides(model), sides(restore(model))
    squares = sum(float((t * t).sum()) for t in true.values())
    total = 0.0
    for name in fed:
        u, t = fed[name].flatten().numpy(), true[name].flatten().numpy()
        cosine = u @ t / np.linalg.norm(u) / np.linalg.norm(t)
        assert abs(math.cos(found["update_angle"][name]) - cosine) < 1e-12
        assert abs(found["dynamic_dominance"][name] - u @ t / squares) < 1e-12
        total += u @ t / squares
        pairs = zip(fed_signals[name].flatten(1).numpy(), true_signals[name].flatten(1).numpy(), strict=True)
        sizes = [(a @ b, np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]
        mean = np.mean([p / n if n > 0 else 0.0 for p, n in sizes])
        assert abs(math.cos(found["signal_angle"][name]) - mean) < 1e-12
    assert abs(found["dynamic_dominance"]["all"] - total) < 1e-12


def listened(model, names):
    """Return what came to some layers, and the error they were sent, by one pass of the model as it is."""
    came, sent, hooks = {}, {}, []

    def note(name):
        def hook(module, inputs, z):
            came[name] = inputs[0].detach()
            z.register_hook(lambda dz: sent.update({name: dz}))

        return hook

    for name in names:
        hooks.append(model.get_submodule(name).register_forward_hook(note(name)))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, y = batches(1)[0]
    loss_of(y)(model(x)).backward()
    model.load_state_dict(before)
    for hook in hooks:
        hook.remove()
    return came, sent


@pytest.mark.parametrize("rule", ["fa", "usf", "brsf", "interpolated", "kp", "fa-dense"])
def test_what_a_layer_sends_is_compared_with_what_it_would_truly_send_layer_by_layer(rule):
    """Against B and W as matrices, with the ż that the rule sends; the first layer sends nothing."""
    x, _ = batches(1)[0]
    flat = [nn.Linear(128, 9), nn.ReLU(), nn.Linear(9, 6), nn.ReLU(), nn.Linear(6, 3)]
    model = convert(nn.Sequential(nn.Flatten(), *flat).double(), rule, example=x)
    found = read(model, SentAngle(), SignalAngle(), WeightAngle())
    assert list(found["sent_angle"]) == ["3", "5"]
    _, sent = listened(model, ("3", "5"))
    for k in (3, 5):
        W, B = model[k].weight.detach(), model[k].feedback.matrix(model[k].weight)
        dz = sent[str(k)].numpy()
        pairs = zip(dz @ B.numpy(), dz @ W.numpy(), strict=True)
        sizes = [(a @ b, np.linalg.norm(a) * np.linalg.norm(b)) for a, b in pairs]
        mean = np.mean([p / n if n > 0 else 0.0 for p, n in sizes])
        assert abs(math.cos(found["sent_angle"][str(k)]) - mean) < 1e-12
    # The last layer is given the true error, and what it sends is what the ReLU below it turns no more.
    assert found["signal_angle"]["5"] < 1e-7


def test_direct_feedback_sends_nothing_from_layer_to_layer():
    x, _ = batches(1)[0]
    assert read(convert(made("lenet"), "dfa", example=x), SentAngle()) == {"sent_angle": {}}


@pytest.mark.parametrize("rule", ["fa", "usf", "brsf"])
@pytest.mark.parametrize("graph", ["lenet", "vgg", "resnet", "densenet"])
def test_sent_angles_are_those_of_one_call_of_each_layer_alone(graph, rule):
    """Convolutions against autograd on one layer at a time, its weight in the slot and then its feedback."""
    model = convert(made(graph), rule, example=batches(1)[0][0])
    found = read(model, SentAngle(), WeightAngle())
    layers = {n: m for n, m in model.named_modules() if n in found["weight_angle"]}
    came, sent = listened(model, layers)
    assert found["sent_angle"]
    assert set(found["sent_angle"]) < set(layers)
    for name, value in found["sent_angle"].items():
        rows = []
        for weight in (layers[name].feedback.matrix(layers[name].weight), layers[name].weight.detach()):
            h = came[name].clone().requires_grad_()
            rows.append(torch.autograd.grad(layers[name].truly(h, weight), h, sent[name])[0].flatten(1))
        cosine = nn.functional.cosine_similarity(*rows, eps=1e-300).mean()
        assert abs(math.cos(value) - float(cosine)) < 1e-12


def test_the_loss_falls_at_the_rate_that_dynamic_dominance_says():
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 7, bias=False), nn.ReLU(), nn.Linear(7, 3, bias=False)).double()
    torch.manual_seed(0)
    model = convert(net, "usf")
    x, y = batches(1)[0]
    loss = loss_of(y)
    μ = read(model, DynamicDominance())["dynamic_dominance"]["all"]
    plain = restore(model)
    loss(plain(x)).backward()
    squares = sum(float((p.grad**2).sum()) for p in plain.parameters())
    loss(model(x)).backward()
    start, errors = float(loss(model(x)).detach()), []
    U = [-p.grad.clone() for p in model.parameters()]
    for η in (1e-3, 5e-4):
        with torch.no_grad():
            for p, u in zip(model.parameters(), U, strict=True):
                p.add_(u, alpha=η)
            errors.append(abs((float(loss(model(x))) - start) / η + μ * squares))
            for p, u in zip(model.parameters(), U, strict=True):
                p.sub_(u, alpha=η)
    # First order: half the step, half the error.
    assert abs(math.log2(errors[0] / errors[1]) - 1) < 0.05
    assert errors[1] < 0.05 * μ * squares


# Weights -----------------------------------------------------------------------------------------------------------


def test_spectra_and_norms_are_those_of_the_weights():
    model = convert(made("lenet"), "fa")
    found = read(model, Spectrum(), NormRatio())
    for name in ("0", "3", "6", "8"):
        W = model.get_submodule(name).weight.detach().flatten(1).numpy()
        assert np.allclose(found["spectrum"][name], np.linalg.svd(W, compute_uv=False), rtol=1e-12)
        B = model.get_submodule(name).feedback.B.numpy()
        assert abs(found["norm_ratio"][name] - np.linalg.norm(W) / np.linalg.norm(B)) < 1e-12


@pytest.mark.parametrize("rule", ["fa", "usf", "frsf"])
@pytest.mark.parametrize("graph", GRAPHS)
def test_margins_are_the_laws_quantities_turned_round(graph, rule):
    """⟨W, B⟩ = Φ(W) for feedback that is fixed or follows signs, so that κ = −Q."""
    model = convert(made(graph), rule)
    streams = laws(model, batches(1)[0][0])
    found = Monitors(model, [Dominance(streams)]).read()["dominance"]
    Q = streams.quantity().numpy()
    assert found
    for law in streams:
        if law.name in found:
            assert np.abs(found[law.name] + Q[law.place]).max() <= rounding(1000, 50.0)
    assert {law.name for law in streams} - set(found) == {law.name for law in streams if "eps" in law.statement}


def test_a_dominated_start_has_positive_margins():
    model = convert(made("mlp"), "fa")
    with torch.no_grad():
        for fed, before in ((model[3], model[1]), (model[5], model[3])):
            fed.weight.copy_(fed.feedback.B)
            before.weight.mul_(1e-3)
            before.bias.zero_()
        model[3].weight.copy_(model[3].feedback.B * 1e-3)
        model[1].weight.zero_()
    streams = laws(model, batches(1)[0][0])
    margins = Monitors(model, [Dominance(streams)]).read()["dominance"]
    assert all((κ > 0).all() for κ in margins.values())


def test_layers_without_a_matrix_of_the_weight_s_shape_are_left_out():
    x, y = batches(1)[0]
    model = convert(made("lenet"), rules.DirectFeedback(), example=x, layers={"8": "fa"})
    found = Monitors(model, [WeightAngle(), NormRatio(), UpdateAngle()], x, loss_of(y)).read()
    assert list(found["weight_angle"]) == list(found["norm_ratio"]) == ["8"]
    assert list(found["update_angle"]) == ["0", "3", "6", "8"]
    with pytest.raises(InputError, match="no margin to watch"):
        Dominance(laws(convert(made("lenet"), "dfa", example=x), x))


# Nothing else happens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["brsf", "dfa"])
def test_reading_leaves_the_model_as_it_was(rule):
    x, y = batches(1)[0]
    net = made("resnet")
    net.conv1 = nn.Sequential(net.conv1, nn.Dropout(0.3))
    model = convert(net, rule, example=x)
    model.norm1.eval()
    loss_of(y)(model(x)).backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    source, modes = torch.get_rng_state(), [m.training for m in model.modules()]
    found = read(model, *(m() for m in GRADIENTS))
    assert found == read(model, *(m() for m in GRADIENTS))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert torch.equal(source, torch.get_rng_state())
    assert modes == [m.training for m in model.modules()]


def test_dropout_drops_the_same_numbers_on_both_ways_back():
    net = nn.Sequential(nn.Flatten(), nn.Linear(128, 50), nn.ReLU(), nn.Dropout(0.5), nn.Linear(50, 3)).double()
    found = read(convert(net, "bp"), UpdateAngle())
    assert max(found["update_angle"].values()) < 1e-7


def test_the_device_is_waited_for_once():
    class Count(TorchDispatchMode):
        waited = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.waited += "_local_scalar_dense" in str(func) or "nonzero" in str(func)
            return func(*args, **(kwargs or {}))

    x, y = batches(1)[0]
    model = convert(made("resnet"), "frsf")
    streams = laws(model, x)
    every = [WeightAngle(), NormRatio(), Spectrum(), Dominance(streams), *(m() for m in GRADIENTS)]
    with Count() as count:
        found = Monitors(model, every, x, loss_of(y)).read()
    # What is read is copied in one piece, which is no scalar.
    assert count.waited == 0
    assert len(found) == 8


# Bad input ---------------------------------------------------------------------------------------------------------


def test_what_is_missing_is_said():
    model = convert(made("mlp"), "fa")
    with pytest.raises(InputError, match="update_angle, signal_angle compare gradients: give a batch"):
        Monitors(model, [WeightAngle(), UpdateAngle(), SignalAngle()])
    with pytest.raises(InputError, match="no layer of the model has feedback: convert it first"):
        Monitors(made("mlp"), [WeightAngle()]).read()


def test_what_is_not_finite_is_an_error():
    model = convert(made("mlp"), "fa")
    with torch.no_grad():
        model[3].weight[0, 0] = math.nan
    with pytest.raises(DivergenceError, match="weight_angle of 3 is not finite"):
        Monitors(model, [WeightAngle()]).read()


def test_no_monitor_no_reading():
    assert Monitors(convert(made("mlp"), "fa"), []).read() == {}
