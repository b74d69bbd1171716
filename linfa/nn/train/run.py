"""A run in the making: one step after the other, and everything that must be kept to go on from any of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.draws import seed_of
from linfa.nn.layers import Fed
from linfa.nn.learnt import follow, unfollow
from linfa.nn.targets import targets
from linfa.nn.train.about import about, drawn
from linfa.nn.train.augmentation import vary
from linfa.nn.train.checks import check_feedback, check_parts, trainable
from linfa.nn.train.configuration import Training
from linfa.nn.train.constraint import HeldNorms
from linfa.nn.train.data import Data
from linfa.nn.train.divergence import Glance, diverged
from linfa.nn.train.history import History, labelled
from linfa.nn.train.processes import Processes
from linfa.nn.train.watch import PROBED, Trained, Watch, Watcher
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
        self.watch = dict(watch)
        self.device, self.dtype = parameter.device, parameter.dtype
        self.data = data.to(self.device)
        self.batches = -(-len(data) // training.batch)
        check_parts(model, len(data), training, self.processes.size)
        self.drawn: dict[str, str] = {}  # below: where feedback differs between processes, they say what does
        self.processes.check_same(model, [self.about(), training.epochs])
        # Before a checkpoint is loaded over it: by what feedback was at the start, a run is known.
        self.drawn = drawn(_fed(model), model.state_dict())
        self.optimizer = training.optimiser.over(trained)
        self.held = HeldNorms(model) if training.held_norms else None
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=training.amp is torch.float16)
        self.step = 0
        self.sums = self._zero()
        self.epochs: list[dict[str, float]] = []
        self.watchers: dict[str, Watcher] = {}
        self.logged: dict[str, dict[str, Any]] = {}
        self._order: tuple[int, Tensor] | None = None
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
        x, y = self._test_batch(torch.arange(min(PROBED, len(self.data.test_inputs)), device=self.device))
        trained = Trained(self.model, self.optimizer, self.beside, x, y, self.training.loss, self.processes)
        for name, make in self.watch.items():
            watcher = make(trained)
            if not isinstance(watcher, Watcher):
                raise InputError(
                    f"the watcher {name!r} has every, log(step), state_dict() and load_state_dict(state); got "
                    f"{type(watcher).__name__}"
                )
            if state is not None:
                watcher.load_state_dict(state["watchers"][name])
            self.watchers[name] = watcher
            self.logged.setdefault(name, {"steps": [], "values": {}})

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return self.training.epochs * self.batches

    def advance(self) -> None:
        """Make the next step, log what is due, and close the epoch where it was the last."""
        epoch, within = divmod(self.step, self.batches)
        x, y, weight = self._batch(epoch, within)
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
        self._log()
        if within == self.batches - 1:
            self._close(epoch, rate)

    def _autocast(self) -> torch.autocast:
        amp = self.training.amp
        return torch.autocast(self.device.type, dtype=amp, enabled=amp is not None)

    def _batch(self, epoch: int, within: int) -> tuple[Tensor, Tensor, float]:
        """Return this process's part of a batch, and its weight in the mean over processes."""
        size = self.training.batch
        rows = self._shuffled(epoch)[within * size : (within + 1) * size]
        total, at = len(rows), self.processes.part(len(rows))
        rows = rows[at]
        x = vary(self.data.inputs[rows], self.training.augmentation, self.training.seed, self.step, at, total)
        return self.data.ready(x, self.dtype), self.data.targets[rows], len(rows) * self.processes.size / total

    def _shuffled(self, epoch: int) -> Tensor:
        """Return the order of the samples in an epoch: a function of (seed, epoch), the same on every device."""
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of(self.training.seed, "order", epoch))
            self._order = epoch, torch.randperm(len(self.data), generator=generator).to(self.device)
        return self._order[1]

    def _zero(self) -> Tensor:
        return torch.zeros(3, dtype=torch.double, device=self.device)

    @torch.no_grad()
    def _seen(self, f: Tensor, y: Tensor, loss: Tensor) -> Tensor:
        """Return (loss · n, how many were right, n) of a batch."""
        right = (f.argmax(-1) == y).sum() if self.data.labelled else loss.new_zeros(())
        return torch.stack([loss.double() * len(y), right.double(), torch.full_like(right.double(), len(y))])

    def _log(self) -> None:
        for name, watcher in self.watchers.items():
            if self.step % watcher.every == 0 or self.step == self.steps:
                self.logged[name]["steps"].append(self.step)
                for (key, place), value in self._looked_up(watcher.log(self.step)).items():
                    self.logged[name]["values"].setdefault(key, {}).setdefault(place, []).append(value.tolist())

    def _looked_up(self, log: Mapping[str, Any]) -> dict[tuple[str, str], Tensor]:
        """Return what was logged, by key and place, as the mean over processes; in one transfer from the device."""
        if "step" in log:
            raise InputError("a watcher cannot log anything under the name 'step': that is where it is logged")
        named = {key: found if isinstance(found, Mapping) else {"": found} for key, found in log.items()}
        flat = {(key, place): torch.as_tensor(v).detach() for key, found in named.items() for place, v in found.items()}
        if not flat:
            return {}
        row = torch.cat([v.to(self.device).double().reshape(-1) for v in flat.values()])
        parts = torch.split((self.processes.sum(row) / self.processes.size).cpu(), [v.numel() for v in flat.values()])
        return {at: part.view(v.shape) for (at, v), part in zip(flat.items(), parts, strict=True)}

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
        sums, rows = self._zero(), torch.arange(len(self.data.test_inputs), device=self.device)
        for some in torch.split(rows[self.processes.part(len(rows))], 4 * self.training.batch):
            x, y = self._test_batch(some)
            with self._autocast():
                f = self.model(x)
                loss = self.training.loss(f, y)
            if not bool(torch.isfinite(loss)):
                when = f"in the test after step {self.step}"
                raise diverged(self.model, x, loss.item(), when, self.optimizer.param_groups[0]["lr"])
            sums += self._seen(f, y, loss)
        return list(self.processes.sum(sums).tolist())

    def _test_batch(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.data.test_inputs[rows]
        for way in self.training.augmentation:
            x = way.plain(x)
        return self.data.ready(x, self.dtype), self.data.test_targets[rows]

    @torch.no_grad()
    def _check_targets(self) -> None:
        """Make sure that targets can be learnt by the model's outputs: once, and not at every step."""
        self.model.eval()
        with self._autocast(), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            f = self.model(self._test_batch(torch.arange(1, device=self.device))[0])
        for y, what in ((self.data.targets, "training"), (self.data.test_targets, "test")):
            self.training.loss.check(f, y, what)

    def _check_feedback(self) -> None:
        """Make sure that errors come back as the rule says, on a few samples, before any step."""
        if self.step < self.steps:
            x, y, _ = self._batch(*divmod(self.step, self.batches))
            self.model.train()
            check_feedback(self.model, x, y)

    def about(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with."""
        what = about(self.model, self.data, self.training)
        return {**what, "processes": self.processes.size, "watch": list(self.watch), "feedback": self.drawn}

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
            "logged": self.logged,
            "random": random,
            "parts": {name: part.state_dict() for name, part in self._kept().items()},
            "watchers": {name: watcher.state_dict() for name, watcher in self.watchers.items()},
        }

    def _load(self, state: dict[str, Any]) -> None:
        for name, part in self._kept().items():
            part.load_state_dict(state["parts"][name])
        self.drawn = json.loads(state["about"])["feedback"]
        self.step, self.epochs, self.logged = state["step"], state["epochs"], state["logged"]
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
        for watcher in self.watchers.values():
            if (close := getattr(watcher, "close", None)) is not None:
                close()

    def history(self) -> History:
        """Return what was seen."""
        made = {"linfa": __version__, "epochs": self.training.epochs, **self.about()}
        rules = sorted(set(made["rules"].values())) or ["backprop of torch"]
        attrs = {"rule": ", ".join(rules), "steps": self.step, "provenance": json.dumps(made)}
        for name, watcher in self.watchers.items():
            if (report := getattr(watcher, "report", None)) is not None:
                attrs[f"{name}_report"] = report()
        return labelled(self.epochs, self.logged, attrs)


def _fed(model: nn.Module) -> list[str]:
    """Return the names of the layers with feedback."""
    return [name for name, module in model.named_modules() if isinstance(module, Fed)]
