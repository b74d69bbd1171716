"""The ledger of a training run: at rounding for everything that SGD does, far off for whatever it is not told."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from linfa.errors import DivergenceError, InputError, NoLawError
from linfa.nn import convert, fed_layers, follow
from linfa.nn.book import Book
from linfa.nn.ledger import LawLedger
from linfa.nn.monitors import DynamicDominance, Monitors
from linfa.nn.streams import laws
from linfa.rules.potential import Potential
from tests.nn.graphs import GRAPHS, RULES, batches, loss_of, made
from tests.tolerance import rounding

pytestmark = pytest.mark.usefixtures("single_thread", "unchecked_for_speed")

STEPS = 200
SGD = torch.optim.SGD


class Run:
    """A model in training, with its ledger."""

    def __init__(self, graph, rule, dtype=torch.double, groups=None, seed=0, device="cpu", **how):
        how = {"lr": 0.02, "momentum": 0.9, "weight_decay": 1e-3} | how
        self.data = [(x.to(device), y.to(device)) for x, y in batches(3, dtype)]
        self.model = convert(made(graph, dtype, seed).to(device), rule, example=self.data[0][0])
        parameters = self.model.parameters() if groups is None else groups(self.model)
        self.optimizer = SGD(parameters, **how)
        self.beside = follow(self.model, self.optimizer)
        self.streams = laws(self.model, self.data[0][0])
        self.ledger = LawLedger(self.streams, self.optimizer, self.beside)
        self.done = 0

    def gradients(self):
        x, y = self.data[self.done % len(self.data)]
        self.optimizer.zero_grad()
        loss_of(y)(self.model(x)).backward()

    def train(self, steps, between=lambda run: None):
        for _ in range(steps):
            self.gradients()
            between(self)
            self.optimizer.step()
            self.done += 1
        return self

    def worst(self):
        """Return the largest residual over its bound, and over the drift."""
        entries = self.ledger.read()
        dtype = np.float32 if self.data[0][0].dtype == torch.float else np.float64
        bounds = [float(rounding(self.done + 1, e.scale, dtype)) for e in entries]
        drift = max(e.drift for e in entries)
        return max(e.residual / b for e, b in zip(entries, bounds, strict=True)), max(
            e.residual for e in entries
        ) / drift


CASES = [(graph, "fa") for graph in GRAPHS] + [(graph, rule) for graph in ("mlp", "resnet") for rule in RULES[1:]]
CASES = [*dict.fromkeys(CASES), ("densenet", "bp"), ("preactivated", "usf"), ("densenet", "dfa")]


@pytest.mark.parametrize(("graph", "rule"), CASES)
def test_every_step_is_accounted_for(graph, rule):
    over_bound, over_drift = Run(graph, rule).train(STEPS).worst()
    assert over_bound < 1
    assert over_drift < 1e-11


@pytest.mark.parametrize(("graph", "rule"), [(graph, "fa") for graph in GRAPHS] + [("resnet", "usf"), ("resnet", "kp")])
def test_every_step_is_accounted_for_in_single_precision(graph, rule):
    over_bound, over_drift = Run(graph, rule, torch.float).train(STEPS).worst()
    assert over_bound < 1
    assert over_drift < 1e-2


@pytest.mark.parametrize(
    "how",
    [
        {"momentum": 0.0, "weight_decay": 0.0},
        {"momentum": 0.0},
        {"weight_decay": 0.0},
        {"dampening": 0.3},
        {"nesterov": True},
        {"nesterov": True, "weight_decay": 0.0},
        {"foreach": True},
        {"fused": True},
        {"maximize": True, "lr": 1e-3},
    ],
)
@pytest.mark.parametrize("graph", ["resnet", "mlp"])
def test_every_option_of_sgd_is_accounted_for(graph, how):
    over_bound, over_drift = Run(graph, "fa", **how).train(60).worst()
    assert over_bound < 1
    assert over_drift < 1e-10


def by_layer(model):
    """Return parameter groups with rates and decays of their own."""
    return [
        {"params": list(m.parameters(recurse=False)), "lr": 0.01 * (1 + i % 3), "weight_decay": 1e-3 * (i % 2)}
        for i, m in enumerate(m for m in model.modules() if list(m.parameters(recurse=False)))
    ]


@pytest.mark.parametrize(("graph", "rule"), [("resnet", "fa"), ("mlp", "kp"), ("mlp", "dfa"), ("lenet", "usf")])
def test_layers_may_have_rates_and_decays_of_their_own(graph, rule):
    run = Run(graph, rule, groups=by_layer).train(60)
    over_bound, over_drift = run.worst()
    assert over_bound < 1
    assert over_drift < 1e-10
    assert run.ledger.restarts == 0


def test_schedules_of_all_rates_change_nothing_and_of_one_begin_anew():
    run = Run("mlp", "fa", groups=by_layer).train(20)
    for group in run.optimizer.param_groups:
        group["lr"] *= 0.1
    run.train(20)
    assert run.ledger.restarts == 0
    assert run.worst()[0] < 1
    run.optimizer.param_groups[0]["lr"] *= 2
    run.train(20)
    assert run.ledger.restarts == 1
    assert "changed 1 times" in run.ledger.report()
    assert run.worst()[0] < 1


def test_a_rate_of_zero_for_one_of_a_law_s_layers_is_refused():
    run = Run("mlp", "fa", groups=by_layer).train(2)
    run.optimizer.param_groups[1]["lr"] = 0.0
    with pytest.raises(NoLawError, match=r"learning rate of 3.weight is 0"):
        run.train(1)


def test_signs_that_flip_are_accounted_for(monkeypatch):
    def flipped(run):
        before = [layer.weight.detach().sign() for layer in fed_layers(run.model).values()]
        run.train(60)
        after = [layer.weight.detach().sign() for layer in fed_layers(run.model).values()]
        return sum(int((a != b).sum()) for a, b in zip(before, after, strict=True))

    run = Run("mlp", "frsf", lr=0.1)
    assert flipped(run) > 50
    assert run.worst()[0] < 1
    monkeypatch.setattr(Potential, "defect", lambda self, w, u: self.alpha * u * u / 2)
    run = Run("mlp", "frsf", lr=0.1)
    assert flipped(run) > 50
    assert run.worst()[0] > 1e8


@pytest.mark.parametrize(
    ("option", "rule"), [("momentum", "fa"), ("weight_decay", "fa"), ("weight_decay", "bp"), ("momentum", "usf")]
)
@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_a_ledger_that_is_not_told_of_momentum_or_decay_leaves_a_residual(option, rule, dtype, monkeypatch):
    from linfa.nn import book

    known = book.known_parts
    monkeypatch.setattr(book, "known_parts", lambda group, v, s: known(group | {option: 0.0}, v, s))
    over_bound, over_drift = Run("mlp", rule, dtype, weight_decay=1e-2).train(60).worst()
    assert over_bound > 50
    assert over_drift > 1e-3


def test_a_ledger_that_forgets_the_second_order_or_the_leaks_leaves_a_residual(monkeypatch):
    monkeypatch.setattr(Book, "_bend", lambda self, s, u: None)
    assert Run("mlp", "fa").train(60).worst()[0] > 1e8
    monkeypatch.undo()
    for rule, graph in (("dfa", "mlp"), ("fa", "vgg")):
        run = Run(graph, rule)
        run.streams.leaks.clear()
        assert run.train(60).worst()[0] > 1e6


def test_the_account_is_the_scalar_recursion_of_the_theory():
    """D3: d ← μ(d + η‖v‖²) − λ(‖W‖² − ⟨B, W⟩); Q changes by ηd + ½η²‖v⁺‖²; here for one neuron of an MLP under FA."""
    η, μ, λ, k = 0.02, 0.9, 1e-3, 2
    run = Run("mlp", "fa")
    first, second = run.model[1], run.model[3]

    def incoming():
        return torch.cat([first.weight.detach()[k], first.bias.detach()[k : k + 1]])

    def traded():
        return float(second.feedback.B[:, k] @ second.weight.detach()[:, k])

    v, d, account = torch.zeros(129, dtype=torch.double), 0.0, 0.0
    for _ in range(50):
        before, kept = incoming(), traded()
        run.train(1)
        d = μ * (d + η * float(v @ v)) - λ * (float(before @ before) - kept)
        v = (incoming() - before) / η
        account += η * d + η**2 * float(v @ v) / 2
    assert abs(account - float(run.ledger.account[k])) <= rounding(50 * 200, run.ledger.read()[0].scale)
    assert abs(account) > 1e-3


# What it will not keep ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (torch.optim.Adam, "Adam divides by a running mean of squared gradients"),
        (torch.optim.AdamW, "AdamW divides"),
        (torch.optim.RMSprop, "RMSprop divides"),
        (torch.optim.Adagrad, "Adagrad divides"),
        (torch.optim.Rprop, "Rprop follows the signs"),
        (torch.optim.LBFGS, "LBFGS multiplies by an estimate"),
        (type("LARS", (SGD,), {}), "LARS scales every layer"),
        (type("Mine", (SGD,), {}), "Mine is not known to move by a multiple of the gradient"),
    ],
)
def test_other_optimisers_are_refused_by_name(kind, why):
    model = convert(made("mlp"), "fa")
    with pytest.raises(NoLawError, match=why):
        LawLedger(laws(model, batches(1)[0][0]), kind(model.parameters(), lr=0.01))


def test_a_model_without_laws_is_refused_with_the_reasons():
    model = convert(made(lambda: GRAPHS["mlp"](nn.Tanh)), "fa")
    with pytest.raises(InputError, match="tanh is not positively homogeneous"):
        LawLedger(laws(model, batches(1)[0][0]), SGD(model.parameters(), lr=0.01))


def test_all_that_laws_are_read_on_must_be_in_the_optimiser():
    x = batches(1)[0][0]
    model = convert(made("mlp"), "fa")
    with pytest.raises(InputError, match=r"1.weight is not in the optimiser"):
        LawLedger(laws(model, x), SGD(list(model.parameters())[1:], lr=0.01))
    model = convert(made("mlp"), "kp")
    with pytest.raises(InputError, match=r"the feedback that learns beside 3.weight .* what linfa.nn.follow returned"):
        LawLedger(laws(model, x), SGD(model.parameters(), lr=0.01))


def test_up_and_down_at_once_closures_and_tensor_rates_are_refused():
    model = convert(made("mlp"), "fa")
    streams = laws(model, batches(1)[0][0])
    p = list(model.parameters())
    with pytest.raises(NoLawError, match="some down"):
        LawLedger(streams, SGD([{"params": p[:1], "maximize": True}, {"params": p[1:]}], lr=0.01))
    run = Run("mlp", "fa")
    with pytest.raises(InputError, match="without a closure"):
        run.optimizer.step(lambda: 0.0)
    run = Run("mlp", "fa", lr=torch.tensor(0.1), foreach=False)
    with pytest.raises(InputError, match="learning rate as a number"):
        run.train(1)


def test_a_change_outside_of_the_steps_is_reported():
    run = Run("mlp", "fa").train(3)
    assert run.ledger.changed_outside() == []
    with torch.no_grad():
        run.model[3].weight.mul_(0.9)
    run.train(1)
    assert run.ledger.changed_outside() == ["3.weight"]
    assert "changed outside of the optimiser's steps, which no account explains: 3.weight" in run.ledger.report()
    assert run.worst()[0] > 1e6


def test_clipping_the_whole_norm_is_harmless_and_clipping_numbers_is_seen():
    norm = Run("resnet", "fa").train(30, lambda run: nn.utils.clip_grad_norm_(run.model.parameters(), 0.1))
    assert norm.worst()[0] < 1
    value = Run("resnet", "fa").train(30, lambda run: nn.utils.clip_grad_value_(run.model.parameters(), 1e-3))
    assert value.worst()[0] > 1e6


def test_scaled_losses_are_harmless():
    run = Run("resnet", "fa", torch.float)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    for x, y in run.data * 10:
        run.optimizer.zero_grad()
        scaler.scale(loss_of(y)(run.model(x))).backward()
        scaler.step(run.optimizer)
        scaler.update()
        run.done += 1
    assert run.ledger.steps == 30
    assert run.worst()[0] < 1


def test_fused_steps_under_a_scaler_are_refused():
    """They unscale and skip inside: what momentum and decay are said to have done may not have been done."""
    run = Run("mlp", "fa", torch.float, fused=True)
    scaler = torch.amp.GradScaler("cpu")
    x, y = run.data[0]
    scaler.scale(loss_of(y)(run.model(x))).backward()
    with pytest.raises(InputError, match=r"under GradScaler .* take SGD\(fused=False\)"):
        scaler.step(run.optimizer)


@pytest.mark.parametrize("device", [d for d in ["cuda"] if torch.cuda.is_available()])
@pytest.mark.parametrize("rule", ["fa", "usf", "dfa"])
def test_every_step_is_accounted_for_on_a_gpu(device, rule):
    run = Run("resnet", rule, torch.float, device=device).train(60)
    over_bound, over_drift = run.worst()
    assert over_bound < 1
    assert over_drift < 1e-2


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_gradients_may_be_accumulated(rule):
    def once_more(run):
        x, y = run.data[(run.done + 1) % 3]
        loss_of(y)(run.model(x)).backward()

    run = Run("mlp", rule).train(30, once_more)
    assert run.worst()[0] < 1
    run = Run("vgg", rule).train(3, once_more)
    assert "several batches, or none, between two steps" in run.ledger.report()
    assert "in 1, 5, 9" in run.ledger.report()


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_monitors_that_are_read_between_do_not_disturb(rule):
    run = Run("resnet", rule)
    x, y = run.data[1]
    watch = Monitors(run.model, [DynamicDominance()], x, loss_of(y))
    run.train(20, lambda run: watch.read())
    assert run.worst()[0] < 1
    assert not run.ledger.leaks.unclear


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_copies_of_the_model_do_not_disturb(rule):
    run = Run("resnet", rule)

    def copied(run):
        x, _ = run.data[1]
        copy.deepcopy(run.model)(10 * x).sum().backward()

    run.train(5, copied)
    assert run.worst()[0] < 1
    assert not run.ledger.leaks.unclear


def test_a_layer_that_takes_no_part_in_a_step_stands_still():
    run = Run("mlp", "fa").train(3)
    run.optimizer.zero_grad()
    run.optimizer.step()
    assert run.worst()[0] < 1


def test_divergence_is_an_error():
    run = Run("mlp", "fa")
    with torch.no_grad():
        run.model[1].weight[0, 0] = math.nan
    with pytest.raises(DivergenceError, match=r"1.weight, 1.bias → 3.weight is not finite after 0 steps"):
        run.ledger.read()


def test_a_closed_ledger_looks_no_more():
    run = Run("resnet", "fa").train(2)
    run.ledger.close()
    run.train(2)
    assert run.ledger.steps == 2
    assert not any(m._forward_hooks for m in run.model.modules())


# Checkpoints -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["fa", "kp", "dfa"])
def test_a_run_that_goes_on_from_a_checkpoint_has_the_same_bits(rule, tmp_path):
    whole = Run("resnet", rule, torch.float, groups=by_layer).train(14)
    first = Run("resnet", rule, torch.float, groups=by_layer).train(6)
    parts = ("model", "optimizer", "beside", "ledger")
    kept = {p: getattr(first, p).state_dict() for p in parts if getattr(first, p) is not None}
    torch.save(kept, tmp_path / "checkpoint")
    second = Run("resnet", rule, torch.float, groups=by_layer, seed=5)
    for part, state in torch.load(tmp_path / "checkpoint", weights_only=True).items():
        getattr(second, part).load_state_dict(state)
    second.done = 6
    second.train(8)
    assert second.ledger.read() == whole.ledger.read()
    assert second.ledger.report() == whole.ledger.report()
    assert torch.equal(second.ledger.account, whole.ledger.account)


def test_a_checkpoint_of_other_laws_is_refused():
    with pytest.raises(InputError, match="it belongs to another model or rule"):
        Run("mlp", "fa").ledger.load_state_dict(Run("lenet", "fa").ledger.state_dict())


def test_nothing_is_waited_for_during_a_step():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Count(TorchDispatchMode):
        waited = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.waited += "_local_scalar_dense" in str(func) or "nonzero" in str(func)
            return func(*args, **(kwargs or {}))

    run = Run("resnet", "fa")
    with Count() as count:
        run.train(3)
    assert count.waited == 0
