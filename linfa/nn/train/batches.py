"""Which samples a step sees: their order, this process's part of them, varied, as the model takes them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from linfa.errors import InputError
from linfa.nn.draws import seed_of
from linfa.nn.train.augmentation import vary
from linfa.nn.train.configuration import Training
from linfa.nn.train.data import Data
from linfa.nn.train.processes import Processes


class Batches:
    """The batches of a run: functions of (seed, step), the same on every device.

    Args:
        data: on the model's device.
        training: how.
        processes: which process this is, among all.
        dtype: the model's precision.

    Raises:
        InputError: where inputs that are no images are to be varied.

    >>> from linfa.nn.train import SGD
    >>> x = torch.arange(5.0)[:, None]
    >>> batches = Batches(Data(x, x, x, x), Training(SGD(0.1), epochs=1, batch=3), Processes(), torch.float32)
    >>> (first, _, _), (last, _, _) = batches.at(0), batches.at(1)
    >>> len(batches), len(first), len(last), sorted(torch.cat([first, last]).flatten().tolist())
    (2, 3, 2, [0.0, 1.0, 2.0, 3.0, 4.0])
    """

    def __init__(self, data: Data, training: Training, processes: Processes, dtype: torch.dtype) -> None:
        if training.augmentation and data.inputs.ndim != 4:
            raise InputError(
                f"augmentation varies images, of the shape (N, C, H, W); the inputs are {tuple(data.inputs.shape)}"
            )
        self.data, self.training, self.processes, self.dtype = data, training, processes, dtype
        self.device = data.inputs.device
        self._order: tuple[int, Tensor] | None = None

    def __len__(self) -> int:
        """Return how many batches there are in an epoch."""
        return -(-len(self.data) // self.training.batch)

    def at(self, step: int) -> tuple[Tensor, Tensor, float]:
        """Return this process's part of a step's batch, and its weight in the mean over processes."""
        epoch, within = divmod(step, len(self))
        size = self.training.batch
        rows = self._shuffled(epoch)[within * size : (within + 1) * size]
        total, at = len(rows), self.processes.part(len(rows))
        rows = rows[at]
        x = vary(self.data.inputs[rows], self.training.augmentation, self.training.seed, step, at, total)
        return self.data.ready(x, self.dtype), self.data.targets[rows], len(rows) * self.processes.size / total

    def first_tests(self, most: int) -> tuple[Tensor, Tensor]:
        """Return the first test samples, and their targets."""
        return self._tests(torch.arange(min(most, len(self.data.test_inputs)), device=self.device))

    def tests(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield this process's part of the test samples, four times as many at once as in training."""
        rows = torch.arange(len(self.data.test_inputs), device=self.device)
        for some in torch.split(rows[self.processes.part(len(rows))], 4 * self.training.batch):
            yield self._tests(some)

    def _tests(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        x = self.data.test_inputs[rows]
        for way in self.training.augmentation:
            x = way.plain(x)
        return self.data.ready(x, self.dtype), self.data.test_targets[rows]

    def _shuffled(self, epoch: int) -> Tensor:
        """Return the order of the samples in an epoch."""
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of(self.training.seed, "order", epoch))
            self._order = epoch, torch.randperm(len(self.data), generator=generator).to(self.device)
        return self._order[1]
