"""The retyped layers: everything about torch's layers stays, but the way back."""

import pytest
import torch
from hypothesis import given
from torch import nn

from linfa.errors import InputError
from linfa.nn import convert, targets
from linfa.nn.layers import FED, feed, unfeed
from linfa.nn.rules.backprop import Transported
from tests.nn.strategies import convolutions, normal, seeds

# torch's own layer says so, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


@given(convolutions(), seeds)
def test_a_fed_layer_sends_back_through_the_b_that_it_reports(drawn, seed):
    plain, h = drawn
    layer, h = convert(plain, "fa", seed=seed), h.requires_grad_()
    z = layer(h)
    e = normal(*z.shape, seed=seed)
    (dh,) = torch.autograd.grad(z, h, e)
    back = torch.func.functional_call(plain, {"weight": layer.feedback.B}, (h,))
    (needed,) = torch.autograd.grad(back, h, e)
    assert torch.allclose(dh, needed, rtol=1e-10, atol=1e-10)
    assert torch.allclose(layer.feedback.signal(layer, h, e), needed, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d])
def test_an_output_size_is_served_and_forgotten(kind):
    n = {nn.ConvTranspose1d: 1, nn.ConvTranspose2d: 2, nn.ConvTranspose3d: 3}[kind]
    plain = kind(2, 3, 3, stride=2, dtype=torch.double)
    layer, h = convert(plain, "bp"), normal(2, 2, *(4,) * n).requires_grad_()
    for size in (10, 9):
        z, true = layer(h, output_size=[size] * n), plain(h, output_size=[size] * n)
        assert z.shape == true.shape
        assert torch.allclose(z, true)
        for got, needed in zip(
            torch.autograd.grad(z.square().sum(), [h, *layer.parameters()]),
            torch.autograd.grad(true.square().sum(), [h, *plain.parameters()]),
            strict=True,
        ):
            assert torch.allclose(got, needed)
    assert layer.output_padding == plain.output_padding
    assert layer(h).shape == plain(h).shape


@pytest.mark.parametrize("shape", [(6,), (4, 6), (2, 4, 6), (2, 3, 4, 6)])
@pytest.mark.parametrize(
    "in_place", [nn.ReLU(inplace=True), nn.LeakyReLU(0.1, inplace=True), nn.Hardtanh(inplace=True)]
)
def test_what_stands_behind_may_work_in_place_on_any_number_of_axes(shape, in_place):
    layer, h = convert(nn.Linear(6, 5), "usf"), normal(*shape, dtype=torch.float).requires_grad_()
    dh = torch.autograd.grad(in_place(layer(h)).sum(), h)[0]
    apart = type(in_place)()
    if isinstance(in_place, nn.LeakyReLU):
        apart = nn.LeakyReLU(0.1)
    assert torch.equal(dh, torch.autograd.grad(apart(layer(h)).sum(), h)[0])


def test_an_unbatched_map_may_be_changed_in_place():
    layer, h = convert(nn.Conv1d(1, 2, 3), "fa"), torch.ones(1, 7, requires_grad=True)
    assert layer(h).relu_().shape == (2, 5)
    layer(h).relu_().sum().backward()


def test_empty_batches_pass():
    layer, h = convert(nn.Linear(6, 5), "fa"), torch.ones(0, 6, requires_grad=True)
    layer(h).sum().backward()
    assert float(layer.weight.grad.abs().sum()) == 0


def test_feeding_is_undone_by_unfeeding_and_strangers_are_refused():
    layer = nn.Linear(2, 3)
    feed(layer, Transported())
    assert type(layer) is FED[nn.Linear]
    unfeed(layer)
    assert type(layer) is nn.Linear
    assert not hasattr(layer, "feedback")
    with pytest.raises(InputError, match=r"feedback serves Linear, Conv1d, .*; got Bilinear"):
        feed(nn.Bilinear(1, 1, 1), Transported())


def test_per_sample_gradients_with_an_activation_in_place():
    net = convert(nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(inplace=True)), "fa").double()
    parameters, h = {n: p.detach() for n, p in net.named_parameters()}, normal(4, 1, 6, 6)
    each = torch.func.grad(lambda p, h: torch.func.functional_call(net, p, (h[None],)).square().sum())
    together = torch.func.vmap(each, (None, 0))(parameters, h)
    for name, g in together.items():
        assert torch.allclose(g, torch.stack([each(parameters, hi)[name] for hi in h]), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rule", ["fa-dense", "drtp"])
def test_in_place_activations_stand_behind_feedback_that_is_no_slot_too(rule):
    h, y = normal(3, 2, 6, 6), torch.tensor([0, 1, 0])

    def grads(in_place):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(in_place), nn.Conv2d(3, 2, 3), nn.ReLU(in_place), nn.Flatten(), nn.Linear(8, 2)
        )
        model = convert(net.double(), rule, example=h)
        with targets(model, y):
            model(h).square().sum().backward()
        return [p.grad for p in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(grads(True), grads(False), strict=True))
