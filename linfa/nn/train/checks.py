"""What is made sure of before the first step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from linfa.errors import InputError, LinfaError
from linfa.nn.activity import assert_feedback_active
from linfa.nn.layers import Fed
from linfa.nn.targets import AbstractProjected, targets
from linfa.nn.train.configuration import Training
from linfa.nn.train.data import Data
from linfa.nn.train.watch import Laws, Monitored

CHECKED = 16
"""On how many samples feedback is made sure of."""


def check_kinds(model: Any, data: Any, training: Any, watch: Any) -> None:
    """Raise InputError where an argument of fit is not what its place is for.

    >>> check_kinds(nn.Linear(1, 1), None, None, None)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.InputError: fit takes a model, data and a training, in this order; got NoneType where ...
    """
    for thing, kind, example in (
        (model, nn.Module, "a torch module"),
        (data, Data, "Data(…)"),
        (training, Training, "Training(…)"),
    ):
        if not isinstance(thing, kind):
            raise InputError(
                f"fit takes a model, data and a training, in this order; got {type(thing).__name__} where "
                f"{example} was needed"
            )
    if not isinstance(watch or {}, Mapping):
        raise InputError(f"who looks on is given by name, watch={{'laws': Laws()}}; got {watch!r}")
    for name, make in (watch or {}).items():
        if not isinstance(name, str) or not callable(make) or make in (Laws, Monitored):
            raise InputError(
                f"a name goes with what makes a watcher, watch={{'laws': Laws()}}; got {{{name!r}: {make!r}}}"
            )


def check_feedback(model: nn.Module, x: Tensor, y: Tensor) -> None:
    """Raise InactiveFeedbackError unless errors come back as the model's rules say; nothing is changed.

    Args:
        model: one without feedback has nothing to be checked.
        x: inputs.
        y: their targets.

    >>> check_feedback(nn.Linear(2, 1), torch.ones(1, 2), torch.ones(1, 1))
    """
    if any(isinstance(m, Fed) for m in model.modules()):
        with targets(model, y[:CHECKED]):
            assert_feedback_active(model, x[:CHECKED])


@torch.no_grad()
def fitting(model: nn.Module, x: Tensor) -> Any:
    """Return what a model makes of some inputs, in the mode it is in.

    Args:
        model: converted or not.
        x: inputs.

    Raises:
        InputError: where it does not take them: names the layer, what it is made for, and what came to it.

    >>> fitting(nn.Linear(9, 2), torch.ones(1, 4))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.InputError: the model does not take inputs of the shape (4,): Linear(in_features=9, ...
    """
    try:
        return model(x)
    except (LinfaError, torch.OutOfMemoryError):
        raise
    except (RuntimeError, ValueError) as error:  # torch's words for sizes that do not fit
        raise InputError(
            f"the model does not take inputs of the shape {tuple(x.shape[1:])}: {_stopped(model, x)} "
            f"({' '.join(str(error).split()).rstrip('.')}): give inputs of the size and kind that it is made for "
            "(images are padded and cropped by augmentation=(Pad(2), …)), or make the model for these"
        ) from error


def _stopped(model: nn.Module, x: Tensor) -> str:
    """Return at which layer a model cannot go on, and what was given to it."""
    entered: list[str] = []

    def enter(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            came = [tuple(h.shape[1:]) for h in inputs if isinstance(h, Tensor)]
            who = f"its layer {name!r}, " if name else ""
            entered.append(
                f"{who}{type(module).__name__}({module.extra_repr()}), was given {', '.join(map(str, came))}"
            )

        return hook

    def leave(*_: Any) -> None:
        entered.pop()

    hooks = [module.register_forward_pre_hook(enter(name)) for name, module in model.named_modules()]
    hooks += [module.register_forward_hook(leave) for module in model.modules()]
    try:
        model(x)
    except (RuntimeError, ValueError):
        return entered[-1]
    finally:
        for hook in hooks:
            hook.remove()
    return "some layer failed once, and not again"


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained.

    >>> len(trainable(nn.Linear(2, 1)))
    2
    >>> trainable(nn.Flatten())
    Traceback (most recent call last):
    linfa.errors.InputError: the model has no parameters: there is nothing to train
    """
    parameters = list(model.parameters())
    free = [p for p in parameters if p.requires_grad]
    if not parameters:
        raise InputError("the model has no parameters: there is nothing to train")
    if not free:
        raise InputError(
            f"all {len(parameters)} parameters of the model are frozen: there is nothing to train; call "
            "requires_grad_(True) on what is to move"
        )
    return free


def check_parts(model: nn.Module, samples: int, training: Training, processes: int) -> None:
    """Raise InputError for what several processes, or targets that are sent back, cannot do.

    >>> from linfa.nn.train import SGD
    >>> check_parts(nn.Linear(1, 1), 9, Training(SGD(0.1), epochs=1, batch=4), 2)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    linfa.errors.InputError: 9 samples in batches of 4 leave some of 2 processes less than the others, or nothing: ...
    """
    sent = any(isinstance(m.feedback, AbstractProjected) for m in model.modules() if isinstance(m, Fed))
    if sent and training.amp is torch.float16:
        raise InputError("targets that are sent back pass the loss scale of float16 by: take amp=torch.bfloat16")
    sizes = {min(training.batch, samples), samples % training.batch or training.batch}
    if min(sizes) < processes or (sent and any(n % processes for n in sizes)):
        raise InputError(
            f"{samples} samples in batches of {training.batch} leave some of {processes} processes less than the "
            "others, or nothing: take another batch"
        )
