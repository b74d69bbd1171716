"""Which numbers of a model's activations flow together: a name (a whole number) for every number of every tensor.

The *flow* of an activation is t·ṫ, itself times its error signal. A name stands for a set of numbers whose flows add
up, ZERO for numbers that are always zero and have none. Where the error signal of one number is handed to another
unchanged in flow (through a ReLU, a pool, a sum), both carry the same name or their names are *joined*; where it is
not, a name is *refused*, with the reason. At the end the joined names fall into classes: the streams.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

ZERO = -1
"""The name of a number that is always zero."""


class Channels:
    """The names given so far, which of them belong together, and which have no law.

    >>> names = Channels()
    >>> a, b = names.open(2), names.open(2)
    >>> _ = names.join(a, b.flip(0))
    >>> names.classes().tolist()
    [0, 1, 1, 0]
    """

    def __init__(self) -> None:
        self.count = 0
        self._joined: list[np.ndarray] = []
        self._refused: list[tuple[np.ndarray, str]] = []

    def open(self, n: int) -> Tensor:
        """Return n new names."""
        self.count += n
        return torch.arange(self.count - n, self.count)

    def zeros(self, like: Tensor) -> Tensor:
        """Return names for a tensor of zeros."""
        return torch.full((), ZERO).expand(like.shape)

    def join(self, a: Tensor, b: Tensor) -> Tensor:
        """Join the names of two tensors, number by number (broadcast), and return names for their sum."""
        shape = np.broadcast_shapes(a.shape, b.shape)
        a, b = a.expand(shape), b.expand(shape)
        a, b = _thin(a, b)
        self._add(a, b)
        return torch.where(a == ZERO, b, a).expand(shape)

    def gather(self, ids: Tensor, dims: Iterable[int]) -> Tensor:
        """Join all names along some dimensions, and return one name for each place in the others; sizes become 1."""
        kept = ids
        for dim in dims:
            (kept,) = _thin(kept, dims=[dim % ids.ndim])
            # ZERO is the smallest name, so that the largest is one that flows wherever there is one.
            largest = kept.amax(dim, keepdim=True)
            self._add(kept, largest.expand_as(kept))
            kept = largest
        return kept

    def refuse(self, ids: Tensor, reason: str) -> None:
        """Note that names have no law, and why."""
        (thin,) = _thin(ids)
        self._refused.append((_flowing(thin), reason))

    def classes(self) -> np.ndarray:
        """Return the class of every name, numbered from 0."""
        pairs = np.concatenate(self._joined) if self._joined else np.zeros((0, 2), dtype=np.int64)
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(self.count, self.count))
        return np.asarray(connected_components(graph, directed=False)[1])

    def reasons(self, classes: np.ndarray) -> dict[int, list[str]]:
        """Return the reasons of every class that has no law."""
        found: dict[int, list[str]] = {}
        for ids, reason in self._refused:
            for c in np.unique(classes[ids]).tolist():
                if reason not in found.setdefault(c, []):
                    found[c].append(reason)
        return found

    def _add(self, a: Tensor, b: Tensor) -> None:
        flow = (a != b) & (a != ZERO) & (b != ZERO)
        if bool(flow.any()):
            self._joined.append(np.unique(torch.stack([a[flow], b[flow]], 1).numpy(), axis=0))


def _thin(*tensors: Tensor, dims: Iterable[int] | None = None) -> list[Tensor]:
    """Return tensors of one shape, cut to size 1 along the dimensions in which all of them only repeat themselves."""
    wanted = range(tensors[0].ndim) if dims is None else dims
    for dim in wanted:
        if tensors[0].shape[dim] > 1 and all(t.stride(dim) == 0 for t in tensors):
            tensors = tuple(t.narrow(dim, 0, 1) for t in tensors)
    return list(tensors)


def _flowing(ids: Tensor) -> np.ndarray:
    """Return the different names of a tensor, ZERO left out."""
    names = np.unique(ids.numpy())
    return np.asarray(names[names != ZERO])
