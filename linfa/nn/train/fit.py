"""fit(model, data, training): the one verb."""

from __future__ import annotations

import json
import os
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from torch import nn
from tqdm import tqdm

from linfa.errors import InputError, ResultError
from linfa.nn.train import checkpoint as file
from linfa.nn.train.checks import check_kinds
from linfa.nn.train.configuration import Training
from linfa.nn.train.data import Data
from linfa.nn.train.history import History
from linfa.nn.train.interrupt import ended_by_hand
from linfa.nn.train.run import Run
from linfa.nn.train.watch import Watch
from linfa.solvers.interface import is_whole


def fit(
    model: nn.Module,
    data: Data,
    training: Training,
    *,
    watch: Watch | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    progress: bool = False,
) -> History:
    """Train a model, in place, and return what was seen.

    Before the first step it is made sure that the model's feedback is at work, and not backprop in its place. Feedback
    that learns is moved (`linfa.nn.follow`), feedback that carries targets is given them (`linfa.nn.targets`). Under
    torchrun, each process trains on its part of every batch (`linfa.nn.train.Processes`), and process 0 writes.

    Args:
        model: converted or not; stays on its device and in its precision. It is trained in training mode and tested in
            evaluation mode, and given back with every module in the mode it was found in: call `model.eval()` before
            it is used, where it holds BatchNorm or dropout.
        data: all of it goes to the model's device.
        training: how.
        watch: by name, what looks on, `{"laws": Laws(every=50)}`; see `linfa.nn.train.Watcher`.
        checkpoint: a file. Where it exists, training goes on from it, with the same bits as if it had never stopped;
            where it was made by another rule or configuration, or began with feedback that was drawn otherwise, it is
            refused. Ctrl-C writes it after the current step.
        checkpoint_every: steps between two writings; None for the end of every epoch.
        progress: whether a bar is shown.

    Returns:
        The history of the whole run, what came before a checkpoint included.

    Raises:
        InputError: where model, data and training do not fit, or nothing of the model can be trained.
        ResultError: where the checkpoint is damaged, or was made by something else.
        DivergenceError: where the loss is not finite: names the step and the first layer that is not.
        KeyboardInterrupt: after Ctrl-C; says how to go on.

    >>> from linfa.nn import convert, models
    >>> from linfa.nn.train import SGD
    >>> net = convert(models.make("mlp", widths=(64, 10)), "fa")
    >>> print(fit(net, Data.load("digits"), Training(SGD(0.1), epochs=2, batch=100)).loss.dims)
    ('epoch',)
    """
    if checkpoint_every is not None and not is_whole(checkpoint_every):
        raise InputError(f"checkpoint_every is a number of steps ≥ 1, or None; got {checkpoint_every}")
    check_kinds(model, data, training, watch)
    run = Run(model, data, training, watch or {})
    try:
        run.begin(_found(run, checkpoint) if checkpoint is not None and Path(checkpoint).exists() else None)
        with _bar(run, progress) as bar, _interrupts(run) as interrupts:
            while run.step < run.steps:
                run.advance()
                bar.update()
                if run.step % run.batches == 0:
                    bar.set_postfix({k: f"{v:.4g}" for k, v in run.epochs[-1].items()})
                stopped = bool(interrupts) and run.step < run.steps
                due = run.step % (checkpoint_every or run.batches) == 0 or run.step == run.steps
                if checkpoint is not None and (stopped or due):
                    _write(run, checkpoint)
                if stopped:
                    raise KeyboardInterrupt(_how_to_go_on(run, checkpoint))
        return run.history()
    finally:
        run.close()


def _bar(run: Run, shown: bool) -> tqdm:
    hidden = not shown or run.processes.rank > 0
    return tqdm(total=run.steps, initial=run.step, disable=hidden, unit="step", mininterval=0.5)


def _interrupts(run: Run) -> AbstractContextManager[list[int]]:
    """Collect interrupts; several processes would not notice at the same step: there, Ctrl-C is torchrun's."""
    return ended_by_hand() if run.processes.size == 1 else nullcontext([])


def _found(run: Run, path: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a checkpoint that the run can go on from."""
    state = file.read(path)
    # As JSON has it: a tuple is a list there.
    file.check(path, json.loads(state["about"]), json.loads(json.dumps(run.about_as(state))))
    if state["step"] > run.steps:
        raise ResultError(
            f"{path} holds {state['step'] / run.batches:g} epochs, more than the {run.training.epochs} asked for: ask "
            "for more, or give another path"
        )
    return state


def _write(run: Run, path: str | os.PathLike[str]) -> None:
    state = run.state_dict()
    if run.processes.rank == 0:
        file.write(path, state)


def _how_to_go_on(run: Run, path: str | os.PathLike[str] | None) -> str:
    kept = (
        f"{path} holds everything; call fit again with the same arguments to go on from there"
        if path is not None
        else "nothing was written; give fit a checkpoint=… to be able to go on"
    )
    return f"stopped after step {run.step} of {run.steps}: {kept}"
