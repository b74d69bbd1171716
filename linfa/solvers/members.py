"""What becomes of each member of a batch: how far it came, whether it goes on, and why it stopped.

    finished · steady · step cap reached (or foreseen) at t = … · diverged: … is no longer finite at t = …

A single network is a batch of shape (). Whoever was lost, or did not come as far as a moment, is nan at that moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace

from linfa.arrays import to_numpy
from linfa.rules.interface import State
from linfa.solvers.ensemble import PerMember, chosen, parts
from linfa.solvers.interface import Outcome
from linfa.systems.interface import AbstractSystem

CAP = "step cap"
"""How the status of a member begins that was given more time than steps."""


class Members:
    """The members of a batch during a run.

    Args:
        lead: the shape of the batch.

    >>> members = Members((3,))
    >>> members.move_to(0.5)
    >>> members.lose(np.array([False, True, False]), lambda i: "diverged: W_1 is no longer finite at t = 0.5")
    >>> members.rest(np.array([True, False, False]))
    >>> members.going.tolist()
    [False, False, True]
    >>> summary(members.outcome(4, 2).status)
    '1 of 3 lost: member 1 diverged: W_1 is no longer finite at t = 0.5; 1 steady'
    """

    def __init__(self, lead: tuple[int, ...]) -> None:
        self.lead = lead
        self.going: PerMember = np.ones(lead, dtype=bool)
        self.lost: PerMember = np.zeros(lead, dtype=bool)
        self.behind: PerMember = np.zeros(lead, dtype=bool)
        self.time: PerMember = np.zeros(lead)
        self._told: PerMember = np.full(lead, "finished", dtype=object)

    def move_to(self, time: PerMember) -> None:
        """Set the time of those who go on."""
        self.time = np.where(self.going, time, self.time)

    def lose(self, who: PerMember, why: Callable[[int], str]) -> None:
        """Give up members of a mask, with a sentence for each by its number in the batch laid out flat."""
        self.lost = self.lost | self._stop(who, why)

    def lose_broken(self, system: AbstractSystem, state: State, when: str, advice: str) -> PerMember:
        """Give up the members whose state is no longer finite, saying which part of it; return who they are."""
        number, names = broken(state, self.lead), list(system.parts(state))
        who = self.going & (number > 0)
        self.lose(who, lambda i: f"diverged: {names[number.flat[i] - 1]} is no longer finite {when}; {advice}")
        return who

    def rest(self, who: PerMember) -> None:
        """Let members of a mask stay where they are."""
        self._stop(who, lambda i: "steady")

    def cap(self, who: PerMember) -> None:
        """Let members of a mask go no further."""
        advice = (
            "max_steps is too small, the problem is stiff, atol asks for digits below rounding, or it rests (stop "
            "there with steady=1e-9)"
        )
        self.behind = self.behind | self._stop(who, lambda i: f"{CAP} reached at t = {self.time.flat[i]:g}: {advice}")

    def foresee_cap(self, who: PerMember, end: float, times: int) -> None:
        """Let members of a mask go no further, whose end is more than so many times as many steps away as there are."""
        advice = "large weights make a flow stiff: start smaller, shorten t, or take Radau (for a batch Gauss)"
        told = f"at its pace t = {end:g} is more than {times} times max_steps away; {advice}"
        self.behind = self.behind | self._stop(who, lambda i: f"{CAP} foreseen at t = {self.time.flat[i]:g}: {told}")

    def moment(self, next_: float) -> float:
        """Return the moment to be recorded: the next one, or, where nobody goes on, when the last one left stopped.

        That may lie before what was recorded already, where one rested and another was lost later.
        """
        return next_ if self.going.any() else float(np.max(self.time[~self.lost]))

    def shown(self, state: State, time: float) -> State:
        """Return a state as it is recorded at a moment: nan for those who were lost, or stopped short of it."""
        return chosen(~self.lost & ~(self.behind & (self.time < time)), state, state.times(math.nan))

    def outcome(self, evaluations: int, steps: int, pieces: tuple[object, ...] = ()) -> Outcome:
        """Return how the run ended, member by member."""
        return Outcome(self._told.astype(str), self.time, self.lost, evaluations, steps, pieces)

    def _stop(self, who: PerMember, why: Callable[[int], str]) -> PerMember:
        who = np.asarray(who & self.going)
        for i in np.flatnonzero(who):
            self._told.flat[i] = why(int(i))
        self.going = np.asarray(self.going & ~who)
        return who


def broken(state: State, lead: tuple[int, ...]) -> PerMember:
    """Return for each member the number (from 1) of the first part of its state that is not finite; 0 for none.

    >>> broken(State((np.zeros((2, 1, 1)), np.array([[[0.0]], [[np.inf]]]))), (2,)).tolist()
    [0, 2]
    """
    number = np.zeros(lead, dtype=int)
    for k, part in reversed(list(enumerate(parts(state), 1))):
        xp = array_namespace(part)
        finite = to_numpy(xp.all(xp.isfinite(part), axis=tuple(range(len(lead), part.ndim))))
        number = np.where(finite, number, k)
    return np.asarray(number)


def summary(status: PerMember, named: int = 3) -> str:
    """Return the status of a batch in one line, the first few of the lost by name.

    >>> summary(np.array(["finished", "finished"])), summary(np.array("steady"))
    ('finished', 'steady')
    """
    if len(kinds := set(status.flat)) == 1 and (status.ndim == 0 or kinds <= {"finished", "steady"}):
        return str(kinds.pop())
    words = {i: str(status.flat[i]) for i in range(status.size)}
    lost = [i for i, word in words.items() if is_lost(word)]
    told = [f"member {_name(i, status.shape)} {words[i]}" for i in lost[:named]]
    told += [f"and {len(lost) - named} more"] if len(lost) > named else []
    said = [f"{len(lost)} of {status.size} lost: {'; '.join(told)}"] if lost else []
    for count, what in (
        (sum(word.startswith(CAP) for word in words.values()), "stopped by the step cap"),
        (sum(word == "steady" for word in words.values()), "steady"),
    ):
        said += [f"{count} {what}" if said else f"{count} of {status.size} {what}"] if count else []
    return "; ".join(said)


def is_lost(status: str) -> bool:
    """Return whether a member with such a status was lost."""
    return status not in ("finished", "steady") and not status.startswith(CAP)


def _name(i: int, lead: tuple[int, ...]) -> str:
    return ", ".join(map(str, np.unravel_index(i, lead)))
