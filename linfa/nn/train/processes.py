"""Several processes that train one model, started by torchrun: torch's own DDP, and what it leaves to be checked.

Each process takes every size-th sample of a batch. Feedback is drawn, not sent: it must be the same everywhere, and
that is checked; DDP then leaves it alone. BatchNorm normalises the part of the batch that its process sees.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from linfa.errors import InputError
from linfa.nn.layers import Fed
from linfa.nn.learnt import AbstractLearnt
from linfa.provenance import array_digest


@dataclass(frozen=True)
class Processes:
    """Which process it is, among all.

    Args:
        rank: 0 … size − 1.
        size: how many there are.

    >>> Processes.here()
    Processes(rank=0, size=1)
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Processes:
        """Return this process: alone, unless a process group was initialised (see `joined`)."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    def part(self, total: int) -> slice:
        """Return which samples of a batch are this process's.

        >>> [list(range(5))[Processes(r, 2).part(5)] for r in (0, 1)]
        [[0, 2, 4], [1, 3]]
        """
        return slice(self.rank, total, self.size)

    def sum(self, x: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.size > 1:
            distributed.all_reduce(x)
        return x

    def gather(self, thing: Any) -> list[Any]:
        """Return one thing from every process."""
        if self.size == 1:
            return [thing]
        things: list[Any] = [None] * self.size
        distributed.all_gather_object(things, thing)
        return things

    def check_same(self, model: nn.Module, about: Any) -> None:
        """Raise InputError unless model, feedback and configuration are the same in all processes."""
        if self.size == 1:
            return
        everywhere = self.gather((about, fingerprint(model)))
        (configuration, state), others = everywhere[0], everywhere[1:]
        for rank, (theirs, their_state) in enumerate(others, start=1):
            if theirs != configuration:
                raise InputError(f"processes 0 and {rank} train by different configurations: give all the same")
            if bad := sorted(name for name in state | their_state if state.get(name) != their_state.get(name)):
                raise InputError(
                    f"processes 0 and {rank} start from different {', '.join(bad[:4])}"
                    f"{f' and {len(bad) - 4} more' if len(bad) > 4 else ''}: make the model and convert it with the "
                    "same seeds everywhere"
                )

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return what is called for outputs whose gradients are to be the mean over all processes."""
        if self.size == 1:
            return model
        fed = [name for name, module in model.named_modules() if isinstance(module, Fed)]
        buffers = [name for name, _ in model.named_buffers()]
        feedback = [b for b in buffers if any(b.startswith(f"{f}.feedback." if f else "feedback.") for f in fed)]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, feedback)  # type: ignore[no-untyped-call]
        device = next(model.parameters()).device
        return DistributedDataParallel(model, device_ids=[device.index] if device.type == "cuda" else None)

    def share_norms(self, model: nn.Module) -> None:
        """Give every process the running means of process 0: what tests and checkpoints go by."""
        if self.size > 1:
            for module in model.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase):
                    for buffer in module.buffers():
                        distributed.broadcast(buffer, 0)

    @torch.no_grad()
    def share_learnt(self, model: nn.Module) -> None:
        """Take the mean of what feedback learnt from activity, which each process has seen a part of."""
        if self.size > 1:
            for module in model.modules():
                if isinstance(module, AbstractLearnt) and module.rate is not None:
                    self.sum(module.learnt()).div_(self.size)


def fingerprint(model: nn.Module) -> dict[str, str]:
    """Return a hash of every parameter, buffer and other state of a model, by name."""
    return {name: digest(value) for name, value in model.state_dict().items()}


def digest(value: Any) -> str:
    """Return a hash of a tensor, or of the words for something else."""
    if isinstance(value, Tensor):
        plain = value.detach().cpu()
        # NumPy knows no bfloat16.
        return array_digest(plain.float() if plain.dtype == torch.bfloat16 else plain)
    return hashlib.sha256(repr(value).encode()).hexdigest()


def check_device(device: str | None) -> None:
    """Raise InputError unless torch can compute on a device here, or none is asked for.

    >>> check_device("gpu")
    Traceback (most recent call last):
    linfa.errors.InputError: torch knows no device 'gpu': give 'cpu', 'cuda', 'cuda:1', …, or none to let it be chosen
    """
    if device is None:
        return
    try:
        asked = torch.device(device)
    except RuntimeError as error:
        raise InputError(
            f"torch knows no device {device!r}: give 'cpu', 'cuda', 'cuda:1', …, or none to let it be chosen"
        ) from error
    own = torch.accelerator.current_accelerator()
    here = [f"{own.type}:{i}" for i in range(torch.accelerator.device_count())] if own is not None else []
    if asked.type != "cpu" and f"{asked.type}:{asked.index or 0}" not in here:
        raise InputError(f"there is no device {device!r} here: what torch finds is {', '.join(['cpu', *here])}")


@contextmanager
def joined(device: str | None) -> Iterator[tuple[torch.device, int]]:
    """Join the other processes that torchrun started, for as long as the block lasts.

    Args:
        device: "cpu" or "cuda"; None for a GPU where there is one. Alone, any device of torch.

    Yields:
        The device of this process, and its rank; without torchrun, rank 0.

    Raises:
        InputError: where torch knows no such device, or there is none here.

    >>> with joined("cpu") as (device, rank):
    ...     print(device, rank, Processes.here())
    cpu 0 Processes(rank=0, size=1)
    """
    check_device(device)
    gpu = torch.cuda.is_available() and device in (None, "cuda")
    rank = int(os.environ.get("RANK", 0))
    if "WORLD_SIZE" not in os.environ:
        yield torch.device(device or ("cuda" if gpu else "cpu")), rank
        return
    distributed.init_process_group("nccl" if gpu else "gloo")
    try:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if gpu else torch.device(device or "cpu")
        if gpu:
            torch.cuda.set_device(chosen)
        yield chosen, rank
    finally:
        distributed.destroy_process_group()
