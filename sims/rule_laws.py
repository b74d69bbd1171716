"""Study `rule_laws`: the law of each feedback rule, and of each kind of net, in practical training.

    uSF, frSF              ½‖W_l[k,:]‖² − Σ M ⊙ |W_{l+1}[:,k]|
    Kolen–Pollack          ½‖W_l[k,:]‖² − ½‖B_{l+1}[:,k]‖²
    DFA                    ½‖W_l[k,:]‖² − ⟨F_l, V_l⟩[:,k],   V̇_l = ė h_lᵀ a virtual read-out
    FA with BatchNorm      ½‖W_l[k,:]‖² − what the eps keeps,   ½γ_k² + ½β_k² − ⟨B_{l+1}, W_{l+1}⟩[:,k]
    FA, residual stream    Σ_writers ½‖·‖² − Σ_readers ⟨B, W⟩[:,k]

Each run is watched by the ledger, without any account, and, as a control, by the law of backprop, with ½‖W‖² in the
place of every potential and with the account of plain steps that is its own: the feedback must break it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sims.made import device
from sims.onlooker import AbstractOnlooker
from sims.practical_law import ENTRIES, Images, noisy
from sims.study import Study

if TYPE_CHECKING:
    from torch import Tensor, nn

    from linfa.nn.streams import Streams
    from linfa.nn.train import Trained

RUNS = (("usf", "mlp"), ("frsf", "mlp"), ("kp", "mlp"), ("dfa", "mlp"), ("fa", "batchnorm"), ("fa", "resnet8"))
"""Rule and net."""


@dataclass(frozen=True)
class Cell:
    """One run under plain SGD.

    Args:
        images: what is learnt.
        rule: the registry name.
        net: "mlp" of ReLU units without biases, the same with "batchnorm", or "resnet8".
        widths: of the first two.
        rate: η.
        epochs: how often all images are seen.
        batch: images per step.
        seed: of the start and of the order; the feedback has the next one.
    """

    images: Images
    rule: str
    net: str
    widths: tuple[int, ...]
    rate: float
    epochs: int
    batch: int = 32
    seed: int = 0

    def model(self) -> nn.Module:
        """Return the net before it is converted."""
        import torch

        from linfa.nn import models

        if self.net != "resnet8":
            return models.make("mlp", widths=self.widths, bias=False, norm=self.net == "batchnorm", seed=self.seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return models.resnet(8, channels=1)


class Balance:
    """The law of backprop on the streams of a net, ½‖·‖² of what writes less ½‖·‖² of what reads, plain steps charged.

    Args:
        streams: of the net, whatever its rule.
    """

    def __init__(self, streams: Streams) -> None:
        from linfa.nn.streams.terms import Slots, TapLeak

        taps = [leak for leak in streams.leaks if isinstance(leak, TapLeak)]
        self.streams = streams
        self.terms = [(term.moved, term.slots, term.index, 1.0) for term in streams.writers]
        self.terms += [(reader.module.weight, reader.slots, reader.index, -1.0) for reader in streams.readers]
        self.terms += [(tap.module.weight, Slots(columns=True), tap.index, -1.0) for tap in taps]
        self.start, self.account, self.last = self._halves(self._now()), streams.nothing()[:-1], self._now()

    def _now(self) -> list[Tensor]:
        return [tensor.detach().double().clone() for tensor, *_ in self.terms]

    def _halves(self, tensors: list[Tensor]) -> Tensor:
        """Return Σ ±½x² of the entries of every channel."""
        total = self.streams.nothing()
        for x, (_, slots, index, sign) in zip(tensors, self.terms, strict=True):
            total.index_add_(0, index, slots.sum(x.square() / 2), alpha=sign)
        return total[:-1]

    def stepped(self, *_: Any) -> None:
        """Charge ±½‖u‖² of a step: a hook after the optimiser's."""
        now = self._now()
        self.account += self._halves([x - y for x, y in zip(now, self.last, strict=True)])
        self.last = now

    def residual(self) -> Tensor:
        """Return what is left of every channel."""
        return (self._halves(self._now()) - self.start - self.account).abs()


class Residuals(AbstractOnlooker):
    """Looks on while a net trains, and logs residuals of the worst channel of all laws, in units of eps · scale.

    Args:
        trained: the net and what moves it.
        every: steps between two entries.
    """

    def __init__(self, trained: Trained, every: int) -> None:
        import torch

        from linfa.nn import LawLedger, laws

        self.every = every
        self.eps = torch.finfo(next(trained.model.parameters()).dtype).eps
        streams = laws(trained.model, trained.inputs[:2])
        self.ledger = LawLedger(streams, trained.optimizer, trained.beside)
        self.balance = Balance(streams)
        self.hook = trained.optimizer.register_step_post_hook(self.balance.stepped)

    def log(self, step: int) -> Mapping[str, Any]:
        """Return the residuals with the ledger, with no account, and of the law of backprop."""
        held = max(entry.units for entry in self.ledger.read())
        unit = self.eps * self.ledger.largest
        drift = (self.ledger.quantity() - self.ledger.start).abs()
        return {"ledger": held, "none": (drift / unit).max(), "balance": (self.balance.residual() / unit).max()}

    def close(self) -> None:
        """Look on no more."""
        self.hook.remove()
        self.ledger.close()


def compute(cell: Cell) -> xr.Dataset:
    """Return the residuals of a run over its steps, in units of rounding, and its accuracy."""
    from linfa.nn import convert, laws
    from linfa.nn.train import SGD, Training, fit

    data = noisy(cell.images)
    example = data.ready(data.inputs[:2], next(cell.model().parameters()).dtype)
    model = convert(cell.model(), cell.rule, example=example, seed=cell.seed + 1)
    found = laws(model, example)
    steps = cell.epochs * -(-len(data) // cell.batch)
    training = Training(SGD(cell.rate), cell.epochs, cell.batch, seed=cell.seed)
    watch = {"law": lambda trained: Residuals(trained, max(1, steps // ENTRIES))}
    run = fit(model.to(device()), data, training, watch=watch).dataset
    names = ("ledger", "none", "balance")
    return xr.Dataset(
        {name: ("step", run[f"law_{name}"].values.astype(np.float32)) for name in names}
        | {name: ("epoch", run[name].values) for name in ("accuracy", "test_accuracy")},
        {"step": run["law_step"].values},
        {"laws": len(found), "channels": found.channels},
    )


def cells(fast: bool) -> tuple[Cell, ...]:
    """Return one run per rule and kind of net."""
    images = Images("digits", 1000, 0.2) if fast else Images("mnist", 4000, 0.2)
    widths = (64, 64, 64, 10) if fast else (784, 512, 512, 10)
    epochs, deep = (6, 0.02) if fast else (5, 0.005)
    return tuple(Cell(images, rule, net, widths, deep if net == "resnet8" else 0.02, epochs) for rule, net in RUNS)


STUDY = Study(
    name="rule_laws",
    paper="Robertson & Koyejo 2024",
    claim="Every rule whose feedback is a gradient has its own law in practical training, through norms and shortcuts.",
    cells=cells,
    compute=compute,
    trains=True,
    recorded=1,
)
