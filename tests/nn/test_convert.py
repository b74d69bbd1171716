"""convert: what it keeps, what it changes, what it refuses, and what the field's naive way would have broken."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from linfa.errors import InputError
from linfa.nn import convert, fed_layers, restore, truth
from linfa.nn.feedback import check_shape
from linfa.nn.rules import REGISTRY, UniformSign
from linfa.nn.rules.feedback_alignment import Fixed
from tests.nn.strategies import RULES, SEEDED, apart, fed, gradients, mlp, normal, small_net

X = normal(3, 2, 8, 8, dtype=torch.float)


def test_the_old_model_is_untouched_and_the_new_one_has_its_weights():
    old = small_net()
    before = [type(m) for m in old]
    new = convert(old, "fa")
    assert [type(m) for m in old] == before
    assert torch.equal(new(X), old(X))
    assert all(isinstance(m, kind) for m, kind in zip(new, before, strict=True))
    assert {n for n, _ in new.named_parameters()} == {n for n, _ in old.named_parameters()}
    assert not {p.data_ptr() for p in new.parameters()} & {p.data_ptr() for p in old.parameters()}


def test_restore_gives_the_old_model_back():
    old = small_net()
    back = restore(fed(old, "dfa", X))
    assert [type(m) for m in back] == [type(m) for m in old]
    assert list(back.state_dict()) == list(old.state_dict())
    assert not back._forward_hooks
    assert not back._forward_hooks_always_called
    assert apart(gradients(back, X), gradients(old, X)) == 0


@pytest.mark.parametrize("rule", [*RULES, *SEEDED.values()], ids=str)
def test_copies_pickles_and_state_dictionaries_keep_the_feedback(rule):
    model = fed(small_net(), rule, X)
    gradients(model, X)  # brsf has drawn once
    model.eval()
    needed = gradients(model, X)
    loaded = fed(small_net(), rule, X, seed=99).eval()
    loaded.load_state_dict(model.state_dict(), strict=True)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), loaded):
        assert apart(gradients(other, X), needed) == 0


def test_a_naive_state_dictionary_loses_feedback_that_is_no_buffer():
    """Negative control: a plain attribute is not in the checkpoint, and the gradients differ."""

    class Naive(nn.Linear):
        def forward(self, h):
            through = nn.functional.linear(h, self.B)
            return nn.functional.linear(h.detach(), self.weight, self.bias) + through - through.detach()

    def make(seed):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(4, 4), Naive(4, 2))
        net[1].B = torch.randn(2, 4)
        return net

    one, other, h = make(1), make(2), normal(3, 4, dtype=torch.float)
    other.load_state_dict(one.state_dict())
    assert apart(gradients(other, h), gradients(one, h)) > 0.1


@pytest.mark.parametrize("name", RULES)
def test_double_half_and_to_take_the_feedback_with_them(name):
    model = fed(small_net(), name, X)
    doubled = gradients(copy.deepcopy(model).double().eval(), X.double())
    assert all(g.dtype == torch.double for g in doubled.values())
    single = gradients(copy.deepcopy(model).eval(), X)
    assert apart({n: g.float() for n, g in doubled.items()}, single) < 1e-4
    halved = gradients(copy.deepcopy(model).to(torch.bfloat16).eval(), X.bfloat16())
    assert all(g.dtype == torch.bfloat16 and bool(torch.isfinite(g).all()) for g in halved.values())


def test_feedback_is_no_parameter_and_training_leaves_it_alone():
    model = convert(small_net(), "fa")
    before = {n: b.clone() for n, b in model.named_buffers()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    gradients(model, X)
    optimizer.step()
    assert before.keys() == {f"{n}.feedback.B" for n in fed_layers(model)}
    assert all(torch.equal(b, before[n]) for n, b in model.named_buffers())


class Tied(nn.Module):
    """A module used twice under two names, and a weight shared between two modules."""

    def __init__(self):
        super().__init__()
        self.one = self.again = nn.Linear(4, 4)
        self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4)
        self.three.weight = self.two.weight

    def forward(self, x):
        return self.three(self.two(self.again(self.one(x).relu()).relu()).relu())


def test_tied_modules_and_shared_weights_stay_tied():
    model = convert(Tied(), "fa")
    assert model.one is model.again
    assert model.two.weight is model.three.weight
    assert len(list(model.parameters())) == len(list(Tied().parameters()))
    # Two modules are two places: each has its own feedback for the one weight.
    assert not torch.equal(model.two.feedback.B, model.three.feedback.B)
    assert list(fed_layers(convert(Tied(), "fa", layers={"again": "usf"}))) == ["one", "two", "three"]
    assert convert(Tied(), "fa", layers={"again": "usf"}).one.feedback.rule == "usf"


def test_naive_rebuilding_unties():
    """Negative control: new modules made name by name have two weights where there was one."""
    rebuilt = Tied()
    rebuilt.one, rebuilt.again = nn.Linear(4, 4), nn.Linear(4, 4)
    assert len(list(rebuilt.parameters())) > len(list(Tied().parameters()))


def test_hooks_modes_and_frozen_weights_are_kept():
    net, calls = mlp(3, 4, 2), []
    net[0].register_forward_hook(lambda *_: calls.append("forward"))
    net[2].weight.requires_grad_(False)
    net[2].eval()
    model = convert(net, "brsf")
    model(torch.ones(1, 3))
    assert calls == ["forward"]
    assert not model[2].weight.requires_grad
    assert not model[2].feedback.training
    assert model[0].feedback.training


def test_a_root_layer_is_converted():
    layer = convert(nn.Conv2d(1, 2, 3), "usf")
    assert list(fed_layers(layer)) == [""]
    assert isinstance(layer, nn.Conv2d)


def test_patterns_choose_rules_and_leave_layers_to_backprop():
    model = convert(small_net(), "fa", layers={"6": "usf", "*": UniformSign(scale=0.5)}, backprop="8")
    assert {n: layer.feedback.rule for n, layer in fed_layers(model).items()} == {"0": "usf", "3": "usf", "6": "usf"}
    assert float(model[0].feedback.M) == 0.5 != float(model[6].feedback.M)
    assert type(model[8]) is nn.Linear


def test_a_layer_s_draw_depends_on_the_seed_and_its_name_alone():
    one, other = convert(small_net(), "fa", seed=1), convert(small_net(), "fa", seed=1, backprop=["0"])
    assert torch.equal(one[8].feedback.B, other[8].feedback.B)
    assert not torch.equal(one[8].feedback.B, convert(small_net(), "fa", seed=2)[8].feedback.B)
    net, before = mlp(3, 2), torch.get_rng_state()
    convert(net, "fa")
    assert torch.equal(torch.get_rng_state(), before)


def test_an_example_changes_nothing_but_sizes():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(108, 2)).train()
    model = fed(net, "fa-dense", X)
    assert model.training
    assert torch.equal(model[1].running_mean, torch.zeros(3))
    assert model[0].feedback.B.shape == (108, 128)
    assert model[4].feedback.B.shape == (2, 108)
    model(X).sum().backward()


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.ones(1)), nn.Linear(2, 2)


UNSERVED = {
    "LSTM": lambda: nn.LSTM(2, 2),
    "MultiheadAttention": lambda: nn.MultiheadAttention(2, 1),
    "Embedding": lambda: nn.Embedding(3, 2),
    "Bilinear": lambda: nn.Bilinear(2, 2, 2),
    "Own": Own,
    "ParametrizedLinear": lambda: weight_norm(nn.Linear(2, 2)),
}


@pytest.mark.parametrize("kind", UNSERVED)
def test_parameters_that_no_rule_serves_are_named(kind):
    net = nn.Sequential(nn.Linear(2, 2), UNSERVED[kind]())
    with pytest.raises(InputError, match=rf"1.* \({kind}\) has parameters that no rule can serve .* backprop=\[…\]"):
        convert(net, "fa")
    model = convert(net, "fa", backprop=["1"])
    assert list(fed_layers(model)) == ["0"]
    assert type(model[1]) is type(net[1])


def test_norms_and_prelu_are_left_as_they_are():
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.PReLU(), nn.Linear(4, 2))
    assert list(fed_layers(convert(net, "fa"))) == ["0", "4"]


REFUSED = {
    "no layer": (lambda: convert(nn.ReLU(), "fa"), "no layer that feedback can serve"),
    "all left": (lambda: convert(nn.Linear(2, 2), "fa", backprop=["*"]), "no layer that feedback can serve"),
    "pattern": (
        lambda: convert(mlp(2, 2, 2), "fa", layers={"fc*": "usf"}),
        r"no layer fits 'fc\*'; the layers are 0, 2",
    ),
    "backprop pattern": (lambda: convert(mlp(2, 2, 2), "fa", backprop=["fc"]), "no layer fits 'fc'"),
    "twice": (lambda: convert(convert(mlp(2, 2), "fa"), "fa"), r"0 has feedback already: convert linfa\.nn\.restore"),
    "name": (lambda: convert(mlp(2, 2), "fa2"), f"one of the names {', '.join(REGISTRY)}; got 'fa2'"),
    "lazy": (lambda: convert(nn.Sequential(nn.LazyLinear(2)), "fa"), "0 has no weights yet: run the model once"),
    "dense": (lambda: convert(small_net(), "fa-dense"), "dense feedback for '0' needs the sizes"),
    "shape": (lambda: Fixed(torch.ones(2, 3), torch.ones(3, 2)), r"the weight's shape \(2, 3\); got \(3, 2\)"),
    "nan": (lambda: check_shape(torch.ones(1), torch.tensor([float("nan")]), "B"), "B must be finite; it holds nan"),
}


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_converted_is_refused(what):
    make, message = REFUSED[what]
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.filterwarnings("ignore:Lazy modules:UserWarning")
def test_lazy_layers_that_were_run_are_converted():
    net = nn.Sequential(nn.LazyLinear(2))
    net(torch.ones(1, 3))
    assert list(fed_layers(convert(net, "fa"))) == ["0"]


def test_truth_ends_with_its_block_whatever_happens():
    model, plain = convert(small_net(), "fa"), small_net()
    with pytest.raises(RuntimeError), truth(model):
        raise RuntimeError
    assert apart(gradients(model, X), gradients(plain, X)) > 0.1
