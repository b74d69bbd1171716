"""Layers as one writes them in ten lines, each with a defect of the field; and subjects for the conformance suite."""

import torch
from torch import nn

from linfa.nn import convert
from linfa.nn.conformance import Subject


class NaiveFunction(torch.autograd.Function):
    """Saves B, and sends it back in float32, in two dimensions, without a vmap rule; as much of the field does."""

    @staticmethod
    def forward(ctx, h, W, b, B):
        ctx.save_for_backward(h, W, B)
        return nn.functional.linear(h, W, b)

    @staticmethod
    def backward(ctx, dz):
        h, _, B = ctx.saved_tensors
        return dz.mm(B.float()), dz.t().mm(h), dz.sum(0), None


class NaiveLinear(nn.Linear):
    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.B = nn.Parameter(torch.randn_like(self.weight), requires_grad=False)

    def forward(self, h):
        return NaiveFunction.apply(h, self.weight, self.bias, self.B)


class NaiveConv(nn.Conv2d):
    """Ignores the padding mode, and its feedback is no buffer."""

    def __init__(self, *sizes, **how):
        super().__init__(*sizes, **how)
        self.B = torch.randn_like(self.weight)

    def forward(self, h):
        through = nn.functional.conv2d(h, self.B, None, self.stride, self.padding)
        true = nn.functional.conv2d(h.detach(), self.weight, self.bias, self.stride, self.padding)
        return true + through - through.detach()


def plain_linear(layer, h, W):
    return nn.functional.linear(h, W, layer.bias)


def plain_conv(layer, h, W):
    return nn.Conv2d._conv_forward(layer, h, W, layer.bias)


KINDS = {
    "linear": (lambda: nn.Linear(6, 5), plain_linear, (4, 6)),
    "linear, sequences": (lambda: nn.Linear(6, 5), plain_linear, (4, 3, 6)),
    "conv": (
        lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1, padding_mode="reflect", groups=2),
        plain_conv,
        (4, 2, 7, 7),
    ),
}


def ours(rule, kind):
    """Return a layer of ours as a subject of the suite."""
    plain, map_, shape = KINDS[kind]

    def make():
        torch.manual_seed(0)
        return convert(plain(), rule).eval()  # in training, brsf's feedback is another at every pass

    return Subject(make, lambda layer: layer.feedback.matrix(layer.weight), map_, shape)


def naive(kind):
    """Return the naive layer of a kind as a subject of the suite."""
    make, map_, shape = {
        "linear": (lambda: NaiveLinear(6, 5), plain_linear, (4, 6)),
        "linear, sequences": (lambda: NaiveLinear(6, 5), plain_linear, (4, 3, 6)),
        "conv": (lambda: NaiveConv(2, 4, 3, padding=1, padding_mode="reflect"), plain_conv, (4, 2, 7, 7)),
    }[kind]

    def seeded():
        torch.manual_seed(0)
        return make()

    return Subject(seeded, lambda layer: layer.B.detach(), map_, shape)
