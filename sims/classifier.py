"""One classifier of images, trained under one rule and watched: the cell of `convnets` and `rule_benchmark`.

Angles are read on a few test images before the first step, and then at steps that grow geometrically:

    weight     ∠(W_l, B_l)
    sent       ∠(B_lᵀ ż_l, W_lᵀ ż_l) for the ż_l that the rule sends: what layer l alone does to a signal
    signal     ∠(ż_l, the true ż_l) at the output of layer l: what all layers above it have done
    update     ∠(U_l, −∇_l)

Torch is loaded when a cell is computed, not before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from linfa.errors import InputError
from sims.made import device
from sims.onlooker import AbstractOnlooker

if TYPE_CHECKING:
    import torch
    from torch import nn

    from linfa.nn.rules import AbstractRule
    from linfa.nn.train import Data, Trained, Training


@dataclass(frozen=True)
class Optimiser:
    """Adam, or SGD with momentum.

    Args:
        name: "adam" or "sgd".
        rate: η at the start.
        decay: λ, coupled.
        momentum: μ of SGD.
        drops: the epochs, counted from 0, from which on η is a tenth of what it was.
    """

    name: str = "adam"
    rate: float = 1e-3
    decay: float = 0.0
    momentum: float = 0.0
    drops: tuple[int, ...] = ()

    def make(self) -> Any:
        """Return the optimiser of `linfa.nn.train`."""
        import linfa
        from linfa.nn import train

        rate = linfa.StepDecay(self.rate, milestones=self.drops) if self.drops else self.rate
        if self.name == "adam" and not self.momentum:
            return train.Adam(rate, self.decay)
        if self.name == "sgd":
            return train.SGD(rate, self.momentum, self.decay)
        raise InputError(f"the optimiser is 'adam' without momentum, or 'sgd'; got {self.name!r}, μ = {self.momentum}")


@dataclass(frozen=True)
class Classifier:
    """A net, its rule, its images, and how it is trained.

    Args:
        data: the name of the images.
        net: a name of `linfa.nn.models`, or "small": architecture 1 with its pools and layers, for digits of 12×12.
        rule: the registry name of the rule.
        optimiser: how it steps.
        epochs: how often it sees its images.
        train: how many of the first images it learns from; None for all.
        test: how many of the first test images it is tested on; None for all.
        std: of the Gaussian that B_0 is drawn from; None for the rule's own law.
        xavier: whether weights start Xavier-uniform and biases at zero; otherwise as torch starts them.
        pad: black margin.
        crop: side of the square cut at random; 0 for none.
        margin: zeros around an image before it is cut.
        flip: whether images are mirrored with probability one half.
        batch: images per step.
        seed: of weights, feedback, order and crops.
    """

    data: str
    net: str
    rule: str
    optimiser: Optimiser
    epochs: int
    train: int | None = None
    test: int | None = None
    std: float | None = None
    xavier: bool = False
    pad: int = 0
    crop: int = 0
    margin: int = 0
    flip: bool = False
    batch: int = 128
    seed: int = 0

    def images(self) -> Data:
        """Return the images, standardised by the moments of the whole training set."""
        from linfa.nn.train import Data

        data = Data.load(self.data)
        x, y = data.inputs[: self.train], data.targets[: self.train]
        return replace(
            data,
            inputs=x,
            targets=y,
            test_inputs=data.test_inputs[: self.test],
            test_targets=data.test_targets[: self.test],
        )

    def training(self) -> Training:
        """Return how it is trained."""
        from linfa.nn import train

        ways = [train.Pad(self.pad)] if self.pad else []
        ways += [train.Crop(self.crop, self.margin)] if self.crop else []
        ways += [train.Flip()] if self.flip else []
        return train.Training(self.optimiser.make(), self.epochs, self.batch, augmentation=tuple(ways), seed=self.seed)

    def plain(self, x: torch.Tensor, images: Data) -> torch.Tensor:
        """Return some of the images as the net is tested on them."""
        import torch

        for way in self.training().augmentation:
            x = way.plain(x)
        return images.ready(x, torch.float32)

    def model(self, images: Data, device: torch.device | str = "cpu", **options: Any) -> nn.Module:
        """Return the converted net, made with options of its own; the first layer sends no signal, and needs no B."""
        from linfa.nn import convert, models

        start = models.xavier if self.xavier else None
        if self.net == "small":
            plain = _small(self.seed, start)
        else:
            channels = images.inputs.shape[1]
            plain = models.make(self.net, seed=self.seed, initialise=start, channels=channels, **options)
        example = self.plain(images.test_inputs[:2], images)
        first = next(name for name, module in plain.named_modules() if hasattr(module, "weight"))
        made = convert(plain, rule_of(self.rule, self.std), layers={first: "bp"}, seed=self.seed, example=example)
        return made.to(device)


def rule_of(name: str, std: float | None) -> AbstractRule | str:
    """Return the rule of a name, with B_0 ~ N(0, std²) where a std is given.

    Raises:
        InputError: where the rule draws no B_0.
    """
    from linfa.nn import draws, rules

    if std is None:
        return name
    draw = draws.Gaussian(std)
    drawn: dict[str, AbstractRule] = {
        "fa": rules.FeedbackAlignment(draw),
        "fa-dense": rules.FeedbackAlignment(draw, dense=True),
        "usf-init": rules.InitialSign(draw),
    }
    if name not in drawn:
        raise InputError(f"a std of B_0 is for {', '.join(drawn)}; got {std} for {name!r}")
    return drawn[name]


def trained(
    cell: Classifier, watch: Mapping[str, Any] | None = None, images: Data | None = None, **options: Any
) -> xr.Dataset:
    """Train, and return losses and accuracies by epoch, and what the watchers logged.

    Args:
        cell: what is trained, and how.
        watch: by name, what makes a watcher.
        images: in the place of the cell's.
        options: of the model.
    """
    where = device()  # before anything of torch's: without it, one sentence says so
    from linfa.nn.train import fit

    images = cell.images() if images is None else images
    return fit(cell.model(images, where, **options), images, cell.training(), watch=watch).dataset


def compute(cell: Classifier) -> xr.Dataset:
    """Train, and return losses and accuracies by epoch, and angles in radians by step and layer."""
    looks = Looks()
    history = trained(cell, {"looks": looks})
    return xr.merge([history.drop_vars("looks_step"), looks.dataset()], combine_attrs="no_conflicts")


class Looks(AbstractOnlooker):
    """Reads angles before the first step, and then at steps that grow by a fifth: a watcher of `linfa.nn.train`."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, dict[str, float]]] = {}
        self.every = 1

    def __call__(self, trained: Trained) -> Looks:
        """Take place, and read for the first time."""
        from linfa.nn.monitors import Monitors, SentAngle, SignalAngle, UpdateAngle, WeightAngle

        monitors = [WeightAngle(), SignalAngle(), UpdateAngle(), SentAngle()]
        self.monitors = Monitors(trained.model, monitors, trained.inputs, lambda f: trained.loss(f, trained.targets))
        self.log(0)
        return self

    def log(self, step: int) -> Mapping[str, Any]:
        """Read; the next time is the first multiple of a number larger than this step, which is that number."""
        read = self.monitors.read()
        self.rows[step] = {key: {k: float(v) for k, v in found.items()} for key, found in read.items()}
        self.every = max(step + 1, math.ceil(1.2 * step))
        return {}

    def dataset(self) -> xr.Dataset:
        """Return what was read, by step and layer; a layer that has no such angle is not among an angle's layers."""
        found = {}
        for key, layers in self.rows[0].items():
            if not layers:
                continue  # direct feedback: no layer sends anything
            values = np.array([[row[key][name] for name in layers] for row in self.rows.values()])
            place = f"{key.removesuffix('_angle')}_layer"
            found[key] = xr.DataArray(values, dims=("step", place), coords={place: list(layers)})
        return xr.Dataset(found, {"step": list(self.rows)})


def _small(seed: int, initialise: Callable[[nn.Module], None] | None) -> nn.Module:
    """Return conv 1→16→32 (5×5 and 3×3, pool 2 after the first), dense 128→48→24→10, for digits padded to 12×12."""
    from collections import OrderedDict

    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = OrderedDict(conv1=nn.Conv2d(1, 16, 5), act1=nn.ReLU(), pool1=nn.MaxPool2d(2))
        layers |= OrderedDict(conv2=nn.Conv2d(16, 32, 3), act2=nn.ReLU(), flatten=nn.Flatten())
        for l, (n_in, n_out) in enumerate(((128, 48), (48, 24), (24, 10)), start=1):
            layers[f"fc{l}"] = nn.Linear(n_in, n_out)
            if l < 3:
                layers[f"act{l + 2}"] = nn.ReLU()
        net = nn.Sequential(layers)
        if initialise is not None:
            initialise(net)
        return net
