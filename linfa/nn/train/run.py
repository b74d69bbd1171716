"""A run in the making: one step after the other, and everything that must be kept to go on from any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from linfa.nn.layers import Fed
from linfa.nn.learnt import follow, unfollow
from linfa.nn.targets import targets
from linfa.nn.train.about import about, drawn
from linfa.nn.train.batches import Batches
from linfa.nn.train.checks import check_feedback, check_parts, fitting, trainable
from linfa.nn.train.configuration import Training
from linfa.nn.train.constraint import HeldNorms
from linfa.nn.train.data import Data
from linfa.nn.train.divergence import Glance, diverged
from linfa.nn.train.history import History, labelled
from linfa.nn.train.log import Log
from linfa.nn.train.processes import Processes
from linfa.nn.train.watch import PROBED, Trained, Watch
from linfa.version import __version__


class Run:
    """A model, its data, and how far it has come.

    Args:
        model: trained in place.
        data: moved to the model's device.
        training: how.
        watch: by name, what makes a watcher of what is `Trained`.
    """

    def __init__(self, model: nn.Module, data: Data, training: Training, watch: Watch) -> None:
        trained = trainable(model)
        parameter = trained[0]
        self.modes = {module: module.training for module in model.modules()}
        self.model, self.training, self.processes = model, training, Processes.here()
        self.device, self.dtype = parameter.device, parameter.dtype
        self.log = Log(watch, self.processes, self.device)
        self.data = data.to(self.device)
        self.samples = Batches(self.data, training, self.processes, self.dtype)
        self.batches = len(self.samples)
        check_parts(model, len(data), training, self.processes.size)
        self.drawn: dict[str, str] = {}  # below: where feedback differs between processes, they say what does
        self.processes.check_same(model, [self.about(), training.epochs])
        # Before a checkpoint is loaded over it: by what feedback was at the start, a run is known.
        self.drawn = drawn(_fed(model), model.state_dict())
        self.optimizer = training.optimiser.over(model)
        self.held = HeldNorms(model) if training.held_norms else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=training.amp is torch.float16)
        self.step = 0
        self.sums = self._zero()
        self.epochs: list[dict[str, float]] = []
        self.called = self.processes.wrap(model)
        # Last: what follows an optimiser must be let go again, and a run that was not made cannot.
        self.beside = follow(model, self.optimizer)

    def begin(self, state: dict[str, Any] | None = None) -> None:
        """Let those who look on take their places: at the start, or where a checkpoint left off.

        Args:
            state: from `state_dict`. Loaded optimisers have other groups than before, so that watchers come after them.
        """
        if state is not None:
            self._load(state)
        self._check_targets()
        self._check_feedback()
        x, y = self.samples.first_tests(PROBED)
        trained = Trained(self.model, self.optimizer, self.beside, x, y, self.training.loss, self.processes)
        self.log.begin(trained, state, self.step == self.steps)

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return self.training.epochs * self.batches

    def advance(self) -> None:
        """Make the next step, log what is due, and close the epoch where it was the last."""
        epoch, within = divmod(self.step, self.batches)
        x, y, weight = self.samples.at(self.step)
        rate = self.training.optimiser.rate(epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        self.optimizer.zero_grad()
        with targets(self.model, y):
            with self._autocast():
                f = self.called(x)
                loss = self.training.loss(f, y)
            glance = Glance(loss)
            self.scaler.scale(loss * weight).backward()  # type: ignore[no-untyped-call]
        value = glance.read()
        if not abs(value) < float("inf"):
            when = f"at step {self.step + 1} (epoch {epoch + 1})"
            raise diverged(self.model, x, value, when, rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.processes.share_learnt(self.model)
        if self.held is not None:
            self.held.step()
        self.sums += self._seen(f, y, loss)
        self.step += 1
        self.log.ask(self.step, self.step == self.steps)
        if within == self.batches - 1:
            self._close(epoch, rate)

    def _autocast(self) -> torch.autocast:
        amp = self.training.amp
        return torch.autocast(self.device.type, dtype=amp, enabled=amp is not None)

    def _zero(self) -> Tensor:
        return torch.zeros(3, dtype=torch.double, device=self.device)

    @torch.no_grad()
    def _seen(self, f: Tensor, y: Tensor, loss: Tensor) -> Tensor:
        """Return (loss · n, how many were right, n) of a batch."""
        right = (f.argmax(-1) == y).sum() if self.data.labelled else loss.new_zeros(())
        return torch.stack([loss.double() * len(y), right.double(), torch.full_like(right.double(), len(y))])

    def _close(self, epoch: int, rate: float) -> None:
        """Close an epoch: test, and write down what was seen."""
        self.processes.share_norms(self.model)
        loss, right, n = self.processes.sum(self.sums).tolist()
        test_loss, test_right, test_n = self._tested()
        row = {"learning_rate": rate, "loss": loss / n, "test_loss": test_loss / test_n}
        if self.data.labelled:
            row |= {"accuracy": right / n, "test_accuracy": test_right / test_n}
        self.epochs.append(row)
        self.sums = self._zero()

    @torch.no_grad()
    def _tested(self) -> list[float]:
        """Return (loss · n, how many are right, n) of the test samples."""
        self.model.eval()
        sums = self._zero()
        for x, y in self.samples.tests():
            with self._autocast():
                f = self.model(x)
                loss = self.training.loss(f, y)
            if not bool(torch.isfinite(loss)):
                when = f"in the test after step {self.step}"
                raise diverged(self.model, x, loss.item(), when, self.optimizer.param_groups[0]["lr"])
            sums += self._seen(f, y, loss)
        return list(self.processes.sum(sums).tolist())

    @torch.no_grad()
    def _check_targets(self) -> None:
        """Make sure that targets can be learnt by the model's outputs: once, and not at every step."""
        self.model.eval()
        with self._autocast(), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            f = fitting(self.model, self.samples.first_tests(1)[0])
        for y, what in ((self.data.targets, "training"), (self.data.test_targets, "test")):
            self.training.loss.check(f, y, what)

    def _check_feedback(self) -> None:
        """Make sure that errors come back as the rule says, on a few samples, before any step."""
        if self.step < self.steps:
            x, y, _ = self.samples.at(self.step)
            self.model.train()
            check_feedback(self.model, x, y)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with."""
        what = about(self.model, self.data, self.training)
        return {**what, "processes": self.processes.size, "watch": list(self.log.watch), "feedback": self.drawn}

    def about_as(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a checkpoint must agree with; feedback that is as it was left there counts as what it began as.

        Args:
            state: the checkpoint: the very model that was stopped may be what goes on from it, its feedback has learnt.
        """
        began = json.loads(state["about"]).get("feedback", {})
        left = drawn(_fed(self.model), state["parts"]["model"])
        known = {name: began.get(name) if left[name] == now else now for name, now in self.drawn.items()}
        return {**self.about(), "feedback": known}

    def _kept(self) -> dict[str, Any]:
        """Return what is moved, and what moves it, by name; watchers apart."""
        parts = {"model": self.model, "optimizer": self.optimizer, "beside": self.beside, "scaler": self.scaler}
        return {name: part for name, part in {**parts, "held": self.held}.items() if part is not None}

    def state_dict(self) -> dict[str, Any]:
        """Return all there is to go on from here; every process takes part."""
        self.processes.share_norms(self.model)
        random = self.processes.gather([torch.get_rng_state(), self._device_random()])
        return {
            "linfa": __version__,
            "about": json.dumps(self.about()),
            "step": self.step,
            "sums": [sums.cpu() for sums in self.processes.gather(self.sums.cpu())],
            "epochs": self.epochs,
            "random": random,
            "parts": {name: part.state_dict() for name, part in self._kept().items()},
            **self.log.state_dict(),
        }

    def _load(self, state: dict[str, Any]) -> None:
        for name, part in self._kept().items():
            part.load_state_dict(state["parts"][name])
        self.drawn = json.loads(state["about"])["feedback"]
        self.step, self.epochs = state["step"], state["epochs"]
        self.sums = state["sums"][self.processes.rank].to(self.device)
        host, device = state["random"][self.processes.rank]
        torch.set_rng_state(host)
        if device is not None:
            torch.cuda.set_rng_state(device, self.device)

    def _device_random(self) -> Tensor | None:
        return torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None

    def close(self) -> None:
        """Let go of the model: its feedback rests, it is in the mode it was in, and watchers look on no more."""
        unfollow(self.model)
        for module, mode in self.modes.items():
            module.training = mode
        self.log.close()

    def history(self) -> History:
        """Return what was seen."""
        made = {"linfa": __version__, "epochs": self.training.epochs, **self.about()}
        rules = sorted(set(made["rules"].values())) or ["backprop of torch"]
        attrs = {"rule": ", ".join(rules), "steps": self.step, "provenance": json.dumps(made), **self.log.reports()}
        return labelled(self.epochs, self.log.entries, attrs)


def _fed(model: nn.Module) -> list[str]:
    """Return the names of the layers with feedback."""
    return [name for name, module in model.named_modules() if isinstance(module, Fed)]
