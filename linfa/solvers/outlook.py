"""Whether the end of time lies within reach: an explicit step is short where weights are large, and stays short.

Large weights make a flow fast and, at rest, stiff: no explicit step is longer than a few times the shortest of its
times, however little still moves. Where the end is far more steps away than there are, nobody has to wait for them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from linfa.solvers.ensemble import PerMember


class Outlook:
    """How far the steps of each member lead.

    A member's end is out of reach where its last `LOOK` steps, which led less than twice as far as the `LOOK` before,
    would have to be made `BEYOND` times as often as there are steps in all:

        (T − t) / (t_k − t_{k−LOOK}) · LOOK > BEYOND · max_steps

    Args:
        end: T.
        most: max_steps.
        lead: the shape of the batch.

    >>> outlook, taken = Outlook(1.0, 10_000, ()), np.arange(1, 2 * Outlook.LOOK + 1)
    >>> [int(k) for k in taken if outlook.out_of_reach(1e-8 * k, np.asarray(k))]
    [2000]
    """

    LOOK: ClassVar[int] = 1000
    BEYOND: ClassVar[int] = 100

    def __init__(self, end: float, most: int, lead: tuple[int, ...]) -> None:
        self.end, self.most = end, most
        self._from, self._before = np.zeros(lead), np.zeros(lead)
        self._next = np.full(lead, self.LOOK)

    def out_of_reach(self, time: PerMember, taken: PerMember) -> PerMember:
        """Return whose end is out of reach; asked after every step.

        Args:
            time: where each member is.
            taken: how many steps it has made.
        """
        due = np.asarray(taken >= self._next)
        if not due.any():
            return due
        gained = time - self._from
        far = (self.end - time) * self.LOOK > self.BEYOND * self.most * gained
        even = gained < 2 * self._before
        self._from, self._before = np.where(due, time, self._from), np.where(due, gained, self._before)
        self._next = np.where(due, taken + self.LOOK, self._next)
        return due & far & even
