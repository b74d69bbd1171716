"""Small nets of every kind of graph that laws are asked of, and nets whose graph is drawn."""

import torch
from hypothesis import strategies as st
from torch import nn

F = nn.functional
SIZE, CLASSES = 8, 3
BATCH = 5


class Residual(nn.Module):
    """Post-activation blocks with BatchNorm, option-A shortcut, as in ResNets for CIFAR."""

    def __init__(self, width=4):
        super().__init__()
        self.conv = nn.Conv2d(2, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(2 * width)
        self.conv2 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * width)
        self.fc = nn.Linear(2 * width, CLASSES)
        self.width = width

    def forward(self, x):
        h = F.relu(self.norm(self.conv(x)))
        z = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(h)))))
        short = F.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, self.width // 2, self.width - self.width // 2))
        return self.fc(torch.flatten(F.adaptive_avg_pool2d(F.relu(z + short), 1), 1))


class Preactivated(nn.Module):
    """A stream that BatchNorm–ReLU–conv blocks read from and add to."""

    def __init__(self, width=4, blocks=2):
        super().__init__()
        self.stem = nn.Conv2d(2, width, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(blocks + 1))
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(blocks))
        self.fc = nn.Linear(width, CLASSES)

    def forward(self, x):
        h = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=False):
            h = h + conv(F.relu(norm(h)))
        return self.fc(F.relu(self.norms[-1](h)).mean((2, 3)))


class Dense(nn.Module):
    """Every layer reads what all before it have written, side by side."""

    def __init__(self, growth=3):
        super().__init__()
        self.conv1 = nn.Conv2d(2, growth, 3, padding=1)
        self.conv2 = nn.Conv2d(growth, growth, 3, padding=1)
        self.conv3 = nn.Conv2d(2 * growth, growth, 3, padding=1)
        self.fc = nn.Linear(3 * growth * 16, CLASSES)

    def forward(self, x):
        h1 = F.relu(self.conv1(x))
        h2 = torch.cat([h1, F.relu(self.conv2(h1))], 1)
        h3 = torch.cat([h2, F.relu(self.conv3(h2))], 1)
        return self.fc(F.max_pool2d(h3, 2).flatten(1))


def lenet(activation=nn.ReLU):
    return nn.Sequential(
        nn.Conv2d(2, 4, 3),
        activation(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 2),
        activation(),
        nn.Flatten(),
        nn.Linear(20, 6),
        activation(),
        nn.Linear(6, CLASSES),
    )


def vgg():
    layers = []
    for before, width in [(2, 4), (4, 4), (4, 6)]:
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        layers += [nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, CLASSES))


def mlp(activation=nn.ReLU):
    return nn.Sequential(
        nn.Flatten(), nn.Linear(128, 7), activation(), nn.Linear(7, 5), activation(), nn.Linear(5, CLASSES)
    )


def odd():
    """Groups, dilation, a transposed convolution, unusual padding, a leaky unit with a slope that learns."""
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, padding_mode="circular", groups=2),
        nn.PReLU(6),
        nn.Conv2d(6, 4, 3, padding="same", dilation=2, groups=2),
        nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(4, 6, 2, stride=2, groups=2),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.PixelShuffle(1),
        nn.ZeroPad2d(1),
        nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
        nn.Dropout(0.0),
        nn.Flatten(),
        nn.Linear(400, CLASSES),
    )


GRAPHS = {
    "lenet": lenet,
    "resnet": Residual,
    "preactivated": Preactivated,
    "densenet": Dense,
    "vgg": vgg,
    "mlp": mlp,
    "odd": odd,
}
RULES = ("bp", "fa", "rho-fa", "usf", "frsf", "usf-init", "interpolated", "kp", "dfa")
"""Rules with a law."""


def made(name, dtype=torch.double, seed=0):
    """Return a net of a kind; the affine pairs of its normalisations are not what they always start from."""
    torch.manual_seed(seed)
    net = GRAPHS[name]() if isinstance(name, str) else name()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.5, 0.5)
    return net.to(dtype)


def batches(n, dtype=torch.double, seed=0):
    """Return n batches of images and their classes."""
    source = torch.Generator().manual_seed(seed)
    return [
        (
            torch.randn(BATCH, 2, SIZE, SIZE, generator=source, dtype=torch.double).to(dtype),
            torch.randint(CLASSES, (BATCH,), generator=source),
        )
        for _ in range(n)
    ]


def loss_of(y):
    """Return the loss of an output on these classes."""
    return lambda f: F.cross_entropy(f, y)


class Drawn(nn.Module):
    """A net that grows step by step: every step takes what it likes of what is there, and adds what it makes.

    Args:
        plan: (kind, choice, choice) for every step; a step that does not fit the shapes is left out.
    """

    def __init__(self, plan, channels=2, size=6):
        super().__init__()
        self.layers = nn.ModuleList()
        self.steps = []
        torch.manual_seed(0)
        there = [torch.randn(2, channels, size, size)]
        for kind, first, second in plan:
            a, b = first % len(there), second % len(there)
            step = KINDS[kind](self, there, a, b, first, second)
            if step is not None:
                with torch.no_grad():
                    there.append(self._made(step, there))
                self.steps.append(step)
        self.fc = nn.Linear(there[-1][0].numel(), CLASSES)
        self.kinds = {step[0] for step in self.steps}

    def _made(self, step, there):
        kind, how, a, b = step
        return self.layers[how](there[a]) if kind == "layer" else FUNCTIONS[kind](there[a], there[b], how)

    def forward(self, x):
        there = [x]
        for step in self.steps:
            there.append(self._made(step, there))
        return self.fc(there[-1].flatten(1))


def _layer(make):
    def add(net, there, a, b, first, second):
        module = make(there[a].shape[1], there[a].shape[2], first, second)
        if module is None:
            return None
        net.layers.append(module)
        return ("layer", len(net.layers) - 1, a, b)

    return add


def _function(kind, fits=lambda s, t: True):
    def add(net, there, a, b, first, second):
        return (kind, first, a, b) if fits(there[a].shape, there[b].shape) else None

    return add


def _again(net, there, a, b, first, second):
    """Call a layer a second time, where its input fits."""
    fitting = [i for i, m in enumerate(net.layers) if getattr(m, "in_channels", 0) == there[a].shape[1]]
    return ("layer", fitting[second % len(fitting)], a, b) if fitting and there[a].shape[2] > 2 else None


def _convolution(channels, size, first, second):
    groups = 2 if channels % 2 == 0 and second % 3 == 0 else 1
    mode = ("zeros", "circular", "replicate", "reflect")[second % 4]
    kernel = 3 if size > 2 else 1
    return nn.Conv2d(
        channels, 4, kernel, 1 + first % 2, kernel // 2, groups=groups, bias=first % 3 > 0, padding_mode=mode
    )


POOLS = (nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d)
KINDS = {
    "conv": _layer(_convolution),
    "transposed": _layer(lambda c, s, i, j: nn.ConvTranspose2d(c, 4, 2, 1 + i % 2, bias=j % 2 == 0) if s < 9 else None),
    "norm": _layer(lambda c, s, i, j: nn.BatchNorm2d(c, eps=(1e-5, 1e-2)[i % 2])),
    "relu": _layer(lambda c, s, i, j: (nn.ReLU(), nn.LeakyReLU(0.1), nn.PReLU(), nn.ReLU(inplace=False))[i % 4]),
    "pool": _layer(
        lambda c, s, i, j: (nn.MaxPool2d(2), nn.AvgPool2d(2), nn.AdaptiveMaxPool2d(2))[i % 3] if s > 1 else None
    ),
    "again": _again,
    "add": _function("add", lambda s, t: s == t),
    "largest": _function("largest", lambda s, t: s == t),
    "cat": _function("cat", lambda s, t: s[2:] == t[2:] and s[1] + t[1] < 13),
    "half": _function("half", lambda s, t: s[1] % 2 == 0),
    "zeros": _function("zeros", lambda s, t: s[1] < 9),
    "scaled": _function("scaled"),
    "wider": _function("wider", lambda s, t: s[2] < 7),
    "thinned": _function("thinned"),
    "turned": _function("turned"),
}
FUNCTIONS = {
    "add": lambda x, y, i: x + y if i % 2 else x - 0.5 * y,
    "largest": lambda x, y, i: torch.maximum(x, y),
    "cat": lambda x, y, i: torch.cat([x, y], dim=1),
    "half": lambda x, y, i: x.chunk(2, dim=1)[i % 2],
    "zeros": lambda x, y, i: F.pad(x, (0, 0, 0, 0, i % 2, 2)),
    "scaled": lambda x, y, i: (2 * x, -x, x / 3, x * 0)[i % 4],
    "wider": lambda x, y, i: F.interpolate(x, scale_factor=2, mode=("nearest", "bilinear")[i % 2]),
    "thinned": lambda x, y, i: x[:, :, ::2, ::2],
    "turned": lambda x, y, i: x.transpose(2, 3).flip(1),
}


@st.composite
def graphs(draw):
    """Draw the plan of a net that has a law to lose."""
    step = st.tuples(st.sampled_from(list(KINDS)), st.integers(0, 23), st.integers(0, 23))
    return [("conv", 0, 0), *draw(st.lists(step, min_size=1, max_size=9))]
