"""Laws of module graphs: the master identity on every batch, a reason wherever there is no law, and laws that break."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from linfa.errors import InputError
from linfa.nn import convert, models, rules, targets
from linfa.nn.monitors.probe import Probe
from linfa.nn.streams import laws, master_identity
from linfa.nn.streams.flow import Leaks
from linfa.rules.potential import Potential
from tests.nn.graphs import GRAPHS, RULES, Drawn, batches, graphs, loss_of, made
from tests.shapes import shapes_unchecked
from tests.tolerance import rounding

F = nn.functional

pytestmark = pytest.mark.usefixtures("single_thread", "unchecked_for_speed")


def tolerance(model, x, loss, scale, dtype=np.float64):
    """Return what rounding can do to the identity.

    The flows t ṫ of every module's output are what is added up, however much of them cancels in a gradient; the longest
    sums run over a layer's weights and over the places and samples of its maps, once in each layer of the chain.
    """
    sizes, hooks = [], []

    def note(module, inputs, out):
        out.register_hook(lambda g: sizes.append((float((out.detach() * g).abs().sum()), out.numel())))

    for module in model.modules():
        if not list(module.children()) and any(True for _ in module.parameters(recurse=False)):
            hooks.append(module.register_forward_hook(note))
    loss(model(x)).backward()
    for hook in hooks:
        hook.remove()
    terms = sum(n for _, n in sizes) + sum(p.numel() for p in model.parameters())
    return rounding(terms, sum(f for f, _ in sizes) + float(scale.sum()), dtype)


def holds(model, x, loss, streams):
    """Return whether the identity holds to rounding; it must have had something to hold against."""
    residual, scale = master_identity(streams, x, loss)
    bound = tolerance(model, x, loss, scale)
    assert bound < 1e-6 * (float(scale.max()) + 1e-300) or float(scale.max()) < 1e-9
    return float(residual.abs().max()) <= bound


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_the_master_identity_holds_on_every_batch(graph, rule):
    data = batches(2)
    model = convert(made(graph), rule, example=data[0][0])
    streams = laws(model, data[0][0])
    assert len(streams) >= 2
    for x, y in data:
        assert holds(model, x, loss_of(y), streams)


@given(plan=graphs(), rule=st.sampled_from(RULES), seed=st.integers(0, 99))
@shapes_unchecked()
def test_laws_of_drawn_graphs_hold(plan, rule, seed):
    x = torch.randn(4, 2, 6, 6, dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    try:
        model = convert(made(lambda: Drawn(plan), seed=seed), rule, example=x)
    except InputError as error:
        if rule != "dfa" or "inputs of different sizes" not in str(error):
            raise
        return
    streams = laws(model, x)
    if streams:
        y = torch.arange(4) % 3
        assert holds(model, x, loss_of(y), streams)


def test_drawn_graphs_reach_every_kind_of_step():
    kinds = set()
    for first in range(30):
        for kind in ("add", "cat", "half", "zeros", "scaled", "wider", "thinned", "turned", "largest"):
            net = Drawn([("conv", 0, 0), ("relu", 1, 0), (kind, first, first // 2), ("conv", 2, 1), ("again", 0, 1)])
            kinds |= net.kinds
    assert len(kinds) == 10


MODELS = {
    "lenet": (models.lenet_cifar, 32),
    "lenet of MNIST": (lambda: models.lenet_mnist(channels=3), 32),
    "architecture 1": (models.moskovitz, 24),
    "resnet 20": (lambda: models.resnet(20), 16),
    "resnet 18": (lambda: models.resnet18(classes=10, small=True), 8),
    "vgg": (lambda: models.vgg(9, widths=(8, 16)), 8),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_networks_of_the_papers_have_their_laws(name):
    make, size = MODELS[name]
    x = torch.randn(4, 3, size, size, dtype=torch.double, generator=torch.Generator().manual_seed(0))
    model = convert(made(make), "fa")
    streams = laws(model, x)
    assert holds(model, x, loss_of(torch.arange(4)), streams)
    # All channels but the input's and the output's have one.
    assert {r.reason.split(":")[0] for r in streams.refused} == {"the model's input", "the model's output"}


@pytest.mark.parametrize("rule", rules.REGISTRY)
@pytest.mark.parametrize("graph", ["lenet", "preactivated"])
def test_every_rule_has_laws_that_hold_or_is_refused(graph, rule):
    x, y = batches(1)[0]
    model = convert(made(graph), rule, example=x)
    streams = laws(model, x)
    refused = [r for r in streams.refused if not r.reason.startswith("the model's")]
    if rule in RULES:
        assert not refused
    else:
        assert refused
        assert f"{rules.make(rule).name}: " in refused[0].reason
    if streams:
        with targets(model, y):
            assert holds(model, x, loss_of(y), streams)


# What the laws are -------------------------------------------------------------------------------------------------


def test_the_streams_of_a_residual_net_are_found_with_their_writers_and_readers():
    model = convert(made("resnet"), "fa")
    streams = laws(model, batches(1)[0][0])
    names = {law.name: law.channels for law in streams}
    # Half of the wide stream's channels come through the shortcut, and carry the narrow stream on.
    assert names["norm.weight, norm.bias, norm2.weight, norm2.bias → conv1.weight, fc.weight"] == 4
    assert names["norm2.weight, norm2.bias → fc.weight"] == 4
    assert names["conv1.weight → norm1"] == 8
    assert sum(names.values()) == streams.channels == 36
    assert "½‖norm1.weight[k]‖² + ½‖norm1.bias[k]‖² − ⟨B, conv2.weight⟩[:,k] stays put" in repr(streams)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("bp", "½‖3.weight[:,k]‖²"),
        ("fa", "⟨B, 3.weight⟩[:,k]"),
        ("usf", "Σ M|3.weight[:,k]|"),
        ("interpolated", "(0.5·½‖3.weight[:,k]‖² + ⟨B, 3.weight⟩[:,k])"),
        ("kp", "½‖B(3.weight)[:,k]‖²"),
        ("dfa", "⟨V, F(3)⟩[:,k], where V̇ = ė hᵀ,"),
    ],
)
def test_statements_name_the_rule_s_potential(rule, words):
    x = batches(1)[0][0]
    model = convert(made("mlp"), rule, example=x)
    assert laws(model, x)[0].statement == f"½‖1.weight[k]‖² + ½‖1.bias[k]‖² − {words}"


def test_the_quantity_is_the_sum_that_the_statement_says():
    model = convert(made("lenet"), "fa")
    streams = laws(model, batches(1)[0][0])
    conv2, fc1 = model[3].requires_grad_(False), model[6].requires_grad_(False)
    Q = streams.quantity()[streams[1].place]
    for k in range(5):
        written = sum(w**2 for w in conv2.weight[k].flatten().tolist()) / 2 + float(conv2.bias[k]) ** 2 / 2
        # Flattened, channel k of 2×2 places is columns 4k … 4k + 3.
        read = sum(
            float(fc1.feedback.B[i, j]) * float(fc1.weight[i, j]) for i in range(6) for j in range(4 * k, 4 * k + 4)
        )
        assert abs(float(Q[k]) - (written - read)) <= rounding(40, 10.0)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_plain_torch_model_has_backprop_s_laws_in_either_mode(graph):
    x, y = batches(1)[0]
    plain = made(graph)
    streams = laws(plain, x)
    assert repr(streams) == repr(laws(convert(plain, "bp"), x)) == repr(laws(plain.eval(), x))
    plain.train()
    assert holds(plain, x, loss_of(y), streams)


def test_one_layer_alone_has_no_law_and_says_so():
    streams = laws(nn.Linear(3, 2), torch.ones(1, 3))
    assert len(streams) == 0
    assert [r.name for r in streams.refused] == ["→ weight", "weight, bias →"]


def test_linear_layers_on_sequences_have_their_channels_last():
    x = torch.randn(4, 6, 3, dtype=torch.double)
    net = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).double()
    streams = laws(net, x)
    assert [law.channels for law in streams] == [5, 4]
    assert holds(net, x, lambda f: f.square().sum(), streams)


class Twice(nn.Module):
    """One layer called twice, and one weight in two layers."""

    def __init__(self):
        super().__init__()
        self.first, self.shared, self.last = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.tied = nn.Linear(4, 4)
        self.tied.weight = self.shared.weight

    def forward(self, x):
        h = F.relu(self.first(x))
        return self.last(F.relu(self.tied(F.relu(self.shared(F.relu(self.shared(h)))))))


@pytest.mark.parametrize("rule", ["bp", "fa"])
def test_shared_weights_are_one_writer_and_one_reader(rule):
    x = torch.randn(5, 3, dtype=torch.double)
    net = Twice().double()
    model = convert(net, rule, backprop=["tied"]) if rule == "fa" else net
    streams = laws(model, x)
    if rule == "bp":
        assert [law.channels for law in streams] == [4]
        assert holds(model, x, lambda f: f.square().sum(), streams)
    else:
        assert any("one weight under two feedbacks" in r.reason for r in streams.refused)


# What has none -----------------------------------------------------------------------------------------------------


class Between(nn.Module):
    """Two layers with a function of both tensors between them."""

    def __init__(self, between):
        super().__init__()
        self.first, self.last, self.between = nn.Linear(3, 4), nn.Linear(4, 2), between
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x):
        z = self.first(x)
        return self.last(self.between(self, z))


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (lambda m, z: torch.tanh(z), "tanh is not positively homogeneous"),
        (lambda m, z: z.sigmoid(), "sigmoid is not positively homogeneous"),
        (lambda m, z: F.gelu(z), "gelu is not positively homogeneous"),
        (lambda m, z: F.relu6(z), "relu6 is not positively homogeneous"),
        (lambda m, z: F.softmax(z, 1), "softmax divides by what it reads"),
        (lambda m, z: z * z.relu(), "multiplied or divided by each other"),
        (lambda m, z: z / z.sum(), "multiplied or divided by each other"),
        (lambda m, z: z + 1.0, "a constant is added"),
        (lambda m, z: z + m.scale, "used as a number of its own"),
        (lambda m, z: z * m.scale, "mul uses scale as a number of its own"),
        (lambda m, z: F.linear(z, m.first.weight[:, :1] @ m.first.weight[:, :1].T), "used outside of its layer"),
        (lambda m, z: F.layer_norm(z, (4,)), "layer_norm is not known"),
        (lambda m, z: torch.where(z > 1, z, 0 * z), "where is not known"),
        (lambda m, z: z.pow(2), "pow multiplies activations"),
        (lambda m, z: F.pad(z, (0, 0), value=1.0), "pad is not known"),
    ],
)
def test_what_is_not_homogeneous_is_refused_by_name(between, reason):
    streams = laws(Between(between), torch.randn(4, 3))
    assert len(streams) == 0
    refused = [r for r in streams.refused if r.name.startswith("first.weight")]
    assert refused
    assert reason in refused[0].reason


def test_what_is_cut_off_is_refused_behind_the_cut():
    streams = laws(Between(lambda m, z: z.detach()), torch.randn(4, 3))
    assert "detach cuts it off" in next(r for r in streams.refused if r.name == "→ last.weight").reason
    # Nothing flows into the first layer at all, so that its law is true.
    assert [law.statement for law in streams] == ["½‖first.weight[k]‖² + ½‖first.bias[k]‖²"]


def modules(between):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), between, nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    )


@pytest.mark.parametrize(
    ("between", "reason"),
    [
        (nn.Tanh(), r"tanh is not positively homogeneous: σ′(z)z ≠ σ(z) (1)"),
        (nn.GELU(), "gelu is not positively homogeneous"),
        (nn.GroupNorm(2, 4), "1 (GroupNorm) divides by statistics"),
        (nn.InstanceNorm2d(4, affine=True), "1 (InstanceNorm2d) divides by statistics"),
        (nn.LayerNorm((4, 8, 8)), "layernorm is not known"),
        (nn.LayerNorm(8), "1 (LayerNorm) divides by statistics"),
        (nn.SyncBatchNorm(4), "1 (SyncBatchNorm) divides by statistics"),
        (nn.BatchNorm2d(4, affine=False), "1 (BatchNorm2d) has no affine pair"),
        (nn.Softmax2d(), "softmax2d is not known"),
        (nn.Hardtanh(), "hardtanh is not positively homogeneous"),
    ],
)
def test_modules_without_a_law_are_refused_by_name(between, reason):
    streams = laws(modules(between), batches(1, torch.float)[0][0])
    before = [
        r for r in streams.refused if ("0.weight" in r.name and "2.weight" in r.name) or r.name.startswith("0.weight")
    ]
    assert before
    assert reason in before[0].reason
    # What lies behind is none the worse for it.
    assert any(law.name == "2.weight, 2.bias → 5.weight" for law in streams)


def test_the_affine_pair_of_any_normalisation_opens_a_stream():
    x, y = batches(1)[0]
    for norm in (nn.GroupNorm(2, 4), nn.InstanceNorm2d(4, affine=True), nn.BatchNorm2d(4).eval()):
        net = made(lambda norm=norm: modules(norm))
        net[1].train(norm.training)
        streams = laws(net, x)
        assert any(law.name == "1.weight, 1.bias → 2.weight" for law in streams)
        assert holds(net, x, loss_of(y), streams)


def test_a_batch_norm_in_evaluation_mode_or_called_twice_ends_what_it_reads():
    x = batches(1, torch.float)[0][0]
    net = modules(nn.BatchNorm2d(4))
    net[1].eval()
    assert "evaluation mode" in next(r for r in laws(net, x).refused if r.name.startswith("0.weight")).reason
    norm = nn.BatchNorm2d(4)
    twice = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 4, 3), norm, nn.Flatten(), nn.Linear(64, 2))
    refused = {r.name: r.reason for r in laws(twice, x).refused}
    assert "called more than once" in refused["0.weight, 0.bias → 1"]
    assert "called more than once" in refused["3.weight, 3.bias →"]


@pytest.mark.parametrize(
    ("rule", "reason"),
    [("usf-sn", "is no gradient"), ("brsf", "redrawn at every step"), ("fa-dense", "dense feedback")],
)
def test_rules_without_a_potential_are_refused_in_their_own_words(rule, reason):
    x = batches(1)[0][0]
    streams = laws(convert(made("lenet"), rule, example=x), x)
    assert reason in next(r for r in streams.refused if "→ 3.weight" in r.name).reason


def test_frozen_and_parametrised_weights_are_refused():
    x = torch.randn(2, 2, 8, 8)
    net = made("lenet", torch.float)
    net[3].weight.requires_grad_(False)
    assert any("3.weight is frozen" in r.reason for r in laws(net, x).refused)
    assert [law.name for law in laws(net, x)] == ["6.weight, 6.bias → 8.weight"]
    net = made("lenet", torch.float)
    nn.utils.parametrizations.weight_norm(net[3])
    assert any("made from other parameters" in r.reason for r in laws(net, x).refused)


def test_a_graph_that_depends_on_values_cannot_be_traced():
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 3)

        def forward(self, x):
            return self.fc(x) if x.sum() > 0 else x

    with pytest.raises(InputError, match="cannot trace Branching"):
        laws(Branching(), torch.ones(1, 3))


def test_all_inputs_must_be_given():
    class Two(nn.Module):
        def forward(self, x, y):
            return x + y

    with pytest.raises(InputError, match="takes 'y' as well"):
        laws(Two(), torch.ones(1, 3))


# Shared parameters -------------------------------------------------------------------------------------------------


class TiedReadOut(nn.Module):
    """An embedding whose weight is the read-out's as well."""

    def __init__(self, tied=True):
        super().__init__()
        self.e, self.h, self.o = nn.Embedding(8, 16), nn.Linear(16, 16), nn.Linear(16, 8, bias=False)
        if tied:
            self.o.weight = self.e.weight

    def forward(self, x):
        return self.o(F.relu(self.h(self.e(x))))


class Positions(nn.Module):
    """An embedding that starts from zero, added to a stream."""

    def __init__(self):
        super().__init__()
        self.p, self.h, self.o = nn.Embedding(4, 6), nn.Linear(5, 6), nn.Linear(6, 2)
        nn.init.zeros_(self.p.weight)

    def forward(self, x, places):
        return self.o(F.relu(self.h(x) + self.p(places)))


def dense(*between, width=4):
    """Return Linear – between – Linear – ReLU – Linear."""
    return nn.Sequential(nn.Linear(3, width), *between, nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2))


def slope_is_bias():
    net = dense(nn.PReLU(4))
    net[0].bias = net[1].weight
    return net


def one_gamma():
    first, second = nn.BatchNorm1d(4, eps=0.1), nn.BatchNorm1d(4, eps=0.1)
    second.weight = first.weight
    return nn.Sequential(
        nn.Linear(3, 4),
        first,
        nn.ReLU(),
        nn.Linear(4, 4),
        second,
        nn.ReLU(),
        nn.Linear(4, 4),
        nn.ReLU(),
        nn.Linear(4, 2),
    )


def gamma_is_bias():
    net = dense(nn.BatchNorm1d(4, eps=0.1), nn.ReLU())
    net[3].bias = net[1].weight
    return net


def gamma_is_beta():
    net = dense(nn.BatchNorm1d(4, eps=0.1), nn.ReLU())
    net[1].bias = net[1].weight
    return net


def half_frozen():
    """A layer whose weight a layer with a frozen bias uses too."""
    net = dense(nn.ReLU(), nn.Linear(4, 4), nn.Tanh())
    net[4].weight = net[2].weight
    net[2].bias.requires_grad_(False)
    return net


def turned():
    """A convolution's weight, used the other way round as well."""
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(4, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3),
        nn.Flatten(),
        nn.Linear(64, 3),
    )
    net[4].weight = net[2].weight
    return net


def shared_bias():
    net = dense(nn.ReLU())
    net[2].bias = net[0].bias
    return net


def group_bias():
    net = modules(nn.GroupNorm(2, 4))
    net[2].bias = net[1].bias
    return net


def norm_twice():
    norm = nn.BatchNorm1d(4)
    return nn.Sequential(nn.Linear(3, 4), norm, nn.ReLU(), nn.Linear(4, 4), norm, nn.ReLU(), nn.Linear(4, 2))


def layer_twice():
    layer = nn.Linear(4, 4)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(4, 2))


def sampled(make):
    """Return a model and a batch that it takes."""
    model = made(make)
    if make is TiedReadOut:
        return model, torch.arange(6)
    if isinstance(model[0], nn.Conv2d):
        return model, batches(1)[0][0]
    return model, torch.randn(5, 3, dtype=torch.double, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("rule", ["fa", "bp"])
@pytest.mark.parametrize(
    ("make", "refused", "reason", "left"),
    [
        (TiedReadOut, "h.weight, h.bias → o.weight", "o.weight is used outside of its layer as well: e (Embedding)", 0),
        (slope_is_bias, "0.weight, 0.bias → 2.weight", "0.bias is used outside of its layer as well: 1 (PReLU)", 1),
        (one_gamma, "0.weight, 0.bias → 1", "1.weight is shared: the account of the eps of 1", 2),
        (one_gamma, "3.weight, 3.bias → 4", "4.weight is shared: the account of the eps of 4", 2),
        (gamma_is_bias, "0.weight, 0.bias → 1", "1.weight is shared", 1),
        (gamma_is_beta, "0.weight, 0.bias → 1", "1.weight is shared", 2),
        (half_frozen, "4.weight, 4.bias →", "4.weight is used outside of its layer as well: 2 (Linear)", 0),
        (turned, "0.weight, 0.bias → 2.weight", "whose channels lie otherwise in it", 1),
    ],
)
def test_a_parameter_with_uses_that_no_term_stands_for_ends_its_laws(make, refused, reason, left, rule):
    model, x = sampled(make)
    kept = {"backprop": ["e"]} if make is TiedReadOut else {}
    model = convert(model, rule, example=x, **kept)
    streams = laws(model, x)
    assert reason in next((r.reason for r in streams.refused if r.name.startswith(refused)), "")
    assert len(streams) >= left
    if streams:
        assert holds(model, x, lambda f: f.square().sum() + f.sum(), streams)


def test_untied_the_embedding_s_net_has_its_law():
    model, x = made(lambda: TiedReadOut(tied=False)), torch.arange(6)
    model = convert(model, "fa", backprop=["e"])
    streams = laws(model, x)
    assert [law.name for law in streams] == ["h.weight, h.bias → o.weight"]
    assert holds(model, x, lambda f: f.square().sum() + f.sum(), streams)


def test_an_embedding_that_starts_from_zero_writes_all_the_same():
    streams = laws(Positions(), (torch.randn(4, 5), torch.arange(4)))
    assert len(streams) == 0
    assert "p (Embedding) is no known writer" in next(r.reason for r in streams.refused if r.name.endswith("o.weight"))


def test_one_weight_under_direct_feedback_and_another_is_read_by_neither():
    x = torch.randn(5, 3, dtype=torch.double)
    model = made(Twice)
    streams = laws(convert(model, rules.DirectFeedback(), backprop=["tied"], example=x), x)
    assert any("one weight under direct feedback and under another" in r.reason for r in streams.refused)


@pytest.mark.parametrize("rule", ["fa", "bp"])
@pytest.mark.parametrize(
    ("make", "names"),
    [
        (shared_bias, ["0.weight, 0.bias, 2.weight → 2.weight, 4.weight"]),
        (group_bias, ["1.weight, 1.bias, 2.weight → 2.weight, 5.weight"]),
        (norm_twice, ["1.weight, 1.bias → 3.weight, 6.weight"]),
        (layer_twice, ["0.weight, 0.bias, 2.weight, 2.bias → 2.weight, 6.weight"]),
        (one_gamma, ["1.weight, 1.bias, 4.bias → 3.weight, 6.weight", "6.weight, 6.bias → 8.weight"]),
    ],
)
def test_parameters_that_only_writers_and_readers_share_have_one_law_that_holds(make, names, rule):
    model, x = sampled(make)
    model = convert(model, rule, example=x)
    streams = laws(model, x)
    assert [law.name for law in streams] == names
    assert holds(model, x, lambda f: f.square().sum() + f.sum(), streams)


# Laws that break ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["fa", "bp", "usf"])
def test_the_identity_breaks_where_the_unit_is_not_homogeneous(rule):
    x, y = batches(1)[0]
    model = convert(made("mlp"), rule)
    streams = laws(model, x)
    assert holds(model, x, loss_of(y), streams)
    model[2] = nn.Tanh()
    residual, scale = master_identity(streams, x, loss_of(y))
    assert float(residual[:7].abs().max()) > 1e-3 * float(scale[:7].max())


@pytest.mark.parametrize(
    ("rule", "wrong"),
    [
        ("frsf", lambda f, W: Potential(linear=f.M)),
        ("usf", lambda f, W: Potential(linear=f.M * torch.ones_like(W))),
        ("fa", lambda f, W: Potential(linear=f.B.flip(0))),
        ("fa", lambda f, W: Potential(alpha=1.0)),
        ("interpolated", lambda f, W: Potential(alpha=f.alpha, linear=f.B0)),
        ("kp", lambda f, W: Potential(linear=W)),
    ],
)
def test_the_identity_breaks_for_another_feedback(rule, wrong, monkeypatch):
    x, y = batches(1)[0]
    model = convert(made("lenet"), rule)
    streams = laws(model, x)
    assert holds(model, x, loss_of(y), streams)
    kind = type(model[3].feedback)
    monkeypatch.setattr(kind, "potential", wrong)
    residual, scale = master_identity(streams, x, loss_of(y))
    assert float(residual.abs().max()) > 1e-2 * float(scale.max())


@pytest.mark.parametrize("graph", ["resnet", "preactivated", "vgg"])
def test_the_eps_of_batch_norm_is_part_of_the_account(graph):
    x, y = batches(1)[0]
    net = made(graph)
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 0.1
    model = convert(net, "fa")
    streams = laws(model, x)
    assert holds(model, x, loss_of(y), streams)
    streams.leaks.clear()
    residual, scale = master_identity(streams, x, loss_of(y))
    assert float(residual.abs().max()) > 1e-2 * float(scale.max())


DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.double, torch.float])
def test_the_variance_is_the_one_that_the_normalisation_used(device, dtype, monkeypatch):
    """The way that reads it off the graph, against the way that works it out."""
    x, _ = batches(1, dtype)[0]
    model = made("resnet", dtype).to(device)
    streams = laws(model, x.to(device))

    def shares():
        leaks = Leaks(streams)
        model(x.to(device))
        leaks.close()
        return leaks.share

    quick = shares()
    monkeypatch.setattr("linfa.nn.streams.flow._SAVED", ())
    slow = shares()
    assert len(quick) == 3
    for leak, share in quick.items():
        # Sums over 5 samples of 64 places, squared and inverted.
        unit = np.float32 if dtype == torch.float else np.float64
        bound = rounding(4 * 5 * 64, share.cpu().double().numpy(), unit)
        assert (np.abs((share - slow[leak]).cpu().double().numpy()) <= bound).all()


# Nothing else happens ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["brsf", "fa", "dfa"])
def test_finding_and_checking_laws_leaves_the_model_as_it_was(rule):
    x, y = batches(1)[0]
    model = convert(made("resnet"), rule, example=x)
    model.norm1.eval()
    loss_of(y)(model(x)).backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = [p.grad.clone() for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    source = torch.get_rng_state()
    streams = laws(model, x)
    hooks = [len(m._forward_hooks) for m in model.modules()]
    if streams:
        master_identity(streams, x, loss_of(y))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True))
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(source, torch.get_rng_state())
    assert hooks == [len(m._forward_hooks) for m in model.modules()]


class Restless(nn.Module):
    """A model whose forward draws numbers, makes constants, and does otherwise in evaluation."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(3, 4), nn.Linear(6, 2)

    def forward(self, x):
        h = F.dropout(self.first(x), 0.5, self.training)
        if not self.training:
            h = torch.tanh(h)
        return self.last(torch.cat([h, torch.zeros(2, 2)], dim=1) * torch.tensor(0.5).item())


def test_the_graph_is_that_of_training_and_leaves_no_trace():
    model, x = Restless(), torch.randn(2, 3)
    names, source = set(model.__dict__), torch.get_rng_state()
    streams = laws(model, x)
    assert [law.channels for law in streams] == [4]
    assert repr(streams) == repr(laws(model.eval(), x))
    assert not model.last.training
    assert set(model.__dict__) == names
    assert torch.equal(source, torch.get_rng_state())


def test_direct_feedback_has_its_law_for_a_tap_whose_channels_are_joined():
    x, y = batches(1)[0]
    model = convert(made("densenet"), rules.DirectFeedback(), example=x)
    streams = laws(model, x)
    assert holds(model, x, loss_of(y), streams)
    # Without the taps the law is far off.
    streams.leaks.clear()
    residual, scale = master_identity(streams, x, loss_of(y))
    assert float(residual.abs().max()) > 0.1 * float(scale.max())


def test_probes_are_not_looked_at():
    x, y = batches(1)[0]
    model = convert(made("resnet"), "fa")
    leaks = Leaks(laws(model, x))
    _ = Probe(model, x, loss_of(y)).fed
    assert not leaks.passes
    assert not leaks.share
    leaks.close()
