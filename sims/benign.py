"""Study `benign`: what becomes of wrong labels that a net has memorised, when its errors come back through feedback.

A part of the labels is replaced by other classes, and a net is trained until it fits nearly all.
After every epoch:

    train error     on the labels as given: zero once the wrong ones are memorised
    memorised       the fraction of wrongly labelled images that are given their wrong label
    corrected       the fraction of them that are given the class they show
    test error      on clean images: overfitting is *benign* where it stays near its least value

Under feedback alignment the norm that a layer gains while it memorises is paid for by the alignment of the next one,
½‖W_l(t)‖² − ½‖W_l(0)‖² = ⟨W_{l+1}(t) − W_{l+1}(0), B_{l+1}⟩ + account, summed over the neurons of `practical_law`; both
sides and the ledger's account are kept. Controls: the same images with their true labels, and a start that alignment
dominates (`sims.starts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import xarray as xr

from sims.made import device
from sims.onlooker import AbstractOnlooker
from sims.practical_law import Images, noisy
from sims.starts import begin
from sims.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

    from linfa.nn.train import Data, Trained

RULES = ("bp", "fa", "fa-dominated", "dfa")
"""Backprop, feedback alignment from two starts, direct feedback."""


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        images: what is learnt, and how many of the labels are wrong; drawn with the run's seed.
        rule: one of `RULES`.
        hidden: the widths of the hidden layers.
        epochs: how often all images are seen; the rate falls along a cosine to zero over them.
        rate: η of SGD at the start.
        batch: images per step.
        momentum: μ of SGD.
        every: of the test images, each so-many-th is tested.
        seed: of images, wrong labels, start, feedback and order.
    """

    images: Images
    rule: str
    hidden: tuple[int, ...]
    epochs: int
    rate: float
    batch: int = 64
    momentum: float = 0.9
    every: int = 1
    seed: int = 0

    def data(self) -> tuple[Data, Tensor]:
        """Return the images with the labels that are learnt, and the classes they show."""
        images = replace(self.images, seed=self.seed)
        data, true = noisy(images), noisy(replace(images, noise=0.0)).targets
        some = slice(None, None, self.every)
        return replace(data, test_inputs=data.test_inputs[some], test_targets=data.test_targets[some]), true

    def model(self, data: Data) -> nn.Module:
        """Return the net under its rule at its start."""
        from linfa.nn import convert, models

        example = data.test_inputs[:2].float()
        widths = (example[0].numel(), *self.hidden, 10)
        plain = models.make("mlp", widths=widths, bias=False, seed=self.seed, initialise=models.xavier)
        rule, _, start = self.rule.partition("-")
        net = convert(plain, rule, example=example, seed=self.seed)
        if start:
            begin(net, example, start)
        return net


class Fits(AbstractOnlooker):
    """Looks on while a net trains: which labels it has learnt, and where its norms come from.

    Args:
        trained: the net and its optimiser.
        data: what it learns from.
        true: the classes that the images show.
        every: steps between two entries.
    """

    def __init__(self, trained: Trained, data: Data, true: Tensor, every: int) -> None:
        from linfa.nn import LawLedger, laws

        self.every, self.model = every, trained.model
        self.inputs = data.ready(data.inputs, trained.inputs.dtype).to(trained.inputs.device)
        self.given, self.true = (y.to(self.inputs.device) for y in (data.targets, true))
        self.ledger = LawLedger(laws(trained.model, trained.inputs[:2]), trained.optimizer)
        self.start = self._norms()

    def _norms(self) -> dict[str, Tensor]:
        """Return ½‖W_l‖² layer by layer."""
        from linfa.nn import fed_layers

        return {n: layer.weight.detach().double().square().sum() / 2 for n, layer in fed_layers(self.model).items()}

    def log(self, step: int) -> Mapping[str, Any]:
        """Return what becomes of right and wrong labels, and both sides of each law with its account."""
        import torch

        self.model.eval()
        with torch.no_grad():
            said = self.model(self.inputs).argmax(1)
        read: dict[str, Any] = dict(fractions(said, self.given, self.true))
        norms, drift = self._norms(), self.ledger.quantity() - self.ledger.start
        read["norm"] = norms
        for law in self.ledger.streams:
            name = law.name.split(".")[0]  # "fc1.weight → fc2.weight"
            left = drift[law.place].sum()
            read.setdefault("outgoing", {})[name] = norms[name] - self.start[name] - left
            read.setdefault("account", {})[name] = self.ledger.account[law.place].sum()
        read["units"] = {entry.law.split(".")[0]: entry.units for entry in self.ledger.read()}
        return read

    def close(self) -> None:
        """Look on no more."""
        self.ledger.close()


def fractions(said: Tensor, given: Tensor, true: Tensor) -> dict[str, Tensor]:
    """Return the error on the labels as given; and of the wrong ones, if any, how many are memorised, or corrected.

    Args:
        said: the classes that the net says, shape (N,).
        given: the labels, likewise.
        true: the classes that the images show, likewise.

    >>> import torch
    >>> found = fractions(*torch.tensor([[1, 1, 2, 3, 9], [1, 1, 2, 4, 5], [1, 1, 1, 3, 3]]))
    >>> {name: round(float(value), 3) for name, value in found.items()}
    {'train_error': 0.4, 'memorised': 0.333, 'corrected': 0.333}
    """
    wrong = given != true
    found = {"train_error": (said != given).double().mean()}
    if bool(wrong.any()):
        found["memorised"] = (said == given)[wrong].double().mean()
        found["corrected"] = (said == true)[wrong].double().mean()
    return found


def compute(cell: Cell) -> xr.Dataset:
    """Return errors, what became of wrong labels, norms and both sides of the laws, after every epoch.

    By `layer`: `norm`, ½‖W_l‖², `start`, that of the start, and `weight_angle`, ∠(W_l, B_l) in radians. By `hidden`,
    the layers that have a law: `outgoing`, `account`, and `units`, what the account leaves unexplained at the worst
    neuron, over eps · scale. The laws of direct feedback are with virtual read-outs: all of its gain is in the account.
    """
    where = device()  # before anything of torch's: without it, one sentence says so
    from linfa.nn.monitors import WeightAngle
    from linfa.nn.train import SGD, Monitored, Training, fit
    from linfa.solvers.schedules import Cosine

    (data, true), looking = cell.data(), []
    once = -(-len(data) // cell.batch)

    def look(trained: Trained) -> Fits:
        looking.append(Fits(trained, data, true, once))
        return looking[0]

    training = Training(SGD(Cosine(cell.rate, cell.epochs), cell.momentum), cell.epochs, cell.batch, seed=cell.seed)
    watch: dict[str, Any] = {"fits": look, "seen": Monitored((WeightAngle(),), once)}
    run = fit(cell.model(data).to(where), data, training, watch=watch).dataset
    by = {"norm": "layer", "weight_angle": "layer", "outgoing": "hidden", "account": "hidden", "units": "hidden"}
    read = {n.split("_", 1)[1]: run[n].values for n in map(str, run) if n.startswith(("fits_", "seen_"))}
    return xr.Dataset(
        {
            "loss": ("epoch", run["loss"].values),
            "test_error": ("epoch", 1 - run["test_accuracy"].values),
            "start": ("layer", [float(norm) for norm in looking[0].start.values()]),
            **{name: (("epoch", by[name]) if name in by else "epoch", values) for name, values in read.items()},
        },
        {"epoch": run["epoch"].values, "layer": list(looking[0].start), "hidden": list(looking[0].start)[:-1]},
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return every rule on noisy labels, seed by seed, and backprop and feedback alignment on the true ones, once."""
    if fast:
        base, seeds = Cell(Images("digits", 200, 0.2), "", (128, 128), 36, 0.02, batch=16), 1
    else:
        base, seeds = Cell(Images("mnist", 4000, 0.2), "", (512, 512), 60, 0.01, every=4), 3
    clean = replace(base, images=replace(base.images, noise=0.0))
    runs = [replace(base, rule=rule, seed=seed) for seed in range(seeds) for rule in RULES]
    return (*runs, *(replace(clean, rule=rule) for rule in RULES[:2]))


STUDY = Study(
    name="benign",
    paper="Robertson & Koyejo 2024",
    claim="Wrong labels are first corrected, then memorised, and clean images pay for it, under every rule.",
    cells=cells,
    compute=compute,
    trains=True,
    recorded=1,
)
