"""Linear maps seen forward through W and backward through B: against autograd, and against loops in NumPy."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from linfa.errors import InputError
from linfa.nn import functional
from linfa.nn.functional import Made
from linfa.nn.layers import feed
from linfa.nn.rules.feedback_alignment import Fixed
from tests.nn.strategies import convolutions, normal, seeds
from tests.tolerance import rounding

# torch's own layer says so, not ours.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")


def geometry(layer):
    names = ("stride", "padding", "dilation", "groups")
    how = {name: getattr(layer, name) for name in names}
    if layer.transposed:
        return {**how, "transposed": True, "output_padding": layer.output_padding}
    return {**how, "padding_mode": layer.padding_mode}


def through(layer, h, B):
    return functional.convolution(h, layer.weight, B, layer.bias, **geometry(layer))


def with_weight(layer, h, W):
    return torch.func.functional_call(layer, {"weight": W}, (h,))


def near(got, needed, terms, scale, dtype=np.float64):
    return float((got - needed).detach().abs().max()) <= float(rounding(terms, scale, dtype))


def size(*tensors):
    return math.prod(float(t.detach().norm()) for t in tensors) + 1e-300


@given(convolutions((torch.double, torch.float)), seeds)
def test_a_convolution_sends_back_what_autograd_sends_through_b_and_its_own_gradients_are_true(drawn, seed):
    layer, h = drawn
    dtype = np.float64 if h.dtype == torch.double else np.float32
    h.requires_grad_()
    B = normal(*layer.weight.shape, seed=seed, dtype=h.dtype)
    z, true = through(layer, h, B), layer(h)
    terms = layer.weight.numel() + true.numel()
    assert z.shape == true.shape
    scale = size(layer.weight, h) + (size(layer.bias) if layer.bias is not None else 0)
    assert near(z, true, terms, scale, dtype)
    e = normal(*z.shape, seed=seed + 1, dtype=h.dtype)
    parameters = list(layer.parameters())
    dh, *grads = torch.autograd.grad(z, [h, *parameters], e)
    needed = torch.autograd.grad(true, parameters, e)
    (sent,) = torch.autograd.grad(with_weight(layer, h, B), h, e)
    # Padding adds some places of ḣ up: no more of them than there are.
    assert near(dh, sent, terms, size(B, e) * h.numel(), dtype)
    for g, g_true in zip(grads, needed, strict=True):
        assert near(g, g_true, terms, size(h, e) * h.numel() + size(e) * e.numel(), dtype)


@given(convolutions(), seeds)
def test_b_equal_to_w_is_autograd(drawn, seed):
    layer, h = drawn
    h.requires_grad_()
    z, true = through(layer, h, layer.weight.detach()), layer(h)
    e = normal(*z.shape, seed=seed)
    wrt = [h, *layer.parameters()]
    for got, needed in zip(torch.autograd.grad(z, wrt, e), torch.autograd.grad(true, wrt, e), strict=True):
        assert near(got, needed, z.numel() + h.numel(), size(layer.weight, h, e) * h.numel() + size(e) * e.numel())


def sent_back_by_loops(B, e, shape, stride, padding, dilation, groups):
    """Return ḣ[c, i] = Σ B[k, c, a] ż[k, o] over all i = o·stride + a·dilation − padding: one number at a time."""
    dh = np.zeros(shape)
    per_group_out, per_group_in = B.shape[0] // groups, B.shape[1]
    for sample, k, c in itertools.product(range(shape[0]), range(B.shape[0]), range(per_group_in)):
        channel = k // per_group_out * per_group_in + c
        for out in np.ndindex(e.shape[2:]):
            for a in np.ndindex(B.shape[2:]):
                at = tuple(o * stride + x * dilation - padding for o, x in zip(out, a, strict=True))
                if all(0 <= i < n for i, n in zip(at, shape[2:], strict=True)):
                    dh[(sample, channel, *at)] += B[(k, c, *a)] * e[(sample, k, *out)]
    return dh


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), [(1, 0, 1, 1), (2, 1, 1, 2), (1, 2, 2, 1)])
def test_a_convolution_against_loops(n, stride, padding, dilation, groups):
    kernel = (3, 2, 1)[:n]
    h = normal(2, 2, *(5,) * n, seed=1).requires_grad_()
    W, B = (normal(4, 2 // groups, *kernel, seed=s).requires_grad_(s == 2) for s in (2, 3))
    z = functional.convolution(h, W, B, stride=stride, padding=padding, dilation=dilation, groups=groups)
    e = normal(*z.shape, seed=4)
    (dh,) = torch.autograd.grad(z, h, e)
    needed = sent_back_by_loops(B.detach().numpy(), e.numpy(), h.shape, stride, padding, dilation, groups)
    assert np.abs(dh.numpy() - needed).max() <= rounding(B.numel(), size(B, e))


@given(st.lists(st.integers(1, 4), max_size=3), st.integers(1, 5), st.integers(1, 5), st.booleans(), seeds)
def test_a_linear_layer_against_einsum_with_any_leading_axes(leading, n, m, bias, seed):
    h = normal(*leading, n, seed=seed).requires_grad_()
    W, B = normal(m, n, seed=seed + 1).requires_grad_(), normal(m, n, seed=seed + 2)
    b = normal(m, seed=seed + 3).requires_grad_() if bias else None
    z = functional.linear(h, W, B, b)
    e = normal(*z.shape, seed=seed + 4)
    grads = torch.autograd.grad(z, [t for t in (h, W, b) if t is not None], e)
    rows_e, rows_h = e.reshape(-1, m).numpy(), h.detach().reshape(-1, n).numpy()
    needed = [
        np.einsum("mn,km->kn", B, rows_e).reshape(h.shape),
        np.einsum("km,kn->mn", rows_e, rows_h),
        np.einsum("km->m", rows_e),
    ]
    for got, true in zip(grads, needed, strict=False):
        assert np.abs(got.numpy() - true).max(initial=0) <= rounding(
            e.numel() + n * m, size(e) * (size(B) + size(h) + e.numel())
        )


def flops(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_feedback_costs_what_backprop_costs(kind):
    layer = nn.Linear(7, 5) if kind == "linear" else nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2)
    h = torch.randn((3, 7) if kind == "linear" else (2, 4, 9, 9), requires_grad=True)
    plain = flops(lambda: layer(h).sum().backward())
    feed(layer, Fixed(layer.weight, torch.randn_like(layer.weight)))
    assert flops(lambda: layer(h).sum().backward()) == plain > 0
    # What is not wanted is not worked out.
    assert flops(lambda: layer(h.detach()).sum().backward()) < plain


def test_nothing_is_held_for_a_feedback_that_is_made_in_the_backward_pass():
    W = torch.randn(50, 40, requires_grad=True)
    h = torch.randn(3, 40, requires_grad=True)
    made = Made(lambda: torch.ones(50, 40))

    def held(B):
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
            functional.linear(h, W, B)
        return {t.data_ptr() for t in kept}

    assert held(made) == {h.data_ptr()}
    assert len(held(torch.ones(50, 40))) == 2  # the buffer itself
    assert held(Made(torch.sign, (W.detach(),))) == {h.data_ptr(), W.data_ptr()}


def test_a_weight_that_changes_between_forward_and_backward_is_noticed():
    W, h = torch.randn(3, 2, requires_grad=True), torch.randn(4, 2, requires_grad=True)
    z = functional.linear(h, W, Made(torch.sign, (W.detach(),)))
    with torch.no_grad():
        W.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_autocast_is_the_cast_by_hand(kind, dtype):
    h = torch.randn((3, 6) if kind == "linear" else (2, 2, 6, 6), requires_grad=True)
    W = torch.randn((4, 6) if kind == "linear" else (4, 2, 3, 3), requires_grad=True)
    b, B = torch.randn(4, requires_grad=True), torch.randn_like(W)
    run = functional.linear if kind == "linear" else functional.convolution
    with torch.autocast("cpu", dtype):
        z = run(h, W, B, b)
    by_hand = run(h.to(dtype), W.to(dtype), B.to(dtype), b.to(dtype))
    assert z.dtype == dtype
    assert torch.equal(z, by_hand)
    for got, needed in zip(
        torch.autograd.grad(z.sum(), (h, W, b)), torch.autograd.grad(by_hand.sum(), (h, W, b)), strict=True
    ):
        assert got.dtype == torch.float
        assert torch.equal(got, needed)


def test_autocast_leaves_double_precision_alone():
    h, W = torch.randn(2, 3, dtype=torch.double), torch.randn(4, 3, dtype=torch.double)
    with torch.autocast("cpu", torch.bfloat16):
        assert functional.linear(h, W, W).dtype == torch.nn.functional.linear(h, W).dtype == torch.double


@pytest.mark.parametrize("kind", ["linear", "conv", "dense"])
def test_a_second_derivative_is_refused(kind):
    h = torch.randn((2, 3) if kind == "linear" else (2, 1, 4), requires_grad=True)
    W = torch.randn((3, 3) if kind == "linear" else (1, 1, 1), requires_grad=True)
    if kind == "dense":
        z = functional.send_back(h.detach() * W.mean(), h, torch.randn(4, 4))
    else:
        z = (functional.linear if kind == "linear" else functional.convolution)(h, W, W.detach())
    (dh,) = torch.autograd.grad(z.square().sum(), h, create_graph=True)
    with pytest.raises(InputError, match="second derivative"):
        torch.autograd.grad(dh.sum(), W)


def test_a_second_derivative_is_refused_under_torch_func_too():
    W = torch.randn(3, 3)
    square = lambda h: functional.linear(h, W, W).square().sum()  # noqa: E731
    with pytest.raises(InputError, match="second derivative"):
        torch.func.grad(lambda h: torch.func.grad(square)(h).sum())(torch.randn(3))


@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_per_sample_gradients_are_those_of_a_loop(kind):
    h = normal(*((5, 3) if kind == "linear" else (5, 2, 4, 4)))
    W = normal(*((4, 3) if kind == "linear" else (4, 2, 3, 3)), seed=1)
    B = normal(*W.shape, seed=2)
    run = functional.linear if kind == "linear" else functional.convolution
    each = torch.func.grad(lambda W, h: run(h, W, B).square().sum(), argnums=(0, 1))
    together = torch.func.vmap(each, (None, 0))(W, h)
    for i, hi in enumerate(h):
        for got, needed in zip(together, each(W, hi), strict=True):
            assert torch.allclose(got[i], needed, rtol=1e-12, atol=1e-12)


def test_wrong_shapes_and_paddings_are_refused():
    h, W = torch.ones(1, 2, 4), torch.ones(3, 2, 2)
    with pytest.raises(InputError, match=r"shape of the weight it stands in for, \(3, 2, 2\); got \(3, 2, 1\)"):
        functional.convolution(h, W, W[..., :1])
    with pytest.raises(InputError, match=r"\(3, 4\); got \(4, 3\)"):
        functional.linear(torch.ones(1, 4), torch.ones(3, 4), torch.ones(4, 3))
    with pytest.raises(InputError, match="'same' or 'valid'; got 'full'"):
        functional.convolution(h, W, W, padding="full")
    with pytest.raises(InputError, match=r"one row per number in z .* \(2, 2\); got \(2, 3\)"):
        functional.send_back(torch.ones(1, 2), torch.ones(1, 2), torch.ones(2, 3))


def test_a_batch_that_does_not_fit_is_refused_and_not_laid_out_anew():
    """4 samples of 3 numbers are as many numbers as 2 of 6."""
    h, W = torch.ones(4, 3), torch.ones(5, 6)
    with pytest.raises(InputError, match=r"a weight \(5, 6\) takes 6 numbers per sample; got h \(4, 3\)"):
        functional.linear(h, W, W)
    assert torch.nn.functional.linear(h.reshape(-1, 6), W).shape == (2, 5)  # what a reshape would have given


def test_complex_numbers_and_paddings_that_a_transposed_convolution_has_not_are_refused():
    h, W = torch.ones(1, 1, 5), torch.ones(1, 1, 3)
    with pytest.raises(InputError, match=r"take real numbers; got a weight of torch\.complex64"):
        functional.convolution(h.cfloat(), W.cfloat(), W.cfloat())
    for how in ({"padding": 1, "padding_mode": "circular"}, {"padding": "same"}):
        with pytest.raises(InputError, match="a transposed convolution pads by numbers, with zeros; got"):
            functional.convolution(h, W, W, transposed=True, **how)


def test_a_feedback_that_says_its_shape_is_checked_before_it_is_made():
    W, made = torch.ones(3, 4), Made(lambda: pytest.fail("made"), (), (4, 3))
    with pytest.raises(InputError, match=r"\(3, 4\); got \(4, 3\)"):
        functional.linear(torch.ones(1, 4), W, made)
    with pytest.raises(InputError, match=r"\(2, 2\); got \(4, 3\)"):
        functional.send_back(torch.ones(1, 2), torch.ones(1, 2), made)
