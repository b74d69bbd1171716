"""Study `classes`: accuracy and alignment against the number of classes, rule by rule, on random subsets of classes.

A ReLU net without biases learns to tell n classes apart, drawn anew for every seed; all rules see the same images and,
but for three starts, begin at the same weights. Those are feedback alignment from read-outs along the feedback,

    W_{l+1}(0)[:,k] = c · ½‖W_l(0)[k,:]‖²/‖B_{l+1}[:,k]‖² · B_{l+1}[:,k],

where alignment dominates at every neuron if c > 1 (κ_k = (c − 1)·½‖W_l(0)[k,:]‖²) and at none if c < 1. Only the start
looks at the feedback, which stays fixed. Two controls tell what dominance does from what else is new about the start:
c < 1 (aligned, not dominated), and columns of the lengths of the dominated start in random directions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from linfa.errors import InputError
from sims.made import device
from sims.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

    from linfa.nn.train import Data

STARTS = {"fa-dominated": 2.0, "fa-aligned": 0.5}
"""c of the starts along the feedback: dominated, and aligned without dominance."""

SCALED = "fa-scaled"
"""The start with the lengths of the dominated one, in random directions."""

RULES = ("bp", "fa", "fa-dominated", "fa-aligned", SCALED, "dfa", "usf", "brsf", "frsf", "kp")

READINGS = 8
"""How often alignment is read, roughly."""


@dataclass(frozen=True)
class Images:
    """Images of n classes drawn at random from a set.

    Args:
        data: its name.
        each: training images per class, the first ones; None for all.
    """

    data: str
    each: int | None = None

    def draw(self, classes: int, seed: int) -> Data:
        """Return the images of n classes, numbered anew, standardised by the moments of the whole set."""
        import torch

        from linfa.nn.train import Data

        whole = Data.load(self.data)
        there = int(whole.targets.max()) + 1
        if not 2 <= classes <= there:
            raise InputError(f"{self.data} has {there} classes to draw two or more from; got {classes}")
        chosen = np.random.default_rng([seed, classes]).permutation(there)[:classes]

        def part(x: Tensor, y: Tensor, each: int | None) -> tuple[Tensor, Tensor]:
            at = [torch.nonzero(y == int(c))[:each, 0] for c in chosen]
            return x[torch.cat(at)], torch.cat([torch.full_like(a, i) for i, a in enumerate(at)])

        x, y = part(whole.inputs, whole.targets, self.each)
        test_x, test_y = part(whole.test_inputs, whole.test_targets, None)
        # Test images are shuffled: watchers look at the first ones.
        order = torch.from_numpy(np.random.default_rng([seed, classes, 1]).permutation(len(test_y)))
        return replace(whole, inputs=x, targets=y, test_inputs=test_x[order], test_targets=test_y[order])


@dataclass(frozen=True)
class Teacher:
    """Gaussian inputs, labelled by the largest of n linear outputs with random weights.

    Args:
        n_in: n_0.
        samples: training inputs; as many for every n.
        test: test inputs.
    """

    n_in: int
    samples: int
    test: int

    def draw(self, classes: int, seed: int) -> Data:
        """Return inputs and labels."""
        import torch

        from linfa.nn.train import Data

        if classes < 2:
            raise InputError(f"a teacher tells two classes or more apart; got {classes}")
        rng = np.random.default_rng([seed, classes])
        x = rng.standard_normal((self.samples + self.test, self.n_in))
        y = torch.from_numpy(np.argmax(x @ rng.standard_normal((self.n_in, classes)), axis=1))
        inputs = torch.from_numpy(x.astype(np.float32))
        return Data(inputs[: self.samples], y[: self.samples], inputs[self.samples :], y[self.samples :])


@dataclass(frozen=True)
class Cell:
    """One number of classes: every rule, every seed.

    Args:
        source: where samples come from.
        classes: n.
        hidden: the widths of the hidden layers.
        epochs: how often all samples are seen.
        rate: η of SGD.
        rules: `RULES`, or some of them.
        seeds: how many; of classes, weights, feedback and order.
        batch: samples per step.
        momentum: of SGD.
    """

    source: Images | Teacher
    classes: int
    hidden: tuple[int, ...]
    epochs: int
    rate: float
    rules: tuple[str, ...] = RULES
    seeds: int = 3
    batch: int = 64
    momentum: float = 0.9

    def measure(self) -> xr.Dataset:
        """Return test accuracy, alignment and the least margin κ_k by rule and seed."""
        where = device()
        rows = []
        for seed in range(self.seeds):
            data = self.source.draw(self.classes, seed)
            rows.append([self._train(data, rule, seed, where) for rule in self.rules])
        names = rows[0][0]
        found = {name: (("seed", "rule"), np.array([[r[name] for r in row] for row in rows])) for name in names}
        return xr.Dataset(found, coords={"rule": list(self.rules)})

    def model(self, data: Data, rule: str, seed: int) -> nn.Module:
        """Return a net under a rule at its start; the first layer sends nothing back."""
        from linfa.nn import convert, models

        widths = (int(np.prod(data.inputs.shape[1:])), *self.hidden, self.classes)
        plain = models.make("mlp", widths=widths, bias=False, seed=seed, initialise=models.xavier)
        example = data.test_inputs[:2].float()
        if rule not in (*STARTS, SCALED):
            return convert(plain, rule, example=example, seed=seed)
        net = convert(plain, "fa", seed=seed)
        begin_along_feedback(net, STARTS.get(rule, STARTS["fa-dominated"]))
        if rule == SCALED:
            turn_columns(net, plain)
        return net

    def _train(self, data: Data, rule: str, seed: int, where: Any) -> dict[str, float]:
        from linfa.nn.monitors import UpdateAngle
        from linfa.nn.train import SGD, Monitored, Training, fit

        net = self.model(data, rule, seed).to(where)
        first = least_margin(net)
        steps = self.epochs * -(-len(data) // self.batch)
        training = Training(SGD(self.rate, self.momentum), self.epochs, self.batch, seed=seed)
        watch = {"look": Monitored((UpdateAngle(),), max(1, steps // READINGS))}
        run = fit(net, data, training, watch=watch).dataset
        # The read-out's update is the gradient under every rule: it says nothing.
        cosines = np.cos(run["look_update_angle"].values[:, :-1])
        return {
            "accuracy": float(run["test_accuracy"][-1]),
            "train_accuracy": float(run["accuracy"][-1]),
            "alignment": float(cosines.mean()),
            "last_alignment": float(cosines[-1].mean()),
            "margin": first,
            "last_margin": least_margin(net),
        }


def begin_along_feedback(net: nn.Module, c: float) -> None:
    """Set W_2 … W_L along the feedback, each column as long as c times dominance asks for; W_1 stays.

    >>> from linfa.nn import convert, models
    >>> net = convert(models.make("mlp", widths=(5, 4, 3, 2), bias=False), "fa")
    >>> begin_along_feedback(net, 2.0)
    >>> least_margin(net) > 0
    True
    """
    import torch

    from linfa.nn import fed_layers

    layers = list(fed_layers(net).values())
    with torch.no_grad():
        for below, layer in zip(layers, layers[1:], strict=False):
            B = layer.feedback.matrix(layer.weight)
            needed = below.weight.square().sum(1) / 2 / B.square().sum(0)
            layer.weight.copy_(c * needed * B)


def turn_columns(net: nn.Module, other: nn.Module) -> None:
    """Turn the columns of W_2 … W_L into the directions of another net's, and keep their lengths."""
    import torch

    from linfa.nn import fed_layers

    with torch.no_grad():
        for name, layer in list(fed_layers(net).items())[1:]:
            V: Any = other.get_submodule(name).weight
            layer.weight.copy_(V / V.norm(dim=0) * layer.weight.norm(dim=0))


def least_margin(net: nn.Module) -> float:
    """Return the least κ_k = ⟨W_{l+1}[:,k], B_{l+1}[:,k]⟩ − ½‖W_l[k,:]‖², over its largest term; nan without a B."""
    from linfa.nn import fed_layers

    layers, margins = list(fed_layers(net).values()), []
    for below, layer in zip(layers, layers[1:], strict=False):
        if not hasattr(layer.feedback, "matrix"):
            return float("nan")  # direct feedback does not stand in for a weight
        W, B = layer.weight.detach().double(), layer.feedback.matrix(layer.weight).double()
        half = below.weight.detach().double().square().sum(1) / 2
        margins.append(((W * B).sum(0) - half) / half.max())
    return float(min(m.min() for m in margins))


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return the cells: fast, digits and a small teacher; full, three sets, and teachers of up to 200 classes."""
    if fast:
        found = [Cell(Images("digits"), n, (64, 64), 5, 0.1, seeds=2) for n in (2, 10)]
        return (*found, *(Cell(Teacher(16, 600, 400), n, (64, 64), 5, 0.1, seeds=2) for n in (10, 50)))
    found = [Cell(Images("digits"), n, (128, 128), 10, 0.05) for n in (2, 4, 7, 10)]
    for data in ("mnist", "fashion_mnist"):
        found += [Cell(Images(data, 300), n, (256, 256), 8, 0.03) for n in (2, 4, 7, 10)]
    return (*found, *(Cell(Teacher(32, 6000, 2000), n, (256, 256), 6, 0.03) for n in (10, 50, 200)))


def compute(cell: Cell) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


STUDY = Study(
    name="classes",
    paper="Robertson & Koyejo 2024",
    claim="Feedback alignment falls behind as classes are added; a start that alignment dominates aligns it better.",
    cells=cells,
    compute=compute,
    trains=True,
    recorded=1,
)
