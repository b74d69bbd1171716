"""What is made sure of before the first step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from linfa.errors import InputError
from linfa.nn.activity import assert_feedback_active
from linfa.nn.layers import Fed
from linfa.nn.targets import Projected, targets
from linfa.nn.train.configuration import Training

CHECKED = 16
"""On how many samples feedback is made sure of."""


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
    sent = any(isinstance(m.feedback, Projected) for m in model.modules() if isinstance(m, Fed))
    if sent and training.amp is torch.float16:
        raise InputError("targets that are sent back pass the loss scale of float16 by: take amp=torch.bfloat16")
    sizes = {min(training.batch, samples), samples % training.batch or training.batch}
    if min(sizes) < processes or (sent and any(n % processes for n in sizes)):
        raise InputError(
            f"{samples} samples in batches of {training.batch} leave some of {processes} processes less than the "
            "others, or nothing: take another batch"
        )
