"""Training: the loop against one written by hand, data and augmentation against slow twins, guards that must fire."""

import dataclasses
import math
import subprocess
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import linfa
from linfa.errors import DivergenceError, InputError
from linfa.nn import convert, fed_layers, models
from linfa.nn.activity import InactiveFeedbackError
from linfa.nn.draws import seed_of
from linfa.nn.monitors import Spectrum, WeightAngle
from linfa.nn.train import (
    SGD,
    Adam,
    Crop,
    CrossEntropy,
    Data,
    Flip,
    HeldNorms,
    History,
    Laws,
    Monitored,
    Pad,
    Squared,
    Training,
    fit,
)
from linfa.nn.train.__main__ import main, parser, prepared
from linfa.nn.train.augmentation import vary
from linfa.nn.train.divergence import first_offender

pytest.importorskip("sklearn")
EPS = torch.finfo(torch.double).eps
ROOT = Path(__file__).absolute().parents[2]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    return Data.load("digits")


def toy(n=24, m=8, seed=0, dtype=torch.double, classes=3):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n + m, 5, generator=g, dtype=dtype)
    y = torch.randint(0, classes, (n + m,), generator=g)
    return Data(x[:n], y[:n], x[n:], y[n:])


def net(rule="fa", widths=(5, 8, 6, 3), seed=0, dtype=torch.double, **options):
    model = models.make("mlp", widths=widths, seed=seed, **options).to(dtype)
    return convert(model, rule, example=torch.zeros(2, widths[0], dtype=dtype), seed=seed)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


# The loop ----------------------------------------------------------------------------------------------------------


OPTIMISERS = {
    "sgd": (
        SGD(linfa.StepDecay(0.1, (1, 2)), momentum=0.9, decay=0.01),
        lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9, weight_decay=0.01),
    ),
    "adam": (
        Adam(linfa.Cosine(0.01, 4), decay=0.01),
        lambda p, lr: torch.optim.Adam(p, lr=lr, weight_decay=0.01),
    ),
    "adamw": (
        Adam(0.02, decay=0.1, decoupled=True),
        lambda p, lr: torch.optim.AdamW(p, lr=lr, weight_decay=0.1),
    ),
}


def by_hand(model, data, made, rate, epochs, batch, seed, loss):
    """Return the rows of a loop that a user would write."""
    optimizer, rows = made(model.parameters(), rate(0)), []
    for epoch in range(epochs):
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed_of(seed, "order", epoch)))
        for group in optimizer.param_groups:
            group["lr"] = rate(epoch)
        seen = 0.0
        for first in range(0, len(data), batch):
            rows_here = order[first : first + batch]
            optimizer.zero_grad()
            value = loss(model(data.inputs[rows_here]), data.targets[rows_here])
            value.backward()
            optimizer.step()
            seen += value.item() * len(rows_here)
        with torch.no_grad():
            f = model(data.test_inputs)
            right = (f.argmax(1) == data.test_targets).double().mean().item()
            rows.append((rate(epoch), seen / len(data), loss(f, data.test_targets).item(), right))
    return rows


@pytest.mark.parametrize("name", OPTIMISERS)
def test_fit_is_the_loop_that_one_would_write(name):
    recipe, made = OPTIMISERS[name]
    data, model, twin = toy(), net(), net()
    run = fit(model, data, Training(recipe, epochs=4, batch=7, seed=3))
    rows = by_hand(twin, data, made, recipe.rate, 4, 7, 3, nn.functional.cross_entropy)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(twin), strict=True))
    found = np.stack([run.dataset[k].values for k in ("learning_rate", "loss", "test_loss", "test_accuracy")], 1)
    # Sums of at most 32 numbers, in two orders.
    assert np.allclose(found, rows, rtol=40 * EPS, atol=0)
    assert not torch.equal(weights(model)[0], weights(net())[0])


@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "usf", "brsf", "kp", "interpolated"])
def test_digits_are_learnt(digits, rule):
    model = convert(models.make("mlp", widths=(64, 64, 10)), rule, example=torch.zeros(2, 64))
    run = fit(model, digits, Training(SGD(0.02, momentum=0.9), epochs=2, batch=32))
    # By chance, 360 answers are right by half with a probability below 1e-70.
    assert run.test_accuracy[-1] > 0.5
    assert run.loss[-1] < run.loss[0]


def test_every_epoch_sees_every_sample_once_in_an_order_of_its_own():
    seen = []

    class Listening(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(1, 2)

        def forward(self, x):
            if self.training:
                seen.append(x.flatten().tolist())
            return self.fc(x)

    x = torch.arange(20.0)[:, None] / 20
    data = Data(x, torch.zeros(20, dtype=torch.long), x, torch.zeros(20, dtype=torch.long))
    for seed in (0, 0, 1):
        fit(Listening(), data, Training(SGD(0.01), epochs=3, batch=6, seed=seed))
    epochs = [[v for step in seen[i : i + 4] for v in step] for i in range(0, len(seen), 4)]
    assert all(sorted(epoch) == x.flatten().tolist() for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 6
    assert epochs[:3] == epochs[3:6]


def test_learnt_feedback_follows_and_targets_are_sent():
    data, model = toy(), net("kp")
    gaps = [layer.feedback.B - layer.weight.detach() for layer in fed_layers(model).values()]
    fit(model, data, Training(SGD(0.1), epochs=2, batch=8))
    for gap, layer in zip(gaps, fed_layers(model).values(), strict=True):
        # Six steps, each rounded in W and in B.
        assert (layer.feedback.B - layer.weight - gap).abs().max() < 12 * EPS * 2
    model = net("drtp")
    before = weights(model)
    fit(model, data, Training(SGD(0.1), epochs=1, batch=8))
    assert not torch.equal(before[0], weights(model)[0])


def test_targets_that_are_no_classes_have_no_accuracy():
    g = torch.Generator().manual_seed(0)
    x, W = torch.randn(40, 5, generator=g, dtype=torch.double), torch.randn(2, 5, generator=g, dtype=torch.double)
    data = Data(x[:32], x[:32] @ W.T, x[32:], x[32:] @ W.T)
    model = net("fa", widths=(5, 8, 2), activation=None)
    run = fit(model, data, Training(SGD(0.05), epochs=200, batch=32, loss=Squared()))
    assert "accuracy" not in run.dataset
    assert "test_accuracy" not in run.dataset
    # A linear net under feedback alignment learns a linear map.
    assert run.test_loss[-1] < 1e-3 * run.test_loss[0]


def test_squared_loss_is_half_the_distance_with_classes_as_unit_vectors():
    f, y = torch.randn(4, 3, dtype=torch.double), torch.tensor([0, 2, 1, 1])
    by_hand = np.mean([0.5 * np.sum((f[i].numpy() - np.eye(3)[y[i]]) ** 2) for i in range(4)])
    assert Squared()(f, y).item() == pytest.approx(by_hand, rel=20 * EPS)
    assert Squared()(f, torch.eye(3, dtype=torch.double)[y]).item() == Squared()(f, y).item()
    smooth = CrossEntropy(0.3)(f, y).item()
    p = 0.7 * torch.eye(3, dtype=torch.double)[y] + 0.1
    assert smooth == pytest.approx(-(p * f.log_softmax(1)).sum(1).mean().item(), rel=40 * EPS)


def test_a_model_is_trained_in_training_mode_and_tested_in_test_mode():
    modes, model = [], net()

    def note(module, inputs, output):
        if module is model:  # and not the copy on which feedback is made sure of
            modes.append((module.training, torch.is_grad_enabled()))

    model.eval().register_forward_hook(note)
    fit(model, toy(), Training(SGD(0.1), epochs=1, batch=12))
    assert modes.count((True, True)) == 2
    assert (False, False) in modes


def test_a_model_is_given_back_in_the_mode_it_was_found_in():
    for whole, part in ((True, True), (True, False), (False, False), (False, True)):
        model = net("brsf")
        model.train(whole).fc2.train(part)
        before = {n: m.training for n, m in model.named_modules()}
        fit(model, toy(), Training(SGD(0.1), epochs=1))
        assert {n: m.training for n, m in model.named_modules()} == before
    model = net()
    model.fc2.weight.data[0, 0] = math.inf
    with pytest.raises(DivergenceError):
        fit(model.eval(), toy(), Training(SGD(0.1), epochs=1))
    assert not any(m.training for m in model.modules())


# Precision ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_autocast_lowers_what_flows_and_not_what_is_kept(digits, amp):
    model, kinds = convert(models.make("mlp", widths=(64, 32, 10)), "fa"), set()
    model.fc1.register_forward_hook(lambda m, i, o: kinds.add(o.dtype) if m is model.fc1 else None)
    run = fit(model, digits, Training(SGD(0.02, momentum=0.9), epochs=2, batch=64, amp=amp))
    assert kinds == {amp}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert run.test_accuracy[-1] > 0.5


def test_targets_sent_back_are_not_mixed_with_a_loss_scale():
    with pytest.raises(InputError, match="pass the loss scale of float16 by"):
        fit(net("drtp"), toy(), Training(SGD(0.1), epochs=1, amp=torch.float16))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("amp", [None, torch.bfloat16, torch.float16])
def test_a_gpu_trains_from_its_own_memory_and_goes_on_from_a_checkpoint(digits, tmp_path, amp):
    def model():
        return convert(models.make("mlp", widths=(64, 32, 10)), "fa").cuda()

    def how(epochs):
        return Training(SGD(0.02, momentum=0.9), epochs=epochs, batch=64, amp=amp, augmentation=(Crop(8, 1),))

    whole, first, again = model(), model(), model()
    run = fit(whole, digits, how(3))
    fit(first, digits, how(1), checkpoint=tmp_path / "run.pt")
    fit(again, digits, how(3), checkpoint=tmp_path / "run.pt")
    assert {p.device.type for p in whole.parameters()} == {"cuda"}
    assert run.test_accuracy[-1] > 0.5
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(again), strict=True))


# Data and augmentation ---------------------------------------------------------------------------------------------


def test_standardised_inputs_have_mean_zero_and_variance_one(digits):
    x = digits.ready(digits.inputs, torch.double)
    assert digits.inputs.dtype is torch.uint8
    n = x.numel()
    assert abs(x.mean()) < n * EPS
    assert abs(x.square().mean() - 1) < n * EPS
    plain = Data.load("digits", standardised=False)
    assert float(plain.ready(plain.inputs, torch.float).max()) == 1
    raw = linfa.data.load("digits").train_images.astype(float)
    assert np.allclose(x.numpy(), (raw - raw.mean()) / raw.std(), rtol=1e-12, atol=1e-12)


def test_channels_are_standardised_one_by_one():
    from linfa.nn.train.data import _moments

    x = torch.randint(0, 256, (50, 3, 4, 4), dtype=torch.uint8)
    mean, std = _moments(x)
    assert torch.allclose(mean.flatten(), x.double().mean((0, 2, 3)), rtol=1e-13)
    assert torch.allclose(std.flatten(), x.double().std((0, 2, 3), correction=0), rtol=1e-12)


@pytest.mark.parametrize("way", [Flip(), Crop(4), Crop(6, 2), Pad(1), Crop(5, 1)], ids=repr)
def test_a_varied_image_is_what_its_numbers_say(way):
    x = torch.randn(9, 2, 6, 6)
    u = torch.rand(9, way.numbers)
    for image, numbers, out in zip(x, u, way.varied(x, u), strict=True):
        assert torch.equal(out, slowly(way, image, numbers))


def slowly(way, image, numbers):
    if isinstance(way, Flip):
        return torch.stack([image[..., 5 - j] for j in range(6)], -1) if numbers[0] < 0.5 else image
    margin = way.margin if isinstance(way, Pad) else way.padding
    wide = torch.zeros(2, 6 + 2 * margin, 6 + 2 * margin)
    wide[:, margin : margin + 6, margin : margin + 6] = image
    if isinstance(way, Pad):
        return wide
    top, left = (math.floor(v * (6 + 2 * margin - way.size + 1)) for v in numbers.tolist())
    return wide[:, top : top + way.size, left : left + way.size]


def test_tests_see_the_middle():
    x = torch.arange(49.0).view(1, 1, 7, 7)
    assert torch.equal(Crop(3).plain(x), x[:, :, 2:5, 2:5])
    assert torch.equal(Crop(7, 4).plain(x), x)
    assert torch.equal(Flip().plain(x), x)
    assert Pad(2).plain(x).shape == (1, 1, 11, 11)


def test_variation_is_a_function_of_seed_and_step_and_place():
    x, ways = torch.randn(12, 1, 8, 8), (Flip(), Crop(8, 4))
    whole = vary(x, ways, 0, 5, slice(0, 12), 12)
    assert torch.equal(whole, vary(x, ways, 0, 5, slice(0, 12), 12))
    assert not torch.equal(whole, vary(x, ways, 0, 6, slice(0, 12), 12))
    assert not torch.equal(whole, vary(x, ways, 1, 5, slice(0, 12), 12))
    for rank in (0, 1, 2):
        at = slice(rank, 12, 3)
        assert torch.equal(whole[at], vary(x[at], ways, 0, 5, at, 12))


def test_flips_and_crops_are_evenly_spread():
    n = 20000
    x = torch.zeros(n, 1, 1, 9) + torch.arange(9.0)
    flipped = vary(x, (Flip(),), 0, 0, slice(0, n), n)[:, 0, 0, 0].eq(8).sum().item()
    # A binomial count lies within 6 standard deviations but for a probability of 2e-9.
    assert abs(flipped - n / 2) < 6 * math.sqrt(n / 4)
    square = torch.arange(9.0).expand(n, 1, 9, 9)
    lefts = vary(square, (Crop(1),), 0, 0, slice(0, n), n).flatten().long()
    counts = torch.bincount(lefts, minlength=9)
    assert (counts - n / 9).abs().max() < 6 * math.sqrt(n / 9)


def test_images_are_trained_on_varied_and_tested_on_plain():
    data, seen = toy_images(), {True: set(), False: set()}
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    model.register_forward_hook(lambda m, i, o: seen[m.training].add(tuple(i[0].shape[1:])))
    sizes = []
    model.register_forward_hook(lambda m, i, o: sizes.append(float(i[0].abs().sum())))
    fit(model, data, Training(SGD(0.01), epochs=3, batch=6, augmentation=(Flip(), Crop(4, 1))))
    assert seen == {True: {(1, 4, 4)}, False: {(1, 4, 4)}}
    # Tests see the whole images each time, training crops cut some of them.
    whole = float(data.test_inputs.sum())
    assert sizes.count(pytest.approx(whole, rel=1e-6)) == 3
    assert min(sizes) < whole


def toy_images(n=6):
    x = torch.rand(n, 1, 4, 4) + 0.1
    return Data(x, torch.arange(n) % 2, x, torch.arange(n) % 2)


def sentences(n=48, m=12):
    """Return sentences of four words out of seven, whose class is that of the first word."""
    words = torch.randint(0, 7, (n + m, 4), generator=torch.Generator().manual_seed(0))
    return Data(words[:n], words[:n, 0] % 3, words[n:], words[n:, 0] % 3)


def reader(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = [nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 3)]
    return convert(nn.Sequential(*layers), "fa", backprop=["0"])


def test_whole_numbers_reach_an_embedding_as_they_are():
    data, model, twin = sentences(), reader(), reader()
    start = model[0].weight.detach().clone()
    run = fit(model, data, Training(SGD(0.1), epochs=60, batch=8, seed=3))
    loss = nn.functional.cross_entropy
    by_hand(twin, data, lambda p, lr: torch.optim.SGD(p, lr=lr), lambda epoch: 0.1, 60, 8, 3, loss)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), weights(twin), strict=True))
    assert not torch.equal(start, model[0].weight)
    # By chance, 48 answers of three are all but four right with a probability below 1e-16.
    assert run.accuracy[-1] > 1 - 5 / 48


def test_an_embedding_is_refused_with_how_to_leave_it_to_backprop():
    with pytest.raises(
        InputError, match=r"^0 \(Embedding\) has parameters that no rule can serve .*name it in backprop="
    ):
        convert(nn.Sequential(nn.Embedding(7, 5), nn.Flatten(), nn.Linear(20, 3)), "fa")


def test_whole_numbers_with_a_mean_are_numbers_and_bytes_are_images():
    words = sentences()
    scaled = dataclasses.replace(words, mean=torch.tensor(3.0), std=torch.tensor(2.0))
    assert torch.equal(scaled.ready(words.inputs, torch.double), (words.inputs.double() - 3) / 2)
    assert words.ready(words.inputs.byte(), torch.double).dtype is torch.double
    with pytest.raises(
        InputError, match=r"Linear\(in_features=4, .* was given \(4,\) .*: give inputs of the size and kind"
    ):
        fit(nn.Linear(4, 3), words, Training(SGD(0.1), epochs=1))


def test_data_describe_what_they_hold():
    a, b, c = toy(seed=0), toy(seed=0), toy(seed=1)
    assert a.described() == b.described()
    assert a.described()["inputs"] != c.described()["inputs"]


# The constraint ----------------------------------------------------------------------------------------------------


def test_held_norms_are_held_and_training_is_not_frozen(digits):
    def trained(held):
        model = convert(models.make("mlp", widths=(64, 32, 10)), "fa")
        before = {n: l.weight.detach().clone() for n, l in fed_layers(model).items()}
        run = fit(model, digits, Training(SGD(0.05, momentum=0.9), epochs=2, batch=64, held_norms=held))
        return before, {n: l.weight.detach() for n, l in fed_layers(model).items()}, run

    before, after, run = trained(True)
    for name, W in after.items():
        ratio = float(W.norm() / before[name].norm())
        # One product of 2048 numbers at most per norm, two norms, and one product more.
        assert abs(ratio - 1) < 4100 * torch.finfo(torch.float).eps
        cosine = float((W * before[name]).sum() / (W.norm() * before[name].norm()))
        assert cosine < 0.99
    assert run.test_accuracy[-1] > 0.5
    before, after, _ = trained(False)
    assert any(abs(float(after[n].norm() / before[n].norm()) - 1) > 0.01 for n in after)


def test_a_weight_that_is_zero_has_no_norm_to_hold():
    layer = nn.Linear(2, 2)
    nn.init.zeros_(layer.weight)
    with pytest.raises(InputError, match="its weight is zero at the start"):
        HeldNorms(nn.Sequential(layer))


def test_a_run_that_cannot_be_made_lets_go_of_the_model():
    model = net("kp")
    nn.init.zeros_(model.fc1.weight)
    with pytest.raises(InputError, match="its weight is zero at the start"):
        fit(model, toy(), Training(SGD(0.1), epochs=1, held_norms=True))
    assert not model.fc2.feedback.followed


# Watching ----------------------------------------------------------------------------------------------------------


class Counting:
    def __init__(self, every):
        self.every, self.steps = every, []

    def log(self, step):
        self.steps.append(step)
        return {"number": step, "square": torch.tensor([step, step**2])}

    def state_dict(self):
        return {"steps": self.steps}

    def load_state_dict(self, state):
        self.steps = state["steps"]


def test_watchers_are_asked_when_they_want_to_be_and_at_the_end():
    made = []

    def counting(trained):
        made.append(Counting(4))
        return made[0]

    run = fit(net(), toy(), Training(SGD(0.1), epochs=2, batch=5), watch={"count": counting})
    assert made[0].steps == [4, 8, 10]
    assert run.dataset["count_step"].values.tolist() == [4, 8, 10]
    assert run.dataset["count_number"].values.tolist() == [4, 8, 10]
    assert run.dataset["count_square"].values.tolist() == [[4, 16], [8, 64], [10, 100]]


def test_the_name_of_the_axis_cannot_be_logged():
    class Bad(Counting):
        def log(self, step):
            return {"step": step}

    with pytest.raises(InputError, match="under the name 'step'"):
        fit(net(), toy(), Training(SGD(0.1), epochs=1), watch={"bad": lambda trained: Bad(1)})


def test_what_cannot_be_kept_cannot_watch():
    with pytest.raises(InputError, match=r"the watcher 'laws' has every, log\(step\), state_dict"):
        fit(net(), toy(), Training(SGD(0.1), epochs=1), watch={"laws": lambda trained: object()})


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("rule", ["bp", "fa", "dfa", "frsf", "kp"])
@pytest.mark.parametrize("dtype", [torch.float, torch.double], ids=str)
def test_laws_are_accounted_for_to_rounding_while_training(rule, dtype):
    data, steps = toy(n=64, dtype=dtype), 40
    sgd = SGD(linfa.StepDecay(0.05, (3,)), momentum=0.9, decay=1e-2)
    run = fit(net(rule, dtype=dtype), data, Training(sgd, epochs=5, batch=8), watch={"laws": Laws(10)})
    assert run.dataset["laws_step"].values.tolist() == [10, 20, 30, 40]
    assert float(run.dataset["laws_drift"][-1].max()) > 1e-3
    # A weight is rounded at every step.
    assert float(run.dataset["laws_units"].max()) < 1 + steps
    assert "stays put" in run.reports["laws"]
    assert run.dataset["laws_residual"].sizes["laws_residual_place"] == 2


@pytest.mark.usefixtures("as_users_run_it")
def test_held_norms_break_the_laws_and_the_account_says_so():
    training = Training(SGD(0.05), epochs=2, batch=8, held_norms=True)
    run = fit(net(), toy(), training, watch={"laws": Laws(2)})
    assert float(run.dataset["laws_units"][-1].max()) > 1e6
    assert "changed outside of the optimiser's steps" in run.reports["laws"]


def test_there_is_no_account_under_adam():
    with pytest.raises(linfa.NoLawError, match="Adam divides by a running mean of squared gradients"):
        fit(net(), toy(), Training(Adam(), epochs=1), watch={"laws": Laws()})


def test_monitors_are_read_layer_by_layer():
    watch = {"m": Monitored((WeightAngle(), Spectrum()), every=3)}
    run = fit(net("bp"), toy(), Training(SGD(0.1), epochs=1, batch=4), watch=watch)
    angle = run.dataset["m_weight_angle"]
    assert angle.dims == ("m_step", "m_weight_angle_place")
    assert angle["m_weight_angle_place"].values.tolist() == ["fc1", "fc2", "fc3"]
    # cos⁻¹ of 1 − 2 eps.
    assert float(abs(angle).max()) < 1e-7
    assert run.dataset["m_spectrum_fc3"].shape == (2, 3)


# Feedback that is off ----------------------------------------------------------------------------------------------


def test_feedback_that_falls_back_to_backprop_is_not_trained(monkeypatch):
    """The field's signature bug, made on purpose: the layer reports a B that it does not use."""
    model = net()
    fit(model, toy(), Training(SGD(0.1), epochs=1))
    monkeypatch.setattr(type(model.fc2), "through", lambda self, h, B: self.truly(h))
    before = weights(model)
    with pytest.raises(InactiveFeedbackError, match="does not send back what its rule"):
        fit(model, toy(), Training(SGD(0.1), epochs=1))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_a_layer_left_switched_to_true_gradients_is_found():
    model = net()
    model.fc2.true = True
    with pytest.raises(InactiveFeedbackError, match="fc2 is switched to true gradients"):
        fit(model, toy(), Training(SGD(0.1), epochs=1))


@pytest.mark.parametrize("rule", ["brsf", "kp", "mirror"])
def test_making_sure_of_feedback_changes_nothing(monkeypatch, rule):
    a, b, checks = net(rule), net(rule), []
    fit(a, toy(), Training(SGD(0.1), epochs=2, batch=8))
    monkeypatch.setattr("linfa.nn.train.checks.assert_feedback_active", lambda *_: checks.append(1))
    fit(b, toy(), Training(SGD(0.1), epochs=2, batch=8))
    assert checks == [1]
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


# What goes wrong ---------------------------------------------------------------------------------------------------


def test_divergence_names_the_step_and_the_first_layer():
    model = net()
    model.fc2.weight.data[0, 0] = math.inf
    with pytest.raises(DivergenceError, match=r"at step 1 \(epoch 1\): the parameter 'fc2.weight' is not finite"):
        fit(model, toy(), Training(SGD(0.1), epochs=1))
    model = net()
    model.fc2.weight.data *= 1e200
    model.fc3.weight.data *= 1e200
    before = weights(model)
    with pytest.raises(DivergenceError, match=r"the output of 'fc3' \(Linear\) is the first that is not finite"):
        fit(model, toy(), Training(SGD(0.1), epochs=1))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_too_large_a_rate_is_found_out_and_named():
    with pytest.raises(DivergenceError, match=r"lower the learning rate \(now 1e\+150\)") as found:
        fit(net("bp"), toy(), Training(SGD(1e150), epochs=5, batch=4))
    assert "not finite" in str(found.value)


def test_what_the_last_step_broke_is_found_in_the_test():
    # One step per epoch, so that the test is the first to see the new weights.
    with pytest.raises(DivergenceError, match="in the test after step 1: "):
        fit(net("bp"), toy(), Training(SGD(1e200), epochs=1, batch=24))


def test_the_first_offender_is_looked_for_in_the_order_of_the_forward_pass():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.Linear(2, 2))
    x = torch.ones(3, 2)
    assert first_offender(model, x) == "every layer is finite, the loss of the outputs is not"
    assert first_offender(model, x * math.nan) == "the batch itself is not finite"
    model[2].bias.data[0] = math.nan
    model[1].weight.data[0] = math.nan
    assert first_offender(model, x) == "the parameter '1.weight' is not finite"
    deep = models.resnet(8)
    deep.stage2[0].conv2.weight.data[0] = math.nan
    assert first_offender(convert(deep, "fa"), torch.ones(2, 3, 8, 8)) == (
        "the parameter 'stage2.0.conv2.weight' is not finite"
    )


@pytest.mark.parametrize("rule", ["fa", "dfa", "fa-dense", "drtp"])
def test_the_first_offender_is_a_layer_and_not_its_feedback(rule):
    model = net(rule)
    model.fc2.weight.data *= 1e200
    x = 1e200 * torch.ones(2, 5, dtype=torch.double)
    assert first_offender(model, x) == "the output of 'fc2' (Linear) is the first that is not finite"


def regression(outputs, *shape, test=None, rate=0.1):
    """Train a net with so many outputs on targets of a shape, by the squared loss."""
    x, y = torch.randn(8, 5, dtype=torch.double), torch.zeros(8, *shape, dtype=torch.double)
    other = torch.zeros(8, *(shape if test is None else test), dtype=torch.double)
    training = Training(SGD(rate), epochs=1, batch=4, loss=Squared())
    return fit(net(widths=(5, 4, outputs)), Data(x, y, x, other), training)


@pytest.mark.parametrize(
    ("outputs", "shape", "test", "message"),
    [
        (1, (), None, r"the targets of \(8, 1\) outputs have the shape \(8,\)"),
        (10, (1,), None, r"the targets of \(8, 10\) outputs have the shape \(8, 1\)"),
        (2, (2,), (1,), r"the targets of \(8, 2\) outputs have the shape \(8, 1\)"),
    ],
)
def test_targets_of_another_shape_than_the_outputs_are_not_spread_over_them(outputs, shape, test, message):
    # The second step would diverge, and tests come after it: targets are looked at before the first.
    with pytest.raises(InputError, match=message):
        regression(outputs, *shape, test=test, rate=1e300)
    assert regression(outputs, outputs).loss.size == 1  # the control


def test_a_loss_by_itself_refuses_targets_of_another_shape():
    for f, y in (((4, 1), (4,)), ((4, 3), (4, 1))):
        with pytest.raises(InputError, match=r"outputs have the shape \(4"):
            Squared()(torch.zeros(f), torch.zeros(y))
        with pytest.raises(InputError, match=r"outputs have the shape \(4"):
            CrossEntropy()(torch.zeros(f), torch.zeros(y))


@pytest.mark.parametrize("rule", ["fa", "drtp"])
@pytest.mark.parametrize("loss", [CrossEntropy(), Squared()], ids=repr)
@pytest.mark.parametrize(
    ("classes", "shift", "message"),
    [
        (4, 0, "the training labels run from 0 to 3, but the model has 3 outputs"),
        (3, -1, "the training labels run from -1 to 1, but the model has 3 outputs"),
    ],
)
def test_labels_that_no_output_stands_for_are_refused_at_the_start(rule, loss, classes, shift, message):
    data = toy(n=60, classes=classes)
    data = Data(data.inputs, data.targets + shift, data.test_inputs, data.test_targets.clamp(max=2))
    model = net(rule)
    before = weights(model)
    with pytest.raises(InputError, match=message):
        fit(model, data, Training(SGD(0.1), epochs=1, loss=loss))
    assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))


def test_test_labels_that_no_output_stands_for_are_refused_at_the_start():
    data = toy()
    data = Data(data.inputs, data.targets, data.test_inputs, data.test_targets + 5)
    with pytest.raises(InputError, match=r"the test labels run from \d to \d, but the model has 3 outputs"):
        fit(net(), data, Training(SGD(0.1), epochs=1))


@pytest.mark.usefixtures("as_users_run_it")
def test_whole_numbers_of_numpy_are_whole_numbers():
    plain = fit(net(), toy(), Training(SGD(0.1), epochs=2, batch=5, seed=3))
    numbers = {name: np.int64(n) for name, n in {"epochs": 2, "batch": 5, "seed": 3}.items()}
    assert fit(net(seed=0), toy(), Training(SGD(0.1), **numbers)).dataset.identical(plain.dataset)
    assert seed_of(np.int64(3), "order") == seed_of(3, "order")


def test_a_model_with_nothing_to_train_is_refused():
    training, frozen = Training(SGD(0.1), epochs=1), net().requires_grad_(False)
    with pytest.raises(InputError, match="the model has no parameters: there is nothing to train"):
        fit(nn.Flatten(), toy(), training)
    with pytest.raises(InputError, match="all 6 parameters of the model are frozen: there is nothing to train"):
        fit(frozen, toy(), training)
    frozen.fc3.requires_grad_()
    assert fit(frozen, toy(), training).loss.size == 1


def slip(model=None, data=None, training=None, **options):
    """Call fit with something in the wrong place."""
    return fit(model or net(), data or toy(), training or Training(SGD(0.1), epochs=1), **options)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SGD(0.1, momentum=1.0), "momentum must satisfy"),
        (lambda: SGD(-0.1), "a learning rate must be finite and > 0"),
        (lambda: SGD(0.1, decay=-1.0), "decay must be finite and ≥ 0"),
        (lambda: Adam(0.1, betas=(0.9, 1.0)), "betas must satisfy"),
        (lambda: Training(SGD(0.1), epochs=1, batch=0), "epochs and batch must be whole numbers"),
        (lambda: Training(SGD(0.1), epochs=1, amp=torch.float64), "amp is torch.bfloat16"),
        (lambda: CrossEntropy(1.0), "smoothing must satisfy"),
        (lambda: Laws(0), "every must be a whole number ≥ 1; got 0"),
        (lambda: Monitored((), 0), "every must be a whole number ≥ 1; got 0"),
        (lambda: Pad(0), "a margin is a whole number"),
        (lambda: Pad(1.5), "a margin is a whole number ≥ 1; got 1.5"),
        (lambda: Crop(2, 0.5), "whole numbers; got 2 and 0.5"),
        (lambda: Laws(1.5), "every must be a whole number ≥ 1; got 1.5"),
        (
            lambda: Monitored(WeightAngle()),
            r"monitors are objects in a list or tuple, such as \[WeightAngle\(\)\]; got",
        ),
        (lambda: Monitored((WeightAngle,)), "monitors are objects in a list or tuple, .*; got .*class"),
        (lambda: Training(SGD(0.1), epochs=1.5), "must be whole numbers ≥ 1; got 1.5 and 128"),
        (lambda: Training(SGD(0.1), epochs=True), "must be whole numbers ≥ 1; got True and 128"),
        (lambda: Training(SGD(0.1), epochs=1, seed="a"), "a seed is a whole number; got 'a'"),
        (lambda: convert(nn.Linear(2, 2), "fa", seed=0.5), "a seed is a whole number; got 0.5"),
        (lambda: Training("sgd", epochs=1), r"such as optimiser=SGD\(0.1\); got 'sgd' there"),
        (lambda: Training(SGD(0.1), 1, loss=nn.MSELoss()), r"such as loss=CrossEntropy\(\); got MSELoss\(\) there"),
        (lambda: Training(SGD(0.1), 1, augmentation=Flip()), r"a tuple of ways, such as .*; got Flip\(\)"),
        (lambda: CrossEntropy("a"), "0 ≤ s < 1; got 'a'"),
        (lambda: slip(data=(torch.ones(1, 1),) * 4), r"in this order; got tuple where Data\(…\) was needed"),
        (lambda: slip(training=SGD(0.1)), r"in this order; got SGD where Training\(…\) was needed"),
        (lambda: slip(model="mlp"), "in this order; got str where a torch module was needed"),
        (lambda: slip(watch=Laws()), r"by name, watch=\{'laws': Laws\(\)\}; got Laws\(every=50\)"),
        (lambda: slip(watch=[Laws()]), "who looks on is given by name, .*; got .Laws"),
        (lambda: slip(watch={"laws": Laws}), "a name goes with what makes a watcher, .*; got .'laws': <class"),
        (lambda: slip(watch={"angle": WeightAngle()}), "a name goes with what makes a watcher, .*; got .'angle': <"),
        (lambda: slip(checkpoint_every=1.5), "a number of steps ≥ 1, or None; got 1.5"),
        (lambda: slip(training=Training(SGD(0.1), 1, augmentation=(Flip(),))), r"shape \(N, C, H, W\); the inputs are"),
        (lambda: Data(*[np.ones((1, 1))] * 4), r"data are tensors; inputs is of type ndarray: give torch.as_tensor"),
        (lambda: Crop(0), "a crop has a size"),
        (lambda: Crop(9).plain(torch.zeros(1, 1, 8, 8)), "a crop of 9 was asked for from an image with a side of 8"),
        (lambda: Data(torch.zeros(2, 1), torch.zeros(3), torch.zeros(1, 1), torch.zeros(1)), "got 2 samples and 3"),
        (
            lambda: Data(torch.ones(1, 1), torch.zeros(1), torch.full((1, 1), math.nan), torch.zeros(1)),
            "the test samples hold nan or inf",
        ),
        (
            lambda: Data(torch.ones(1, 1), torch.full((1,), math.nan), torch.ones(1, 1), torch.zeros(1)),
            "the training targets hold nan or inf",
        ),
        (
            lambda: Data(torch.ones(1, 1), torch.zeros(1), torch.ones(1, 1), torch.full((1,), math.inf)),
            "the test targets hold nan or inf",
        ),
        (lambda: Data.load("svhn"), "there is no image set 'svhn'"),
    ],
)
def test_what_cannot_be_used_is_refused(make, message):
    with pytest.raises(InputError, match=message):
        make()


# History and command line ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("as_users_run_it")
def test_a_history_is_saved_and_loaded_without_loss(tmp_path):
    run = fit(net(), toy(), Training(SGD(0.1), epochs=2, batch=8), watch={"laws": Laws(2)})
    again = History.load(run.save(tmp_path / "run.nc"))
    assert again.dataset.identical(run.dataset)
    assert again.reports == run.reports
    assert again.provenance["training"]["optimiser"] == {
        "type": "SGD",
        "learning_rate": 0.1,
        "momentum": 0.0,
        "decay": 0.0,
    }
    assert set(again.provenance["rules"].values()) == {"fa"}
    assert repr(again).startswith("fa: 2 epochs, 6 steps\n  learning_rate 0.1\n")


@pytest.mark.usefixtures("as_users_run_it")
def test_the_command_line_trains_and_prints_the_laws(capsys, tmp_path):
    out = str(tmp_path / "run.nc")
    main(["--widths", "16", "--epochs", "1", "--laws", "5", "--rule", "fa", "--device", "cpu", "--out", out])
    told = capsys.readouterr().out
    assert told.startswith("fa: 1 epochs, 12 steps")
    assert "stays put, 16 channels" in told
    assert History.load(out).test_accuracy.shape == (1,)


def test_the_command_line_makes_what_was_asked_for():
    given = ["--model", "resnet20", "--rule", "usf", "--optimiser", "adam", "--milestones", "3", "4", "--augment"]
    more = [
        "--held-norms",
        "--precision",
        "bfloat16",
        "--xavier",
        "--backprop",
        "fc",
        "--epochs",
        "7",
        "--decay",
        "1e-4",
    ]
    model, data, training = prepared(parser().parse_args(given + more), torch.device("cpu"))
    assert training == Training(
        Adam(linfa.StepDecay(0.01, (3, 4)), decay=1e-4),
        epochs=7,
        augmentation=(Flip(), Crop(8, 4)),
        amp=torch.bfloat16,
        held_norms=True,
    )
    assert {layer.feedback.rule for layer in fed_layers(model).values()} == {"usf"}
    assert len(fed_layers(model)) == 19
    assert len(data) == 1437


SIZES = {
    "small images": (
        ["--model", "lenet-mnist"],
        r"^lenet-mnist is made for images of 32×32, and those of digits are 1×8×8",
    ),
    "a crop": (["--model", "moskovitz"], "a crop of 24 was asked for from an image with a side of 8"),
    "pools": (["--model", "vgg", "--rule", "dfa"], "^vgg is made for images of 32×32, and those of digits are 1×8×8"),
    "widths": (["--widths", "0"], "widths are whole numbers ≥ 1"),
    "no device": (["--device", "gpu"], "torch knows no device 'gpu': give 'cpu', 'cuda', 'cuda:1', …, or none"),
    "no such device": (["--device", "cuda:99"], "there is no device 'cuda:99' here: what torch finds is cpu"),
    "no numbers": (["--device", "meta"], "there is no device 'meta' here: what torch finds is cpu"),
}


@pytest.mark.parametrize("name", SIZES)
def test_the_command_line_says_what_does_not_fit(name):
    given, message = SIZES[name]
    with pytest.raises(InputError, match=message) as found:
        main(["--epochs", "1", *given])
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "given", [["--model", "lenet-mnist", "--device", "cpu"], ["--device", "gpu"], ["--layers", "3"]]
)
def test_the_program_ends_with_2_and_a_sentence_where_it_was_asked_for_what_cannot_be(given):
    made = subprocess.run(
        [sys.executable, "-m", "linfa.nn.train", *given], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert made.returncode == 2
    assert "Traceback" not in made.stderr
    assert given[1] in made.stderr.splitlines()[-1]
    assert not made.stdout


def test_a_model_that_is_made_for_other_inputs_is_refused_before_the_first_step():
    data, training = toy_images(), Training(SGD(0.1), epochs=1)
    conv, flat = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    large = nn.Sequential(OrderedDict(conv=nn.Conv2d(1, 2, 5), flat=nn.Flatten()))
    for model, message in (
        (conv, r"inputs of the shape \(1, 4, 4\): its layer '0', Conv2d\(3, 2, .*was given \(1, 4, 4\) \(.*3 channels"),
        (
            flat,
            r"its layer '1', Linear\(in_features=48, .*was given \(16,\) .*: give inputs of the size and kind",
        ),
        (large, r"its layer 'conv', Conv2d\(1, 2, kernel_size=\(5, 5\).*Kernel size can't be greater"),
        (nn.Linear(5, 2), r"the shape \(1, 4, 4\): Linear\(in_features=5, .* was given \(1, 4, 4\)"),
    ):
        before = weights(model)
        with pytest.raises(InputError, match=message):
            fit(model, data, training)
        assert all(torch.equal(a, b) for a, b in zip(before, weights(model), strict=True))
        assert not model._forward_pre_hooks
    assert fit(nn.Sequential(nn.Flatten(), nn.Linear(16, 2)), data, training).loss.size == 1  # the control


def test_the_command_line_refuses_a_rule_that_does_not_exist(capsys):
    with pytest.raises(SystemExit):
        main(["--rule", "hebb"])
    assert "invalid choice: 'hebb'" in capsys.readouterr().err
