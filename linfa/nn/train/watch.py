"""Who looks on while a model trains: at what, how often, and with a state that checkpoints can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

from linfa.nn.ledger import LawLedger
from linfa.nn.monitors import AbstractMonitor, Monitors
from linfa.nn.monitors.interface import check_monitors
from linfa.nn.streams import laws
from linfa.nn.targets import targets
from linfa.nn.train.losses import AbstractLoss
from linfa.nn.train.processes import Processes
from linfa.solvers.interface import check_whole


class Trained(NamedTuple):
    """What there is to look at."""

    model: nn.Module
    """The model."""
    optimizer: Optimizer
    """The optimiser of its parameters."""
    beside: Optimizer | None
    """The optimiser of learnt feedback, from `linfa.nn.follow`; None where none learns."""
    inputs: Tensor
    """Some of the test inputs, at most `PROBED`, as the model takes them."""
    targets: Tensor
    """Their targets."""
    loss: AbstractLoss
    """What is made small."""
    processes: Processes
    """Which process this is, among all."""


PROBED = 64
"""How many test samples a watcher may look at."""


@runtime_checkable
class Watcher(Protocol):
    """What looks on: a monitor, an account, anything with a state that can be kept."""

    every: int
    """How many steps lie between two entries; there is one after the last step, too."""

    def log(self, step: int) -> Mapping[str, Any]:
        """Return by name a number, a tensor, or again several of them by name (by layer, by law).

        Names and shapes are the same at every step; of several processes the mean is kept.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what it must know to go on: numbers, words, tensors, and lists and dicts of these."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a state that was kept, after model and optimiser took theirs; tensors come on the CPU."""
        ...


Watch = Mapping[str, Callable[[Trained], Watcher]]
"""By name, what makes a watcher."""


@dataclass(frozen=True)
class Laws:
    """Keep account of every conservation law of the model: `fit(..., watch={"laws": Laws()})`.

    Logged are, law by law, `drift`, `residual` (what the account leaves unexplained) and `units` (the residual in units
    of rounding); see `linfa.nn.ledger.Entry`. The history's report is the whole table.

    Args:
        every: steps between two entries; the account itself is kept at every step.

    Raises:
        InputError: where `every` is no whole number ≥ 1.
    """

    every: int = 50

    def __post_init__(self) -> None:
        check_whole(every=self.every)

    def __call__(self, trained: Trained) -> Account:
        """Return the account of a model."""
        return Account(trained, self.every)


class Account:
    """A `LawLedger` that looks on.

    Args:
        trained: the model and what moves it.
        every: steps between two entries.
    """

    def __init__(self, trained: Trained, every: int) -> None:
        self.every, self.processes = every, trained.processes
        streams = laws(trained.model, trained.inputs[:2])
        self.ledger = LawLedger(streams, trained.optimizer, trained.beside, parts=trained.processes.size > 1)

    def log(self, step: int) -> dict[str, dict[str, float]]:
        """Return drift, residual and units, law by law."""
        self._share()
        entries = self.ledger.read()
        return {key: {e.law: getattr(e, key) for e in entries} for key in ("drift", "residual", "units")}

    def report(self) -> str:
        """Return the laws, and the account of each."""
        return f"{self.ledger.streams!r}\n{self.ledger.report()}"

    def state_dict(self) -> dict[str, Any]:
        """Return the ledger's state; every process takes part."""
        self._share()
        return self.ledger.state_dict()

    def _share(self) -> None:
        """Take the mean of what leaked from the processes' parts of the batches; the account is linear in it."""
        if self.processes.size > 1:
            self.processes.sum(self.ledger.account).div_(self.processes.size)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take a ledger's state."""
        self.ledger.load_state_dict(state)

    def close(self) -> None:
        """Look on no more."""
        self.ledger.close()


@dataclass(frozen=True)
class Monitored:
    """Read monitors of `linfa.nn.monitors` on test samples: `fit(..., watch={"angles": Monitored((WeightAngle(),))})`.

    Args:
        monitors: what to read.
        every: steps between two readings.

    Raises:
        InputError: where `every` is no whole number ≥ 1, or something is no monitor.
    """

    monitors: tuple[AbstractMonitor, ...]
    every: int = 50

    def __post_init__(self) -> None:
        check_whole(every=self.every)
        check_monitors(self.monitors)

    def __call__(self, trained: Trained) -> Readings:
        """Return the monitors of a model."""
        return Readings(trained, self.monitors, self.every)


class Readings:
    """Monitors that look on; they have no state.

    Args:
        trained: the model, and samples to send errors back for.
        monitors: what to read.
        every: steps between two readings.
    """

    def __init__(self, trained: Trained, monitors: tuple[AbstractMonitor, ...], every: int) -> None:
        self.every = every

        self.trained = trained
        self.monitors = Monitors(trained.model, monitors, trained.inputs, lambda f: trained.loss(f, trained.targets))

    def log(self, step: int) -> Mapping[str, Any]:
        """Return what each monitor reads, layer by layer."""
        with targets(self.trained.model, self.trained.targets):
            return self.monitors.read()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing."""
