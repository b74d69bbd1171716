"""Study `classes`: accuracy and alignment against the number of classes, rule by rule, on random subsets of classes.

A ReLU net without biases learns to tell n classes apart, drawn anew for every seed; all rules see the same images and,
but for three starts of feedback alignment (`sims.starts`: dominated, and two controls), begin at the same weights. Each
rule has the rate that a pilot on held-out samples prefers: at backprop's, plain feedback alignment is unstable, and
would look worse than it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from linfa.errors import InputError
from sims.made import device
from sims.rates import first_that_ends, ranked, split
from sims.starts import begin, watched
from sims.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

    from linfa.nn.train import Data

ALONG = {f"fa-{start}": start for start in ("dominated", "aligned", "scaled")}
"""Feedback alignment from a start of `sims.starts`."""

RULES = ("bp", "fa", *ALONG, "dfa", "usf", "brsf", "frsf", "kp")


@dataclass(frozen=True)
class Images:
    """Images of n classes drawn at random from a set, or from several of one shape that are put together.

    Args:
        data: its name, or their names.
        each: training images per class, the first ones; None for all.
    """

    data: str | tuple[str, ...]
    each: int | None = None

    def draw(self, classes: int, seed: int) -> Data:
        """Return the images of n classes, numbered anew, standardised by the moments of the whole set."""
        import torch

        from linfa.nn.train import Data

        names = (self.data,) if isinstance(self.data, str) else self.data
        whole = together([Data.load(name) for name in names])
        there = int(whole.targets.max()) + 1
        if not 2 <= classes <= there:
            raise InputError(f"{' + '.join(names)} has {there} classes to draw two or more from; got {classes}")
        chosen = np.random.default_rng([seed, classes]).permutation(there)[:classes]

        def part(x: Tensor, y: Tensor, each: int | None) -> tuple[Tensor, Tensor]:
            at = [torch.nonzero(y == int(c))[:each, 0] for c in chosen]
            return x[torch.cat(at)], torch.cat([torch.full_like(a, i) for i, a in enumerate(at)])

        x, y = part(whole.inputs, whole.targets, self.each)
        test_x, test_y = part(whole.test_inputs, whole.test_targets, None)
        # Test images are shuffled: watchers look at the first ones.
        order = torch.from_numpy(np.random.default_rng([seed, classes, 1]).permutation(len(test_y)))
        return replace(whole, inputs=x, targets=y, test_inputs=test_x[order], test_targets=test_y[order])


def together(sets: list[Data]) -> Data:
    """Return all samples of several sets of images, classes numbered on, with the moments of them all.

    >>> from linfa.nn.train import Data
    >>> digits = Data.load("digits")
    >>> both = together([digits, digits])
    >>> len(both) / len(digits), int(both.targets.max()), bool((both.std - digits.std).abs() < 1e-6)
    (2.0, 19, True)
    """
    import torch

    from linfa.nn.train import Data

    if len(sets) == 1:
        return sets[0]
    shapes = {tuple(s.inputs.shape[1:]) for s in sets}
    if len(shapes) > 1 or any(s.mean is None for s in sets):
        raise InputError(f"sets are put together where they are standardised and of one shape; got {sorted(shapes)}")
    first = np.cumsum([0, *(int(s.targets.max()) + 1 for s in sets)])
    shares = [len(s) / sum(map(len, sets)) for s in sets]
    means: Any = [s.mean for s in sets]
    stds: Any = [s.std for s in sets]
    mean = sum(share * m for share, m in zip(shares, means, strict=True))
    second = sum(share * (d**2 + m**2) for share, m, d in zip(shares, means, stds, strict=True))
    return Data(
        torch.cat([s.inputs for s in sets]),
        torch.cat([s.targets + int(k) for s, k in zip(sets, first, strict=False)]),
        torch.cat([s.test_inputs for s in sets]),
        torch.cat([s.test_targets + int(k) for s, k in zip(sets, first, strict=False)]),
        mean,
        (second - mean**2) ** 0.5,
    )


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
        rates: η of SGD to choose from, for each rule by a pilot of half the epochs on a fifth of the samples, held out.
        rules: `RULES`, or some of them.
        seeds: how many; of classes, weights, feedback and order.
        batch: samples per step.
        momentum: of SGD.
    """

    source: Images | Teacher
    classes: int
    hidden: tuple[int, ...]
    epochs: int
    rates: tuple[float, ...]
    rules: tuple[str, ...] = RULES
    seeds: int = 3
    batch: int = 64
    momentum: float = 0.9

    def measure(self) -> xr.Dataset:
        """Return test accuracy, alignment, the least margin of dominance and the rate, by rule and seed."""
        draws = [self.source.draw(self.classes, seed) for seed in range(self.seeds)]
        columns = [self._column(draws, rule) for rule in self.rules]
        names = columns[0][0]
        found = {
            name: (("rule", "seed"), np.array([[r[name] for r in column] for column in columns])) for name in names
        }
        return xr.Dataset(found, coords={"rule": list(self.rules)})

    def _column(self, draws: list[Data], rule: str) -> list[dict[str, float]]:
        """Return what one rule does, seed by seed, at its rate."""
        pilot, short = split(draws[0], len(draws[0]) // 5), max(1, self.epochs // 2)
        rates = ranked(self.rates, lambda rate: self._train(pilot, rule, 0, rate, short)["test_accuracy"])
        column = []
        for seed, data in enumerate(draws):
            rate, found = first_that_ends(
                rates,
                lambda rate, data=data, seed=seed: self._train(data, rule, seed, rate, self.epochs),  # type: ignore[misc]
            )
            column.append({**found, "rate": rate})
        return column

    def model(self, data: Data, rule: str, seed: int) -> nn.Module:
        """Return a net under a rule at its start; the first layer sends nothing back."""
        from linfa.nn import convert, models

        widths = (int(np.prod(data.inputs.shape[1:])), *self.hidden, self.classes)
        plain = models.make("mlp", widths=widths, bias=False, seed=seed, initialise=models.xavier)
        example = data.test_inputs[:2].float()
        net = convert(plain, "fa" if rule in ALONG else rule, example=example, seed=seed)
        if rule in ALONG:
            begin(net, example, ALONG[rule])
        return net

    def _train(self, data: Data, rule: str, seed: int, rate: float, epochs: int) -> dict[str, float]:
        from linfa.nn.train import SGD, Training

        where = device()
        net, example = self.model(data, rule, seed).to(where), data.test_inputs[:2].float().to(where)
        run = watched(net, data, Training(SGD(rate, self.momentum), epochs, self.batch, seed=seed), example)
        last = {name: float(run[name][-1]) for name in ("loss", "accuracy", "test_accuracy")}
        return last | {name: run[name] for name in ("alignment", "margin", "last_margin")}


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return the cells: fast, digits and a small teacher; full, sets of up to 20 classes, teachers of up to 200."""
    if fast:
        found = [Cell(Images("digits"), n, (64, 64), 5, (0.03,), seeds=2) for n in (2, 10)]
        return (*found, *(Cell(Teacher(16, 600, 400), n, (64, 64), 5, (0.1,), seeds=2) for n in (10, 50)))
    found = [Cell(Images("digits"), n, (128, 128), 10, FAST) for n in (2, 5, 10)]
    found += [Cell(Images("mnist", 300), n, (256, 256), 8, RATES) for n in (2, 5, 10)]
    found += [Cell(Images(("mnist", "fashion_mnist"), 300), 20, (256, 256), 8, RATES)]
    return (*found, *(Cell(Teacher(32, 3000, 2000), n, (256, 256), 8, FAST) for n in (10, 50, 200)))


FAST, RATES = (0.1, 0.03, 0.01, 0.003), (0.1, 0.03, 0.01, 0.003, 0.001)
"""η to choose from where inputs are small, and where they are images of 28×28 or more."""


def cifar100(fast: bool) -> tuple[Cell, ...]:
    """Return the cells of CIFAR-100, which has to be there or is downloaded; fast, a few digits."""
    if fast:
        return (FEW_DIGITS,)
    return tuple(Cell(Images("cifar100", 300), n, (256, 256), 8, RATES) for n in (10, 20, 50, 100))


FEW_DIGITS = Cell(Images("digits", 40), 4, (32, 32), 2, (0.03,), seeds=2)
"""Every rule in a second, for those whose images are not embedded."""


def compute(cell: Cell) -> xr.Dataset:
    """Return what a cell measures."""
    return cell.measure()


PAPER = "Robertson & Koyejo 2024"
CLAIM = "On images feedback alignment falls behind as classes are added; a start along the feedback aligns it better."
STUDY = Study("classes", PAPER, CLAIM, cells, compute, trains=True, recorded=2)
CIFAR100 = Study("classes_cifar100", PAPER, f"{CLAIM} CIFAR-100.", cifar100, compute, trains=True, recorded=1)
