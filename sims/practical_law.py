"""Study `practical_law`: the law of feedback alignment in practical training, neuron by neuron, on noisy labels.

In a ReLU net without biases, stepped by SGD, neuron k of hidden layer l obeys at every step

    ½‖W_l(t)[k,:]‖² − ½‖W_l(0)[k,:]‖² = ⟨(W_{l+1}(t) − W_{l+1}(0))[:,k], B_{l+1}[:,k]⟩ + account_k(t)

exactly. The account of plain steps is the *defect* Σ ½‖ΔW_l[k,:]‖² (D1 of the theory); the ledger's is right for
momentum, too. Measured are both sides, and what they leave unexplained with no account, with the defect and with the
ledger. Controls, which must drift: momentum without its account, tanh units, Adam.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from linfa.errors import InputError, NoLawError
from sims.made import device
from sims.onlooker import AbstractOnlooker
from sims.study import Study

if TYPE_CHECKING:
    from torch import Tensor

    from linfa.nn.ledger import LawLedger
    from linfa.nn.train import Data, Trained

ENTRIES = 60
"""How often a run is looked at, roughly."""


@dataclass(frozen=True)
class Images:
    """Labelled images, some of the labels wrong.

    Args:
        name: of the set.
        samples: how many of its training images are drawn, without replacement.
        noise: the fraction of these whose label is replaced by another class, uniformly.
        seed: of the draw.
    """

    name: str
    samples: int
    noise: float
    seed: int = 0


@dataclass(frozen=True)
class Cell:
    """One run.

    Args:
        images: what is learnt.
        widths: n_0, n, n, 10: the hidden layers are equally wide.
        activation: "relu" or "tanh".
        optimiser: "sgd" or "adam".
        rate: η.
        momentum: μ of SGD.
        epochs: how often all images are seen.
        batch: images per step.
        seed: of the start and of the order; the feedback has the next one.
    """

    images: Images
    widths: tuple[int, int, int, int]
    activation: str
    optimiser: str
    rate: float
    momentum: float
    epochs: int
    batch: int = 32
    seed: int = 0


def noisy(images: Images) -> Data:
    """Return a random part of an image set, some of its labels replaced by other classes; the test set stays clean."""
    import torch

    from linfa.nn.train import Data

    whole = Data.load(images.name)
    draw = np.random.default_rng(images.seed)
    kept = draw.permutation(len(whole))[: images.samples]
    labels = whole.targets.numpy()[kept]
    wrong = round(images.noise * len(kept))
    labels[:wrong] = (labels[:wrong] + draw.integers(1, 10, wrong)) % 10
    return Data(
        whole.inputs[kept], torch.from_numpy(labels), whole.test_inputs, whole.test_targets, whole.mean, whole.std
    )


class Sides(AbstractOnlooker):
    """Looks on while a net trains: both sides of the law of each hidden neuron, and the accounts.

    Args:
        trained: the net, all of its layers with feedback, and its optimiser.
        every: steps between two entries.
    """

    def __init__(self, trained: Trained, every: int) -> None:
        from linfa.nn import fed_layers

        self.every, self.model, self.optimizer = every, trained.model, trained.optimizer
        layers = fed_layers(trained.model)
        self.names = list(layers)
        self.weights = [layer.weight for layer in layers.values()]
        self.feedback = [layer.feedback.potential(layer.weight).linear.double() for layer in list(layers.values())[1:]]
        self.start = self._weights()
        self.last, self.defect = self.start, [W.new_zeros(len(W)) for W in self.start[:-1]]
        self.scale = [W.new_zeros(len(W)) for W in self.start[:-1]]
        self.refused = ""
        self.ledger = self._ledger(trained)
        self.hook = self.optimizer.register_step_post_hook(self._stepped)

    def _weights(self) -> list[Tensor]:
        return [W.detach().double() for W in self.weights]

    def _ledger(self, trained: Trained) -> LawLedger | None:
        """Return the exact account, or None where there is none, and note why."""
        from linfa.nn import LawLedger, laws

        try:
            return LawLedger(laws(trained.model, trained.inputs[:2]), trained.optimizer)
        except (NoLawError, InputError) as reason:
            self.refused = str(reason)
            return None

    def _stepped(self, *_: Any) -> None:
        """Charge ½‖ΔW_l[k,:]‖² to every neuron: a slow twin of the ledger for plain steps."""
        now = self._weights()
        for defect, W, before in zip(self.defect, now, self.last, strict=False):
            defect += (W - before).square().sum(1) / 2
        self.last = now

    def sides(self) -> list[tuple[Tensor, Tensor]]:
        """Return by how much incoming and outgoing side of every neuron have changed, layer by layer."""
        now, was = self._weights(), self.start
        incoming = [(W.square() - V.square()).sum(1) / 2 for W, V in zip(now, was, strict=True)][:-1]
        outgoing = [(B * (W - V)).sum(0) for B, W, V in zip(self.feedback, now[1:], was[1:], strict=True)]
        return list(zip(incoming, outgoing, strict=True))

    def accounts(self) -> dict[str, list[Tensor]]:
        """Return what is charged to every neuron, layer by layer, by the name of the account."""
        found = {"none": [W.new_zeros(len(W)) for W in self.start[:-1]], "defect": self.defect}
        if self.ledger is not None:
            places = {law.name: law.place for law in self.ledger.streams}
            pairs = zip(self.names, self.names[1:], strict=False)
            found["ledger"] = [self.ledger.account[places[f"{a}.weight → {b}.weight"]] for a, b in pairs]
        return found

    def log(self, step: int) -> Mapping[str, Mapping[str, Tensor]]:
        """Return both sides and the accounts, summed over neurons, and the worst neuron's residual over eps · scale."""
        import torch

        now = self._weights()
        terms = [
            W.square().sum(1) / 2 + (B * V).abs().sum(0) for W, B, V in zip(now, self.feedback, now[1:], strict=False)
        ]
        self.scale = [torch.maximum(old, new) for old, new in zip(self.scale, terms, strict=True)]
        eps, sides, accounts = torch.finfo(self.weights[0].dtype).eps, self.sides(), self.accounts()
        logged: dict[str, dict[str, Tensor]] = {"incoming": {}, "outgoing": {}}
        for l, (incoming, outgoing) in enumerate(sides):
            name = self.names[l]
            logged["incoming"][name], logged["outgoing"][name] = incoming.sum(), outgoing.sum()
            for account, charged in accounts.items():
                residual = (incoming - outgoing - charged[l]).abs()
                if account != "none":
                    logged.setdefault(f"account_{account}", {})[name] = charged[l].sum()
                logged.setdefault(f"units_{account}", {})[name] = (residual / (eps * self.scale[l])).max()
        return logged

    def close(self) -> None:
        """Look on no more."""
        self.hook.remove()
        if self.ledger is not None:
            self.ledger.close()


def compute(cell: Cell) -> xr.Dataset:
    """Return the sides, the accounts and the residuals of a run over its steps, and of every neuron at its end."""
    from torch import nn

    from linfa.nn import convert, models
    from linfa.nn.train import SGD, Adam, Training, fit

    activation = {"relu": nn.ReLU, "tanh": nn.Tanh}[cell.activation]
    plain = models.make("mlp", widths=cell.widths, bias=False, activation=activation, seed=cell.seed)
    model = convert(plain, "fa", seed=cell.seed + 1).to(device())
    data = noisy(cell.images)
    optimiser = Adam(cell.rate) if cell.optimiser == "adam" else SGD(cell.rate, cell.momentum)
    steps = cell.epochs * -(-len(data) // cell.batch)
    looking: list[Sides] = []

    def look(trained: Trained) -> Sides:
        looking.append(Sides(trained, max(1, steps // ENTRIES)))
        return looking[0]

    training = Training(optimiser, cell.epochs, cell.batch, seed=cell.seed)
    run = fit(model, data, training, watch={"law": look}).dataset
    (sides,) = looking
    ends = {name: [pair[i].tolist() for pair in sides.sides()] for i, name in enumerate(("incoming", "outgoing"))}
    charged = {n: [each.tolist() for each in account] for n, account in sides.accounts().items() if n != "none"}
    return xr.Dataset(
        {
            **{name: ("epoch", run[name].values) for name in ("loss", "accuracy", "test_accuracy")},
            **{
                n.removeprefix("law_"): (("step", "layer"), run[n].values)
                for n in map(str, run)
                if n.startswith("law_")
            },
            **{
                f"neuron_{name}": (("layer", "neuron"), np.array(v, np.float32)) for name, v in (ends | charged).items()
            },
        },
        {"step": run["law_step"].values, "layer": [1, 2]},
        {"refused": sides.refused},
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return plain SGD, and what differs from it: momentum, tanh units, Adam."""
    if fast:
        plain = Cell(Images("digits", 1000, 0.2), (64, 64, 64, 10), "relu", "sgd", 0.05, 0.0, epochs=10)
    else:
        plain = Cell(Images("mnist", 4000, 0.2), (784, 512, 512, 10), "relu", "sgd", 0.02, 0.0, epochs=10)
    momentum = replace(plain, momentum=0.9, rate=plain.rate / 10)
    return plain, momentum, replace(plain, activation="tanh"), replace(plain, optimiser="adam", rate=1e-3)


STUDY = Study(
    name="practical_law",
    paper="Robertson & Koyejo 2024",
    claim="In practical training, too, what flows into a neuron is paid for along its feedback, to rounding.",
    cells=cells,
    compute=compute,
    trains=True,
    recorded=1,
)
