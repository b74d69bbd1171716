"""Layers, geometries, nets and rules of the torch backend, drawn by their structure and a seed."""

import torch
from hypothesis import strategies as st
from torch import nn

from linfa.nn import convert
from linfa.nn.rules import REGISTRY, DirectFeedback, FeedbackAlignment, FixedRandomSign

SLOTS = ("bp", "fa", "rho-fa", "interpolated", "usf", "brsf", "frsf", "usf-init", "usf-sn")
"""The rules whose feedback stands in the weight's slot and does not learn."""
DIRECT = ("fa-dense", "dfa")
RULES = (*SLOTS, *DIRECT)
assert set(RULES) <= set(REGISTRY)
SEEDED = {
    "fa": FeedbackAlignment(seeded=True),
    "frsf": FixedRandomSign(seeded=True),
    "fa-dense": FeedbackAlignment(dense=True, seeded=True),
    "dfa": DirectFeedback(seeded=True),
}
"""The rules whose feedback may be drawn anew in every backward pass, by the name of the same rule with a buffer."""

seeds = st.integers(0, 2**16)
modes = st.sampled_from(["zeros", "reflect", "replicate", "circular"])


def normal(*shape, seed=0, dtype=torch.double):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double).to(dtype)


@st.composite
def convolutions(draw, dtypes=(torch.double,)):
    """Draw a convolutional layer and a batch of inputs that it accepts."""
    n, back = draw(st.sampled_from([1, 2, 3])), draw(st.booleans())
    groups = draw(st.sampled_from([1, 2]))
    kernel = draw(st.lists(st.integers(1, 4 if n < 3 else 2), min_size=n, max_size=n).map(tuple))
    dilation, stride = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    channels = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    how = {"dilation": dilation, "groups": groups, "bias": draw(st.booleans())}
    spread = max(dilation * (k - 1) for k in kernel)
    size = spread + draw(st.integers(2, 4))
    if back:
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[n - 1]
        extra = draw(st.integers(0, max(stride, dilation) - 1))
        how |= {"stride": stride, "padding": draw(st.integers(0, 1)), "output_padding": extra}
    else:
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n - 1]
        how["padding_mode"] = draw(modes)
        padding = draw(st.sampled_from([0, 1, "same", "valid"]))
        how["padding"] = padding
        how["stride"] = 1 if padding == "same" else stride
    torch.manual_seed(draw(seeds))
    layer = kind(*channels, kernel, **how, dtype=draw(st.sampled_from(dtypes)))
    batch = (draw(st.integers(1, 3)),) if draw(st.booleans()) else ()
    h = normal(*batch, channels[0], *(size + back,) * n, seed=draw(seeds), dtype=layer.weight.dtype)
    return layer, h


def mlp(*widths, dtype=torch.float, bias=True, activation=nn.ReLU):
    """Return linear layers with an activation between them."""
    torch.manual_seed(0)
    layers = []
    for n, m in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(n, m, bias=bias, dtype=dtype), activation()]
    return nn.Sequential(*layers[:-1])


def small_net(dtype=torch.float):
    """Return a net of convolutions, pooling and dense layers, for inputs (N, 2, 8, 8)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, padding_mode="circular", dtype=dtype),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 4, 3, groups=2, dtype=dtype),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 6, dtype=dtype),
        nn.ReLU(),
        nn.Linear(6, 3, dtype=dtype),
    )


def lenet():
    """Return the net and the sizes that torch.compile once gave wrong gradients for (pytorch/pytorch#185509)."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 84),
        nn.ReLU(),
        nn.Linear(84, 10),
    )


def fed(model, rule, example=None, **how):
    """Return a converted model; the rules that need sizes get them from the example."""
    return convert(model, rule, example=example, **how)


def gradients(model, h, run=None, loss=lambda z: z.square().sum() / 2):
    """Return the gradients of a loss, by parameter."""
    model.zero_grad()
    loss((run or model)(h)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def apart(a, b):
    """Return the largest relative distance between gradients of the same names."""
    assert a.keys() == b.keys()
    return max(float((a[k] - b[k]).norm() / b[k].norm().clamp(min=1e-30)) for k in b)
