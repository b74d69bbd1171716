"""Models: sizes known from the papers or counted by hand, shapes, tracing, and conversion under every rule."""

import pytest
import torch
from torch import nn
from torch.fx import symbolic_trace

from linfa.errors import InputError
from linfa.nn import convert, fed_layers, models
from linfa.nn.rules import REGISTRY as RULES

SIDE = 32


def conv(n_in, n_out, k, bias=True):
    return n_out * (n_in * k * k + bias)


def dense(n_in, n_out, bias=True):
    return n_out * (n_in + bias)


def norm(n):
    return 2 * n


def plain_block(n_in, n_out):
    return conv(n_in, n_out, 3, False) + conv(n_out, n_out, 3, False) + 2 * norm(n_out)


def projected_block(n_in, n_out):
    return plain_block(n_in, n_out) + conv(n_in, n_out, 1, False) + norm(n_out)


def cifar_resnet(n):
    stages = [(16, 16), (16, 32), (32, 64)]
    blocks = sum(plain_block(a, b) + (n - 1) * plain_block(b, b) for a, b in stages)
    return conv(3, 16, 3, False) + norm(16) + blocks + dense(64, 10)


def resnet18(kernel, classes):
    stages = sum(projected_block(a, 2 * a) + plain_block(2 * a, 2 * a) for a in (64, 128, 256))
    return conv(3, 64, kernel, False) + norm(64) + 2 * plain_block(64, 64) + stages + dense(512, classes)


COUNTS = {
    "mlp": dense(784, 512) + dense(512, 512) + dense(512, 10),
    "lenet-mnist": conv(1, 6, 5) + conv(6, 16, 5) + conv(16, 120, 5) + dense(120, 84) + dense(84, 10),
    "lenet-cifar": conv(3, 32, 3) + conv(32, 64, 3) + conv(64, 128, 3) + dense(128, 256) + dense(256, 10),
    "moskovitz": conv(3, 64, 5) + conv(64, 64, 5) + dense(576, 384) + dense(384, 192) + dense(192, 10),
    "vgg": sum(conv(a, b, 3, False) + conv(b, b, 3, False) + 2 * norm(b) for a, b in [(3, 64), (64, 128)])
    + sum(conv(a, b, 3, False) + conv(b, b, 3, False) + 2 * norm(b) for a, b in [(128, 256), (256, 512)])
    + dense(512, 10),
    "resnet": 269_722,  # 20 layers, where nothing else is asked for
    "resnet20": 269_722,  # 0.27 M in He et al. 2016
    "resnet56": 853_018,  # 0.85 M
    "resnet18": resnet18(3, 10),
    "resnet18-imagenet": 11_689_512,  # known from torchvision's model of the same name
}


def test_counts_by_hand_agree_with_the_literature():
    assert cifar_resnet(3) == COUNTS["resnet20"]
    assert cifar_resnet(9) == COUNTS["resnet56"]
    assert resnet18(7, 1000) == COUNTS["resnet18-imagenet"]
    assert COUNTS["lenet-mnist"] == 61_706


def shape_of(name):
    channels = 1 if name in ("mlp", "lenet-mnist") else 3
    side = 28 if name == "mlp" else models.SIDES.get(name, SIDE)
    return (2, channels, side, side)


@pytest.mark.parametrize("name", models.REGISTRY)
def test_a_model_has_as_many_parameters_as_it_must(name):
    assert sum(p.numel() for p in models.make(name).parameters()) == COUNTS[name]


@pytest.mark.parametrize("name", models.REGISTRY)
def test_a_model_can_be_traced_and_gives_one_number_per_class(name):
    shape = shape_of(name) if name != "resnet18-imagenet" else (1, 3, 64, 64)
    model, x = models.make(name).eval(), torch.randn(shape)
    traced = symbolic_trace(model)
    with torch.no_grad():
        assert model(x).shape == (shape[0], 1000 if name == "resnet18-imagenet" else 10)
        assert torch.equal(traced(x), model(x))


def test_the_maps_of_the_papers_are_as_large_as_the_papers_say():
    seen = {}
    for name, at in {
        "lenet-mnist": "conv3",
        "lenet-cifar": "conv3",
        "moskovitz": "pool2",
        "resnet20": "stage3",
    }.items():
        model = models.make(name)
        model.get_submodule(at).register_forward_hook(
            lambda m, i, o, name=name: seen.update({name: tuple(o.shape[1:])})
        )
        model(torch.zeros(shape_of(name)))
    assert seen == {
        "lenet-mnist": (120, 1, 1),
        "lenet-cifar": (128, 4, 4),
        "moskovitz": (64, 3, 3),
        "resnet20": (64, 8, 8),
    }


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", ["mlp", "lenet-mnist", "lenet-cifar", "moskovitz"])
def test_every_rule_serves_every_small_model(name, rule):
    if RULES[rule]() == RULES["fa-dense"]() and name in ("lenet-cifar", "moskovitz"):
        pytest.skip("dense feedback between maps as large as these holds gigabytes")
    options = {"widths": (49, 8, 8, 10), "norm": True} if name == "mlp" else {}
    x = torch.randn((2, 1, 7, 7) if name == "mlp" else shape_of(name))
    _check_served(models.make(name, **options), rule, x)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_serves_graphs_with_shortcuts_and_norms(rule):
    x = torch.randn(2, 3, 8, 8)
    _check_served(models.resnet(8), rule, x)
    _check_served(models.vgg(5, widths=(4, 6, 8)), rule, x)


def _check_served(model, rule, x):
    linear = [n for n, m in model.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    new = convert(model, rule, example=x)
    assert list(fed_layers(new)) == linear
    assert {layer.feedback.rule for layer in fed_layers(new).values()} == {RULES[rule]().name}
    with torch.no_grad():
        assert torch.equal(new.eval()(x), model.eval()(x))


def test_option_a_keeps_every_second_pixel_and_adds_silent_maps():
    h = torch.arange(2 * 3 * 4 * 4, dtype=torch.float).view(2, 3, 4, 4)
    out = models.resnet(8).stage2[0].shortcut(torch.zeros(1, 16, 4, 4))
    assert out.shape == (1, 32, 2, 2)
    wide = type(models.resnet(8).stage2[0].shortcut)(2, 2)(h)
    assert torch.equal(wide[:, :3], h[:, :, ::2, ::2])
    assert not wide[:, 3:].any()
    assert wide.shape == (2, 5, 2, 2)


def test_vgg_of_any_depth_has_that_many_layers_with_weights():
    for depth in range(5, 20):
        model = models.vgg(depth, norm=False)
        widths = [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)]
        assert len(widths) + 1 == depth
        assert widths == sorted(widths)
        assert set(widths) == {64, 128, 256, 512}


def test_a_linear_net_without_bias_is_a_product_of_matrices():
    net = models.mlp((5, 4, 3), activation=None, bias=False).double()
    x = torch.randn(7, 5, dtype=torch.double)
    W1, W2 = net.parameters()
    # Two products of five and four terms.
    bound = 9 * torch.finfo(torch.double).eps * (x.abs() @ W1.abs().T @ W2.abs().T)
    assert bool(((net(x) - x @ W1.T @ W2.T).abs() <= bound).all())
    assert not any(isinstance(m, nn.ReLU) for m in net.modules())


def test_the_seed_draws_the_weights_and_the_global_state_is_left_alone():
    before = torch.get_rng_state()
    a, b, c = (models.make("lenet-mnist", seed=s).state_dict() for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not any(torch.equal(a[k], c[k]) for k in a)


def test_xavier_bounds_every_weight_by_its_fans_and_silences_the_biases():
    model = models.make("lenet-cifar", initialise=models.xavier)
    for layer in model.modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            area = layer.weight[0, 0].numel()
            bound = (6 / (area * (layer.weight.shape[0] + layer.weight.shape[1]))) ** 0.5
            top = float(layer.weight.detach().abs().max())
            # The largest of n uniform numbers misses the top percent with probability .99^n.
            assert 0.99 * bound < top <= bound * (1 + 1e-6)
            assert layer.weight.numel() > 800
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lenet", {}, "one of the names mlp, lenet-mnist"),
        ("mlp", {"width": 3}, "cannot be made with {'width': 3}"),
        ("mlp", {"widths": (3,)}, "at least two"),
        ("mlp", {"widths": (3, 0, 2)}, "whole numbers ≥ 1"),
        ("vgg", {"depth": 4}, "a depth of at least 5; got 4"),
    ],
)
def test_what_cannot_be_made_is_refused(name, options, message):
    with pytest.raises(InputError, match=message):
        models.make(name, **options)


@pytest.mark.parametrize("depth", [2, 18, 21])
def test_a_residual_net_for_cifar_has_a_depth_of_six_n_and_two(depth):
    with pytest.raises(InputError, match=r"6n \+ 2"):
        models.resnet(depth)
