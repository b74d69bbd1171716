"""Ctrl-C waits for the end of the step; a second one does not."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def ended_by_hand() -> Iterator[list[int]]:
    """Collect interrupts in a list for as long as the block lasts; outside the main thread none ever comes.

    >>> with ended_by_hand() as interrupts:
    ...     signal.raise_signal(signal.SIGINT)
    >>> interrupts == [signal.SIGINT]
    True
    """
    came: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    before: Any = signal.getsignal(signal.SIGINT)

    def note(number: int, _: Any) -> None:
        came.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)
